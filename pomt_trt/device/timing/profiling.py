"""Builds and times candidates in groups, each group in a child process (device/timing/worker).

Makes engines/ and latency/ of one device in the work folder; what is there already and matches is left. On the machine
that runs engines. Leaves out which candidates are asked for.
"""

import math
import os
import signal
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from pomt_trt.core.errors import BuildFailed
from pomt_trt.core.progress import Progress
from pomt_trt.core.records import Candidate, DeviceSpec, Energy, Engine, Failure, Family, LatencyProfile
from pomt_trt.core.storage import experiment, store
from pomt_trt.core.storage.workfolder import WEIGHTS, WorkFolder
from pomt_trt.device.board import board
from pomt_trt.device.engines import ahead
from pomt_trt.device.engines.tensorrt import gpu_targets
from pomt_trt.device.engines.tensorrt.plugin_files import Library, needed
from pomt_trt.device.engines.traits import traits
from pomt_trt.device.timing.worker_process import Outcome, Worker
from pomt_trt.device.timing.worker_protocol import (
    Gate,
    Job,
    Request,
    engine_inputs,
    inputs_of,
    latency_inputs,
    other_builds_ms,
    remember_build,
)

GROUP_MEMORY_BYTES = 700 << 20  # of engines alive at a time
BYTES_PER_WEIGHT_BYTE = 2.5  # an engine maps its weights and keeps them repacked for the processor
FEWEST, MOST = 2, 12  # engines in a group, beside the reference
MOST_KNOWN = 3  # of them are known already: more cost as much time again, and tell little more of the machine


class Settings(NamedTuple):
    """How engines are built and timed."""

    threads: int
    waiting: str = "default"
    max_s: float = 0.75  # of timing, for one candidate
    pace_fps: Optional[float] = None  # runs begin at this rate; None: back to back
    cuda_graph: bool = True  # where the engine library can capture one
    plugin: str = "auto"  # whether to take graphs whose tokens plugins remove: auto, on, off; see trt_plugins.forms
    plugin_library: Optional[Library] = None  # for those
    gpu: Optional[str] = None  # build ahead of time for such GPUs, see device/engines/ahead; None: for the one here


