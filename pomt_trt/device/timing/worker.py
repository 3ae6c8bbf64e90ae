"""The child process that builds and times groups of candidates: `python -m pomt_trt.device.timing.worker`.

Reads Requests as JSON lines from stdin until it ends, writes Engine, LatencyProfile and Failure records, and reports
events as JSON lines on stdout, `done` after each request. On the machine that runs engines, without torch. A process of
its own, so that the memory of a build is given back, and being killed for it costs one candidate, not the run. Leaves
out which candidates are worth a build.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from typing import Any, List, Optional, Tuple, Union

from pomt_trt.core.errors import BuildFailed, CorruptArtifact, PomtError
from pomt_trt.core.records import Engine, Failure, LatencyProfile
from pomt_trt.core.search.search_state import good_builds
from pomt_trt.core.storage import store
from pomt_trt.core.storage.workfolder import WEIGHTS
from pomt_trt.device.checks import golden_check
from pomt_trt.device.engines import contract, engine
from pomt_trt.device.engines.tensorrt import kernel_cache
from pomt_trt.device.timing import builds
from pomt_trt.device.timing.time_engines import Seldom, energy_of, profiles
from pomt_trt.device.timing.worker_protocol import (
    TIMING_CACHE,
    Gate,
    Job,
    Request,
    inputs_of,
    profile_inputs,
    record_of,
)

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> int:
    """Does the requests on stdin."""
    _end_with_parent()
    try:
        for line in sys.stdin:
            _work(store.from_json(Request, json.loads(line)))
            _report("done")
    except PomtError as error:
        _report("error", text=str(error), exit_code=error.exit_code)
        return error.exit_code
    except BrokenPipeError:  # the parent is gone
        return 130
    return 0


def _end_with_parent() -> None:
    """Has Linux end this process when its parent dies: it would go on building beside the next run.

    Elsewhere it ends with its next report.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _work(request: Request) -> None:
    reference = _built(request.reference, request)  # first: without it the others are worth nothing
    if reference is None:
        return
    if request.energy or request.rebuild:
        for job in request.jobs:
            (_measure_energy if request.energy else _rebuild)(job, request)
        return
    jobs = [job for job in request.jobs if job.candidate_id != request.reference.candidate_id]
    built = [record for record in (_built(job, request) for job in jobs) if record]
    if request.latency is None:
        return
    known = _known(request, reference)
    timed = built if known else [reference] + built
    for record, result in profiles(request, timed, known, _told):
        _write_profile(request, record, result)


def _built(job: Job, request: Request) -> Optional[Engine]:
    """The candidate's engine, built unless it is there; None if it cannot be, which is recorded."""
    record = _record(job, request)
    if record is not None:
        return record
    path, inputs = _engine_path(job, request), inputs_of(job, request)
    made = _made(job, request, path, os.path.join(request.engines, TIMING_CACHE))
    if isinstance(made, Failure):
        store.write_record(os.path.join(request.engines, job.candidate_id + ".failed.json"), made, inputs)
        _report("failed", id=job.candidate_id, reason=made.reason)
        return None
    store.write_record(record_of(path), made, inputs)
    _report("built", id=job.candidate_id, seconds=made.build_s)
    return made


def _record(job: Job, request: Request) -> Optional[Engine]:
    """The candidate's engine, if it is there and whole."""
    record = store.read_matching(record_of(_engine_path(job, request)), Engine, inputs_of(job, request))
    return record if record is not None and _is_whole(record, request.engines) else None


def _made(job: Job, request: Request, path: str, timing_cache: Optional[str]) -> Union[Engine, Failure]:
    """A new engine under `path` that has passed the gate, or why there is none."""
    check_sources(job)
    _report("building", id=job.candidate_id)
    options = contract.BuildOptions(
        threads=request.threads,
        precision=request.precision,
        fp32_nodes=request.fp32_nodes,
        timing_cache=timing_cache,
        cuda_graph=request.cuda_graph,
        plugin=request.plugin,
        progress=Seldom(time.monotonic, lambda text: _told("{}: {}".format(job.candidate_id, text))),
        gpu=request.gpu,
    )
    stage = "build"
    try:
        record = _adopted(job, request, path) or engine.build(job.onnx, path, request.device, job.candidate_id, options)
        if request.gate is None:
            return record
        stage = "gate"
        verdict, record = _judged(record, job, request, request.gate)
    except BuildFailed as error:
        return Failure(job.candidate_id, stage, str(error))
    if verdict.passed:
        return record._replace(details=dict(record.details or {}, gate=verdict.details()))
    _remove_engine(path)
    return Failure(job.candidate_id, stage, verdict.reason())


def _adopted(job: Job, request: Request, path: str) -> Optional[Engine]:
    """An engine that was built ahead of time from this graph, now under `path`; None where there is none.

    It is not timed, inspected or judged by that: what follows a build follows here.
    """
    wanted = inputs_of(job, request)
    for folder in request.ahead:
        found = os.path.join(folder, job.candidate_id)
        try:
            stored = store.read_record(found + ".json", Engine)
            record: Engine = stored.record
            engine.check_files(record, folder)
        except PomtError:  # there is none, or it is damaged: it is built here
            continue
        if all(stored.inputs.get(key) == wanted.get(key) for key in ("onnx", "weights", "precision", "plugin")):
            store.copy(found + ".engine", path)
            details = dict(record.details or {}, cuda_graph=request.cuda_graph)
            return record._replace(device=request.device, threads=request.threads, details=details)
    return None


