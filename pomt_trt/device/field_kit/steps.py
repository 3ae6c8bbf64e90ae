"""The steps of the field kit that run in processes: `python -m pomt_trt.device.field_kit.steps STEP ...`.

Each step prints its records as one JSON value on stdout. It builds, checks and times engines like `pomt-trt profile`,
but without a search.
"""

import argparse
import json
import os
import sys
from typing import Any, List, Optional, Sequence, Tuple

from pomt_trt.core import cpus
from pomt_trt.core.command import exit_code_of
from pomt_trt.core.errors import BuildFailed, InputError, UsageError
from pomt_trt.core.field_kit.records import DEFAULT, NO_GRAPH, OTHER_STAGING, BuildResult, Built, Gate, Timed
from pomt_trt.core.progress import Progress
from pomt_trt.core.records import Candidate, DeviceSpec, Engine, Family
from pomt_trt.core.storage import experiment, store
from pomt_trt.core.storage.workfolder import WorkFolder, locked
from pomt_trt.core.targets import of_engine
from pomt_trt.device.board import board, doctor
from pomt_trt.device.engines.contract import layers_of
from pomt_trt.device.engines.engine import open_engine
from pomt_trt.device.engines.tensorrt import layer_info, staging
from pomt_trt.device.timing import profiling
from pomt_trt.device.timing.engine_records import Action, EngineRecords
from pomt_trt.device.timing.turns import engine_group
from pomt_trt.device.timing.worker_protocol import Job, Request, Settings, latency_inputs

MAX_S = 2.0  # time limit for each way to run an engine


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Runs one step; returns its exit code."""
    arguments = _parser().parse_args(argv)
    return exit_code_of(
        lambda: print(json.dumps(store.to_json(arguments.run(arguments)))),
        lambda text: print(text, file=sys.stderr),
        "interrupted",
    )


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m pomt_trt.device.field_kit.steps", description=__doc__)
    steps = top.add_subparsers(dest="step")
    steps.required = True
    examined = steps.add_parser("doctor")
    examined.add_argument("--root", default="/", help="folder with /proc, /sys and /etc")
    examined.set_defaults(run=lambda arguments: doctor.examine(arguments.root))
    for name, run in (("build", build), ("time", time_ways)):
        step = steps.add_parser(name)
        step.add_argument("work", help="a kit's work folder")
        step.add_argument("precision")
        step.add_argument("--max-seconds", type=float, default=MAX_S)
        step.set_defaults(run=run)
    return top


class _Opened:
    """The work folder of a model in a kit, with the graphs that this device reads in one precision."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        """Raises: UsageError if the kit is for another TensorRT; MissingDependency without TensorRT or a GPU."""
        self.work, self.precision = WorkFolder(arguments.work), arguments.precision
        self.model = os.path.basename(self.work.root)
        settings = Settings(cpus.usable().threads, max_s=arguments.max_seconds)
        device = board.device_spec("tensorrt")
        target = of_engine(device.engine, device.engine_version)
        form = target.form_among(self.work.forms(), self.precision)
        if form is None:
            raise UsageError(
                "the kit has graphs of form {}, and {} {} reads {}. Make a kit for this board: pomt-trt field-kit "
                "--target {} --out DIR.".format(
                    " and ".join(self.work.forms()) or "none",
                    device.engine,
                    device.engine_version,
                    target.form(self.precision),
                    target.name,
                )
            )
        self.family: Family = experiment.family_of(self.work, form)
        self.device: DeviceSpec = board.in_form(device, form, self.precision)
        self.records = EngineRecords(self.work, self.family, self.device, settings)


def build(arguments: argparse.Namespace) -> BuildResult:
    """Builds and checks a model's engines in one precision. Existing engines are kept."""
    opened = _Opened(arguments)
    with locked(opened.work.root), Progress("build", len(opened.family.candidates)) as progress:
        try:
            profiling.profile(opened.records, opened.family.candidates, progress, Action.BUILD)
        except BuildFailed as error:  # of R = 0: its record has the failure, and the others are reported as not built
            print(error, file=sys.stderr)
    built = tuple(_built(opened, candidate) for candidate in opened.family.candidates)
    layers = {
        "-".join([one.model, one.precision, one.candidate_id]): _layers_path(opened, one.engine)
        for one in built
        if one.engine is not None
    }
    return BuildResult(opened.device, built, {name: path for name, path in layers.items() if os.path.isfile(path)})