def profile(
    work: WorkFolder,
    family: Family,
    candidates: Sequence[Candidate],
    device: DeviceSpec,
    settings: Settings,
    progress: Progress,
    timed: bool = True,
    again: bool = False,
    worker: Optional[Worker] = None,
    rebuild: bool = False,
) -> None:
    """Builds (and times, unless `timed` is false) every candidate that is not done; R = 0 is the groups' reference.

    Groups hold known candidates besides, where memory allows and their engines are there: with R = 0 alone, a group
    is off by as much as that engine's own noise, and a small one cannot tell noise from drift.

    Args:
        again: time also what has a profile, which the new one then replaces.
        worker: does all of it; None: each group has one of its own, whose memory is given back.
        rebuild: build anew what has a profile, without what earlier builds remember, and keep the better engine; see
            builds_of. For libraries whose builds vary.
    Raises: BuildFailed if R = 0 cannot be built, since all is compared with it.
    """
    _check_reference(work, family, device, settings)
    todo = []
    for candidate in candidates:
        if not (again or rebuild) and is_done(work, family, candidate.id, device, settings, timed):
            progress.step(candidate.id)
        else:
            todo.append(candidate)
    while todo:
        size = group_size(family.weights_bytes)
        known = _known(work, family, todo, device) if timed else []
        known = _spread(known, min(MOST_KNOWN, max(size // 3, size - len(todo))))
        group, todo = todo[: size - len(known)], todo[size - len(known) :]
        request = _request(work, family, group, known, device, settings, timed)._replace(rebuild=rebuild)
        if worker is not None:
            _run(request, worker, progress)
        else:
            with Worker() as own:
                _run(request, own, progress)
        _check_reference(work, family, device, settings)


def measure_energy(
    work: WorkFolder, family: Family, candidates: Sequence[Candidate], device: DeviceSpec, settings: Settings
) -> None:
    """Adds what a run costs in energy to each profile that lacks it and whose engine is there; 8 s an engine."""
    known = energies(work, family, candidates, device, settings)
    lacking = [
        one
        for one in candidates
        if one.id not in known
        and latency_of(work, family, one.id, device, settings) is not None
        and is_done(work, family, one.id, device, settings, timed=False)
    ]
    if lacking:
        request = _request(work, family, lacking, [], device, settings, timed=True)._replace(energy=True)
        with Progress("energy", len(lacking)) as progress, Worker() as worker:
            _run(request, worker, progress)


def energies(
    work: WorkFolder, family: Family, candidates: Sequence[Candidate], device: DeviceSpec, settings: Settings
) -> Dict[str, Energy]:
    """What is known of the energy of a run, by candidate."""
    profiles = {one.id: latency_of(work, family, one.id, device, settings) for one in candidates}
    return {name: profile.energy for name, profile in profiles.items() if profile is not None and profile.energy}


def _known(work: WorkFolder, family: Family, todo: Sequence[Candidate], device: DeviceSpec) -> List[Candidate]:
    """Candidates besides R = 0 and `todo` that have a profile, and an engine to be timed once more.

    By names of files: to read all records for each group takes longer than a search; the worker reads the few taken.
    """
    profiled, built = (set(_names(folder)) for folder in (work.latencies(device.id), work.engines(device.id)))
    asked = {candidate.id for candidate in todo} | {"r000"}
    usable = {name[: -len(".json")] for name in profiled if name.replace(".json", ".engine") in built} - asked
    return [candidate for candidate in family.candidates if candidate.id in usable]


def _names(folder: str) -> List[str]:
    return os.listdir(folder) if os.path.isdir(folder) else []


def _spread(candidates: Sequence[Candidate], most: int) -> List[Candidate]:
    """At most so many, from all over the range: neighbours alone would hand their errors on from group to group."""
    if len(candidates) <= most:
        return list(candidates)
    return [candidates[(2 * i + 1) * len(candidates) // (2 * most)] for i in range(most)]


def is_done(
    work: WorkFolder, family: Family, candidate_id: str, device: DeviceSpec, settings: Settings, timed: bool
) -> bool:
    """True where a candidate's engine and profile match what they would be made from, or it is known to fail."""
    if failure_of(work, family, candidate_id, device, settings) is not None:
        return True
    if timed:
        return latency_of(work, family, candidate_id, device, settings) is not None
    engine = engine_of(work, family, candidate_id, device, settings)
    return engine is not None and _lies_in(work.engines(device.id), engine)


def _lies_in(folder: str, engine: Engine) -> bool:
    """True where an engine's files are there and not cut short; what is in them is checked when it is opened."""
    path = os.path.join(folder, engine.file)
    whole = os.path.isfile(path) and os.path.getsize(path) == engine.bytes
    return whole and (engine.weights_sha256 is None or os.path.isfile(os.path.join(folder, WEIGHTS)))


def engine_of(
    work: WorkFolder, family: Family, candidate_id: str, device: DeviceSpec, settings: Settings
) -> Optional[Engine]:
    """The record of a candidate's engine, if it was built from today's graph."""
    inputs = _engine_inputs(family, candidate_id, device, settings)
    return store.read_matching(work.engine_record(device.id, candidate_id), Engine, inputs)


def latency_of(
    work: WorkFolder, family: Family, candidate_id: str, device: DeviceSpec, settings: Settings
) -> Optional[LatencyProfile]:
    """The profile of a candidate's present engine under these settings, if there is one."""
    engine = engine_of(work, family, candidate_id, device, settings)
    if engine is None:
        return None
    inputs = latency_inputs(engine.sha256, settings.threads, settings.waiting, settings.pace_fps)
    return store.read_matching(work.latency(device.id, candidate_id), LatencyProfile, inputs)


def failure_of(
    work: WorkFolder, family: Family, candidate_id: str, device: DeviceSpec, settings: Settings
) -> Optional[Failure]:
    """Why a candidate has no engine, if it was tried."""
    inputs = _engine_inputs(family, candidate_id, device, settings)
    return store.read_matching(work.failure(device.id, candidate_id), Failure, inputs)


def _engine_inputs(family: Family, candidate_id: str, device: DeviceSpec, settings: Settings) -> Dict[str, str]:
    plugin = needed(family.form, device, settings.plugin_library)
    how = (device, settings.threads, family.precision, settings.cuda_graph, plugin)
    return engine_inputs(family.graph_sha256[candidate_id], family.weights_sha256, *how)


def builds_of(
    work: WorkFolder, family: Family, candidate_id: str, device: DeviceSpec, settings: Settings
) -> Tuple[float, ...]:
    """Latency in ms of each engine that was built for a candidate, the one that is kept first; () where there is none.

    A rebuild that failed is infinite.
    """
    known = latency_of(work, family, candidate_id, device, settings)
    if known is None:
        return ()
    inputs = _engine_inputs(family, candidate_id, device, settings)
    others = other_builds_ms(work.builds(device.id, candidate_id), inputs)
    return (known.latency_ms,) + tuple(math.inf if math.isnan(ms) else ms for ms in others)


def group_size(weights_bytes: int) -> int:
    """How many engines may be alive beside the reference."""
    fitting = GROUP_MEMORY_BYTES / (BYTES_PER_WEIGHT_BYTE * max(1, weights_bytes))
    return int(min(MOST, max(FEWEST, fitting - 1)))


def _request(
    work: WorkFolder,
    family: Family,
    group: Sequence[Candidate],
    known: Sequence[Candidate],
    device: DeviceSpec,
    settings: Settings,
    timed: bool,
) -> Request:
    def job(candidate_id: str) -> Job:
        graph = work.graph(family.form, candidate_id)
        expected = work.accuracy_arrays(candidate_id)
        return Job(candidate_id, graph, family.graph_sha256[candidate_id], family.weights_sha256, expected)

    return Request(
        device=device,
        engines=work.engines(device.id),
        latency=work.latencies(device.id) if timed else None,
        jobs=tuple(job(candidate.id) for candidate in group),
        reference=job("r000"),
        known=tuple(job(candidate.id) for candidate in known),
        threads=settings.threads,
        waiting=settings.waiting,
        max_s=settings.max_s,
        pace_fps=settings.pace_fps,
        precision=family.precision,
        fp32_nodes=family.fp32_nodes,
        cuda_graph=settings.cuda_graph,
        plugin=needed(family.form, device, settings.plugin_library),
        gate=_gate(work) if traits(device.engine).gated and settings.gpu is None else None,
        gpu=settings.gpu,
        ahead=_ahead(work, family, device) if settings.gpu is None else (),
    )


def _ahead(work: WorkFolder, family: Family, device: DeviceSpec) -> Tuple[str, ...]:
    """Folders of engines that were built ahead of time for GPUs such as this one."""
    if not traits(device.engine).portable:
        return ()
    made_for = [ahead.device(device.engine, gpu) for gpu in gpu_targets.adoptable(device)]
    folders = [work.engines(board.in_form(one, family.form, family.precision).id) for one in made_for]
    return tuple(filter(os.path.isdir, folders))


def _gate(work: WorkFolder) -> Gate:
    return Gate(work.golden(), experiment.experiment_of(work).model.preprocessing)


def _run(request: Request, worker: Worker, progress: Progress) -> None:
    """One group, started again without a candidate whose build was killed."""
    while request.jobs:
        outcome = worker.do(request, progress)
        if outcome.exit_code == 0:
            return
        if outcome.building is None:
            raise BuildFailed(
                "the process that timed {} to {} ended with {}. If memory ran out, close other programs; then run the "
                "same command again: finished work is kept.".format(
                    request.jobs[0].candidate_id, request.jobs[-1].candidate_id, _name_of(outcome.exit_code)
                )
            )
        _record_killed(request, outcome)
        if outcome.building == request.reference.candidate_id:
            return  # every further attempt would end there too; profile says so
        progress.step("{} failed".format(outcome.building))
        left = tuple(job for job in request.jobs if job.candidate_id not in (outcome.building,) + outcome.done)
        request = request._replace(jobs=left)


def _record_killed(request: Request, outcome: Outcome) -> None:
    job = next(job for job in request.jobs + (request.reference,) if job.candidate_id == outcome.building)
    reason = "the build was ended by {}; if the system did it, memory ran out".format(_name_of(outcome.exit_code))
    if request.rebuild:
        remember_build(job, request, math.nan)
        return
    path = os.path.join(request.engines, job.candidate_id + ".failed.json")
    store.write_record(path, Failure(job.candidate_id, "build", reason), inputs_of(job, request))


def _check_reference(work: WorkFolder, family: Family, device: DeviceSpec, settings: Settings) -> None:
    failure = failure_of(work, family, "r000", device, settings)
    if failure is not None:
        raise BuildFailed(
            "R = 0 cannot be built, and everything is compared with it: {}. Mend that, delete {}, and run the same "
            "command again.".format(failure.reason, work.failure(device.id, "r000"))
        )


def _name_of(exit_code: int) -> str:
    if exit_code >= 0:
        return "exit code {}".format(exit_code)
    return "signal {} ({})".format(-exit_code, signal.Signals(-exit_code).name)
