"""The child process that builds and times groups of candidates: `python -m pomt_trt.device.worker`.

Reads Requests as JSON lines from stdin until it ends, writes Engine, LatencyProfile and Failure records, and reports
events as JSON lines on stdout, `done` after each request. On the machine that runs engines, without torch. A process of
its own, so that the memory of a build is given back, and being killed for it costs one candidate, not the run. Leaves
out which candidates are worth a build.
"""

import ctypes
import json
import os
import signal
import sys
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from pomt_trt.core import store
from pomt_trt.core.errors import CorruptArtifact, PomtError
from pomt_trt.core.records import DeviceSpec, Engine, Failure, LatencyProfile
from pomt_trt.core.stats import StoppingRule
from pomt_trt.device import board, engine, latency

PR_SET_PDEATHSIG = 1  # linux/prctl.h
REPORT_EVERY_S = 1.0


class Job(NamedTuple):
    """One candidate: its graph and the hashes of what its engine must be made from."""

    candidate_id: str
    onnx: str
    onnx_sha256: str
    weights_sha256: str  # of weights.bin beside the graph


class Request(NamedTuple):
    """One group. The reference comes first among the jobs and is timed with every group."""

    device: DeviceSpec
    engines: str  # folder
    latency: Optional[str]  # folder; None: build only
    jobs: Tuple[Job, ...]
    reference: Job
    threads: int
    waiting: str
    max_s: float  # timing of one candidate
    again: bool = False  # time even what has a profile, which the new one replaces
    pace_fps: Optional[float] = None  # None: back to back


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
    jobs = [job for job in request.jobs if job.candidate_id != request.reference.candidate_id]
    built = [record for record in (_built(job, request) for job in jobs) if record]
    if request.latency is None:
        return
    _profile(request, [reference] + built)


def _built(job: Job, request: Request) -> Optional[Engine]:
    """The candidate's engine, built unless it is there; None if it cannot be, which is recorded."""
    path = os.path.join(request.engines, job.candidate_id + ".engine")
    inputs = engine_inputs(job.onnx_sha256, job.weights_sha256, request.device, request.threads)
    record = store.read_matching(record_of(path), Engine, inputs)
    if record is not None and _is_whole(record, request.engines):
        return record
    check_sources(job)
    _report("building", id=job.candidate_id)
    try:
        options = engine.BuildOptions(threads=request.threads)
        record = engine.build(job.onnx, path, request.device, job.candidate_id, options)
    except PomtError as error:
        if error.exit_code != 5:
            raise
        failure = Failure(job.candidate_id, "build", str(error))
        store.write_record(os.path.join(request.engines, job.candidate_id + ".failed.json"), failure, inputs)
        _report("failed", id=job.candidate_id, reason=str(error))
        return None
    store.write_record(record_of(path), record, inputs)
    _report("built", id=job.candidate_id, seconds=record.build_s)
    return record


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
    weights = os.path.join(os.path.dirname(job.onnx), engine.WEIGHTS_FILE)
    for path, digest in ((job.onnx, job.onnx_sha256), (weights, job.weights_sha256)):
        found = store.sha256_of(path)
        if found != digest:
            raise CorruptArtifact(
                "{} is not the file that was exported (sha256 {}..., expected {}...). Copy it again, or export again: "
                "pomt-trt export.".format(path, found[:12], digest[:12])
            )


def engine_inputs(onnx_sha256: str, weights_sha256: str, device: DeviceSpec, threads: int) -> Dict[str, str]:
    """What an engine is made from; where it changes, the engine is built anew."""
    return {"onnx": onnx_sha256, "weights": weights_sha256, "device": device.id, "threads": str(threads)}


def latency_inputs(engine_sha256: str, threads: int, waiting: str, pace_fps: Optional[float]) -> Dict[str, str]:
    """What a latency profile is made from; where it changes, the profile is taken anew.

    So profiles that are paced and others that are not never stand in one curve.
    """
    pace = "none" if pace_fps is None else repr(float(pace_fps))
    return {"engine": engine_sha256, "threads": str(threads), "waiting": waiting, "pace": pace}


def record_of(engine_path: str) -> str:
    """r056.engine's record is r056.json beside it."""
    return os.path.splitext(engine_path)[0] + ".json"


def _profile(request: Request, engines: List[Engine]) -> None:
    """Times engines. The first is the reference, whose own profile is taken in the first group only."""
    shared = request.waiting == "default" and engine.share_threads(request.device.engine, request.threads)
    waiting = "default" if shared else "passive"  # engines that spin pools of their own slow each other down
    modes = latency.Modes(request.threads, waiting, request.max_s, request.pace_fps)
    clocks = latency.Clocks(time.perf_counter, time.process_time, time.sleep)
    runners = []
    try:
        members = []
        for record in engines:
            runner = engine.open_engine(record, request.engines, request.threads, waiting, shared)
            runners.append(runner)
            members.append(latency.new_member(record.candidate_id, _call(runner)))
        known = None if request.reference in request.jobs else _known_reference(request, engines[0])
        skipped = 1 if known else 0
        before = board.read(clocks.wall)
        rule = StoppingRule(max_s=request.max_s)
        told = _Seldom(clocks.wall)
        stopped = latency.time_group(members[skipped:], members[0], rule, clocks, modes.pace_fps, told)
        seen = board.contention(before, board.read(clocks.wall))
    finally:
        for runner in runners:
            runner.close()
    for member, record in list(zip(members, engines))[skipped:]:
        result = latency.profile(
            member,
            record,
            modes,
            reference=members[0],
            reference_profile=known,
            stopped=stopped[member.candidate_id],
            contention=seen,
        )
        _write_profile(request, record, result)


class _Seldom:
    """Reports how far timing is, but seldom: each report wakes the parent, which takes a processor from the engine."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._last_s = clock, clock()

    def __call__(self, text: str) -> None:
        if self._clock() - self._last_s >= REPORT_EVERY_S:
            self._last_s = self._clock()
            _report("timing", text=text)


def _write_profile(request: Request, record: Engine, result: LatencyProfile) -> None:
    path = os.path.join(str(request.latency), record.candidate_id + ".json")
    inputs = latency_inputs(record.sha256, request.threads, request.waiting, request.pace_fps)
    store.write_record(path, result, inputs)
    _report("profiled", id=record.candidate_id, latency_ms=result.latency_ms, verdict=result.verdict)


def _known_reference(request: Request, reference: Engine) -> Optional[LatencyProfile]:
    path = os.path.join(str(request.latency), reference.candidate_id + ".json")
    inputs = latency_inputs(reference.sha256, request.threads, request.waiting, request.pace_fps)
    return store.read_matching(path, LatencyProfile, inputs)


def _call(runner: engine.Runner) -> Any:
    image = np.random.RandomState(0).rand(*runner.input_shape).astype(np.float32)
    return lambda: runner.run(image)


def _report(event: str, **details: Any) -> None:
    sys.stdout.write(json.dumps(dict(details, event=event)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