def _judged(record: Engine, job: Job, request: Request, asked: Gate) -> Tuple[golden_check.Verdict, Engine]:
    """What the gate says, and the record with the kernels that were compiled meanwhile, which lie beside it then."""
    with engine.open_engine(record, request.engines, request.threads, request.waiting) as runner:
        unreduced = job.candidate_id == request.reference.candidate_id
        inputs = golden_check.golden(asked.golden)
        verdict = golden_check.judge(runner, inputs, asked.preprocessing, record.precision, job.expected, unreduced)
        kernels = runner.kernels()
    if kernels and verdict.passed:
        told = kernel_cache.keep(kernels, os.path.join(request.engines, record.file))
        record = record._replace(details=dict(record.details or {}, kernels=told))
    return verdict, record


def _remove_engine(path: str) -> None:
    for name in (path, contract.layers_of(path)):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def _measure_energy(job: Job, request: Request) -> None:
    """Adds energy to the profile of a candidate whose engine is there."""
    record = _record(job, request)
    profile = _profile_of(record, request) if record else None
    found = energy_of(request, record) if record and profile else None
    if record and profile and found:
        _write_profile(request, record, profile._replace(energy=found), told=False)
    _report("metered", id=job.candidate_id)


def _rebuild(job: Job, request: Request) -> None:
    """A second engine of a candidate that has one: timed, and kept where the first picked poor tactics."""
    reference, kept = _built(request.reference, request), _built(job, request)
    known = _profile_of(kept, request) if kept else None
    if reference is None or kept is None or known is None:
        return
    path = _engine_path(job, request, ".again")
    made = _made(job, request, path, timing_cache=None)
    if isinstance(made, Failure):
        builds.remember(job, request, float("nan"))
        _report("failed", id=job.candidate_id, reason=made.reason)
        return
    result = profiles(request, [made], _known(request, reference), _told)[0][1]
    if known.latency_ms in good_builds((known.latency_ms, result.latency_ms)):
        builds.remember(job, request, result.latency_ms)
        _remove_engine(path)
    else:
        builds.remember(job, request, known.latency_ms)
        _replace_engine(job, request, made, result)
    _report("profiled", id=job.candidate_id, latency_ms=result.latency_ms, verdict=result.verdict)


def _replace_engine(job: Job, request: Request, made: Engine, result: LatencyProfile) -> None:
    """Puts a rebuilt engine in the place of the first; a kill in between leaves one that is then built anew."""
    again, path = _engine_path(job, request, ".again"), _engine_path(job, request)
    details = dict(made.details or {})
    if "layers" in details:
        details["layers"] = os.path.basename(contract.layers_of(path))
        os.replace(contract.layers_of(again), contract.layers_of(path))
    os.replace(again, path)
    record = made._replace(file=os.path.basename(path), details=details)
    store.write_record(record_of(path), record, inputs_of(job, request))
    _write_profile(request, record, result, told=False)


def _engine_path(job: Job, request: Request, suffix: str = "") -> str:
    return os.path.join(request.engines, job.candidate_id + suffix + ".engine")


def _is_whole(record: Engine, folder: str) -> bool:
    try:
        engine.check_files(record, folder)
    except CorruptArtifact:
        return False
    return True


def check_sources(job: Job) -> None:
    """Raises CorruptArtifact unless graph and weights are what was exported.

    A damaged file says nothing of its candidate, and must not be recorded as a Failure.
    """
    weights = os.path.join(os.path.dirname(job.onnx), WEIGHTS)
    for path, digest in ((job.onnx, job.onnx_sha256), (weights, job.weights_sha256)):
        found = store.sha256_of(path)
        if found != digest:
            raise CorruptArtifact(
                "{} is not the file that was exported (sha256 {}..., expected {}...). Copy it again, or export again: "
                "pomt-trt export.".format(path, found[:12], digest[:12])
            )


def _write_profile(request: Request, record: Engine, result: LatencyProfile, told: bool = True) -> None:
    path = os.path.join(str(request.latency), record.candidate_id + ".json")
    store.write_record(path, result, profile_inputs(record, request))
    if told:
        _report("profiled", id=record.candidate_id, latency_ms=result.latency_ms, verdict=result.verdict)


def _known(request: Request, reference: Engine) -> List[Tuple[Engine, LatencyProfile]]:
    """Engines that a group is tied to: the reference, and what else is known and whole; none where that is new."""
    if request.reference in request.jobs:
        return []
    records = [reference] + [record for record in (_record(job, request) for job in request.known) if record]
    profiled = [(record, _profile_of(record, request)) for record in records]
    known = [(record, profile) for record, profile in profiled if profile is not None]
    return known if known and known[0][0] is reference else []


def _profile_of(record: Engine, request: Request) -> Optional[LatencyProfile]:
    path = os.path.join(str(request.latency), record.candidate_id + ".json")
    return store.read_matching(path, LatencyProfile, profile_inputs(record, request))


def _told(text: str) -> None:
    _report("timing", text=text)


def _report(event: str, **details: Any) -> None:
    sys.stdout.write(json.dumps(dict(details, event=event)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