def _built(opened: _Opened, candidate: Candidate) -> Built:
    result = Built(opened.model, opened.precision, candidate.id, candidate.schedule.removed)
    record = opened.records.engine(candidate.id)
    if record is None:
        return result._replace(failure=opened.records.failure(candidate.id))
    return result._replace(
        engine=record,
        gate=_gate(record),
        layers=_layers(opened, record),
        fused_attention=(record.details or {}).get("fused_attention"),
        shortfall=layer_info.shortfall(record, candidate.schedule, opened.family.reads_attention) or "",
    )


def _gate(record: Engine) -> Optional[Gate]:
    """The result of the golden check, if it had logits to compare with."""
    result = (record.details or {}).get("gate", {})
    return Gate(result["error"], result["allowed"], result["compared"]) if "error" in result else None


def _layers(opened: _Opened, record: Engine) -> int:
    path = _layers_path(opened, record)
    if not os.path.isfile(path):
        return 0
    with open(path, encoding="utf-8", errors="replace") as file:
        return len(layer_info.parse_layers(file.read()))


def _layers_path(opened: _Opened, record: Engine) -> str:
    return layers_of(os.path.join(opened.work.engines(opened.device.id), record.file))


def time_ways(arguments: argparse.Namespace) -> Tuple[Timed, ...]:
    """Times all engines of a model in one precision, in all ways to run them (see ways), in turns.

    The profile of R = 0 in the default way stays in the work folder, for jetson/compare_trtexec.

    Raises: InputError if there is no engine.
    """
    opened = _Opened(arguments)
    engines = [(candidate, opened.records.engine(candidate.id)) for candidate in opened.family.candidates]
    folder = opened.work.engines(opened.device.id)
    variants = [(candidate, way, record) for candidate, one in engines if one for way, record in ways(one, folder)]
    if not variants:
        raise InputError("{} has no engine of precision {} to time.".format(opened.model, opened.precision))
    request = Request(
        device=opened.device,
        engines=folder,
        latency=opened.work.latencies(opened.device.id),
        jobs=(),
        reference=Job("r000", "", "", ""),
        settings=opened.records.settings,
    )
    with locked(opened.work.root):
        _, profiles = engine_group.profiles(request, [record for _, _, record in variants], [], lambda text: None)
        timed = tuple(_timed(opened, each[0], each[1], profile) for each, (_, profile) in zip(variants, profiles))
        for (candidate, way, record), each in zip(variants, timed):
            if way == DEFAULT:
                inputs = latency_inputs(record.sha256, request.settings._replace(waiting=each.profile.waiting))
                store.write_record(opened.work.latency(opened.device.id, candidate.id), each.profile, inputs)
    return timed


def ways(record: Engine, folder: str) -> List[Tuple[str, Engine]]:
    """(name of a way to run an engine in `folder`, the record that makes it run so).

    If staging is chosen by timing, each opening may choose another one. So the first choice is made the default.
    """
    with open_engine(record, folder) as runner:
        memory = str((runner.modes() or {}).get("memory"))
    default, other = staging.PAGE_LOCKED, staging.PAGEABLE
    if memory.startswith(staging.PAGEABLE):
        default, other = other, default
    return [
        (DEFAULT, _with_details(record, staging=default)),
        (NO_GRAPH, _with_details(record, staging=default, cuda_graph=False)),
        (OTHER_STAGING, _with_details(record, staging=other)),
    ]


def _with_details(record: Engine, **changes: Any) -> Engine:
    return record._replace(details=dict(record.details or {}, **changes))


def _timed(opened: _Opened, candidate: Candidate, way: str, profile: Any) -> Timed:
    modes = profile.modes or {}
    return Timed(
        model=opened.model,
        precision=opened.precision,
        removed=candidate.schedule.removed,
        way=way,
        cuda_graph=str(modes.get("cuda_graph")),
        memory=str(modes.get("memory")),
        profile=profile,
    )


if __name__ == "__main__":
    sys.exit(main())
