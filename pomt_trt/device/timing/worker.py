"""The child that builds and times groups of candidates (core/timing_protocol; see device/timing/__main__).

It answers worker_protocol.Requests: it writes Engine, LatencyProfile and Failure records, and tells what it does by
events. Why a process of its own: the memory of a build is given back, and being killed for it costs one candidate, not
the run.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

from pomt_trt.core.errors import BuildFailed, CorruptArtifact, PomtError
from pomt_trt.core.records import Engine, Failure, LatencyProfile
from pomt_trt.core.search.search_state import good_builds
from pomt_trt.core.storage import store
from pomt_trt.core.storage.workfolder import WEIGHTS
from pomt_trt.core.timing_protocol import Report
from pomt_trt.device.checks import golden_check
from pomt_trt.device.engines import contract, engine
from pomt_trt.device.engines.tensorrt import kernel_cache
from pomt_trt.device.timing.turns.engine_group import Seldom, energy_of, profiles
from pomt_trt.device.timing.worker_protocol import (
    GROUPS,
    TIMING_CACHE,
    Gate,
    Job,
    Request,
    inputs_of,
    next_group,
    profile_inputs,
    record_of,
    remember_build,
    timing_inputs,
)

PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Prepared(NamedTuple):
    """What core/timing_protocol.serve takes."""

    about: Dict[str, Any] = {}

    def answer(self, request: Any, report: Report) -> None:
        """Does one Request."""
        Group(store.from_json(Request, request), report).work()


def prepare(argv: Sequence[str]) -> Prepared:
    """Has Linux end this process when its parent dies: it would go on building beside the next run.

    Elsewhere it ends with its next report.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    return Prepared()


class Group:
    """One request being done."""

    def __init__(self, request: Request, report: Report) -> None:
        """
        Args:
            report: report(EVENT, ...). Events: building, built, failed, profiled, metered (each with `id`), timing.
        """
        self._request, self._report = request, report

    def work(self) -> None:
        """Builds, and then times, rebuilds or measures the energy of the request's jobs.

        Raises: CorruptArtifact if a graph or its weights changed; what writing a record raises.
        """
        request = self._request
        reference = self._built(request.reference)  # first: without it the others are worth nothing
        if reference is None:
            return
        if request.energy or request.rebuild:
            for job in request.jobs:
                (self._measure_energy if request.energy else self._rebuild)(job)
            return
        jobs = [job for job in request.jobs if job.candidate_id != request.reference.candidate_id]
        built = [record for record in map(self._built, jobs) if record]
        if request.latency is None:
            return
        references = self._references(reference)
        timed = built if references else [reference] + built
        for record, result in self._timed(timed, references):
            self._write_profile(record, result)
            self._report_profiled(record.candidate_id, result)

    def _timed(
        self, engines: Sequence[Engine], references: Sequence[Tuple[Engine, LatencyProfile]]
    ) -> List[Tuple[Engine, LatencyProfile]]:
        """Times engines as a group, and records the group."""
        request = self._request
        group, results = profiles(request, engines, references, self._tell)
        folder = os.path.join(str(request.latency), GROUPS)
        store.write_record(next_group(folder), group, timing_inputs(request.settings))
        return results

    def _built(self, job: Job) -> Optional[Engine]:
        """The candidate's engine, built unless it is there; None if it cannot be, which is recorded."""
        record = self._record(job)
        if record is not None:
            return record
        request, path = self._request, self._path(job)
        inputs = inputs_of(job, request)
        made = self._made(job, path, os.path.join(request.engines, TIMING_CACHE))
        if isinstance(made, Failure):
            store.write_record(os.path.join(request.engines, job.candidate_id + ".failed.json"), made, inputs)
            self._report("failed", id=job.candidate_id, reason=made.reason)
            return None
        store.write_record(record_of(path), made, inputs)
        self._report("built", id=job.candidate_id, seconds=made.build_s)
        return made

    def _record(self, job: Job) -> Optional[Engine]:
        """The candidate's engine, if it is there and whole."""
        record = store.read_matching(record_of(self._path(job)), Engine, inputs_of(job, self._request))
        return record if record is not None and _is_whole(record, self._request.engines) else None

    def _made(self, job: Job, path: str, timing_cache: Optional[str]) -> Union[Engine, Failure]:
        """A new engine under `path` that has passed the golden check, or why there is none."""
        check_sources(job)
        request = self._request
        self._report("building", id=job.candidate_id)
        options = contract.BuildOptions(
            threads=request.settings.threads,
            precision=request.precision,
            fp32_nodes=request.fp32_nodes,
            timing_cache=timing_cache,
            cuda_graph=request.settings.cuda_graph,
            plugin=request.plugin,
            progress=Seldom(time.monotonic, lambda text: self._tell("{}: {}".format(job.candidate_id, text))),
            gpu=request.settings.gpu,
        )
        stage = "build"
        try:
            record = self._adopted(job, path)
            if record is None:
                record = engine.build(job.onnx, path, request.device, job.candidate_id, options)
            if request.gate is None:
                return record
            stage = "gate"
            verdict, record = self._judged(record, job, request.gate)
        except BuildFailed as error:
            return Failure(job.candidate_id, stage, str(error))
        if verdict.passed:
            return record._replace(details=dict(record.details or {}, gate=verdict.details()))
        _remove_engine(path)
        return Failure(job.candidate_id, stage, verdict.reason())

    def _adopted(self, job: Job, path: str) -> Optional[Engine]:
        """An engine that was built ahead of time from this graph, copied to `path`; None if there is none.

        It is then checked and timed as one that was built here.
        """
        request = self._request
        wanted = inputs_of(job, request)
        for folder in request.ahead:
            source = os.path.join(folder, job.candidate_id)
            try:
                stored = store.read_record(source + ".json", Engine)
                record: Engine = stored.record
                engine.check_files(record, folder)
            except PomtError:  # there is none, or it is damaged: it is built here
                continue
            if all(stored.inputs.get(key) == wanted.get(key) for key in ("onnx", "weights", "precision", "plugin")):
                store.copy(source + ".engine", path)
                details = dict(record.details or {}, cuda_graph=request.settings.cuda_graph)
                return record._replace(device=request.device, threads=request.settings.threads, details=details)
        return None

    def _judged(self, record: Engine, job: Job, gate: Gate) -> Tuple[golden_check.Verdict, Engine]:
        """The verdict of the golden check, and the record with the kernels that were compiled meanwhile and kept."""
        request = self._request
        with engine.open_engine(record, request.engines, request.settings.threads, request.settings.waiting) as runner:
            unreduced = job.candidate_id == request.reference.candidate_id
            inputs = golden_check.golden(gate.golden)
            verdict = golden_check.judge(runner, inputs, gate.preprocessing, record.precision, job.expected, unreduced)
            kernels = runner.kernels()
        if kernels and verdict.passed:
            kept = kernel_cache.keep(kernels, os.path.join(request.engines, record.file))
            record = record._replace(details=dict(record.details or {}, kernels=kept))
        return verdict, record

    def _measure_energy(self, job: Job) -> None:
        """Adds energy to the profile of a candidate whose engine is there."""
        record = self._record(job)
        profile = self._profile_of(record) if record else None
        energy = energy_of(self._request, record) if record and profile else None
        if record and profile and energy:
            self._write_profile(record, profile._replace(energy=energy))
        self._report("metered", id=job.candidate_id)

    def _rebuild(self, job: Job) -> None:
        """Builds a second engine of a candidate, times it, and keeps it if the first has poor tactics."""
        request = self._request
        reference, kept = self._built(request.reference), self._built(job)
        before = self._profile_of(kept) if kept else None
        if reference is None or kept is None or before is None:
            return
        path = self._path(job, ".again")
        made = self._made(job, path, timing_cache=None)
        if isinstance(made, Failure):
            remember_build(job, request, float("nan"))
            self._report("failed", id=job.candidate_id, reason=made.reason)
            return
        result = self._timed([made], self._references(reference))[0][1]
        if before.latency_ms in good_builds((before.latency_ms, result.latency_ms)):
            remember_build(job, request, result.latency_ms)
            _remove_engine(path)
        else:
            remember_build(job, request, before.latency_ms)
            self._replace_engine(job, made, result)
        self._report_profiled(job.candidate_id, result)

    def _replace_engine(self, job: Job, made: Engine, result: LatencyProfile) -> None:
        """Puts a rebuilt engine in the place of the first. If it is killed in between, the engine is built anew."""
        again, path = self._path(job, ".again"), self._path(job)
        details = dict(made.details or {})
        if "layers" in details:
            details["layers"] = os.path.basename(contract.layers_of(path))
            os.replace(contract.layers_of(again), contract.layers_of(path))
        os.replace(again, path)
        record = made._replace(file=os.path.basename(path), details=details)
        store.write_record(record_of(path), record, inputs_of(job, self._request))
        self._write_profile(record, result)

    def _references(self, reference: Engine) -> List[Tuple[Engine, LatencyProfile]]:
        """R = 0 and other engines of known latency; none if R = 0 is new, or its latency is unknown."""
        request = self._request
        if request.reference in request.jobs:
            return []
        records = [reference] + [record for record in map(self._record, request.known) if record]
        profiled = [(record, self._profile_of(record)) for record in records]
        known = [(record, profile) for record, profile in profiled if profile is not None]
        return known if known and known[0][0] is reference else []

    def _path(self, job: Job, suffix: str = "") -> str:
        return os.path.join(self._request.engines, job.candidate_id + suffix + ".engine")

    def _profile_path(self, record: Engine) -> str:
        return os.path.join(str(self._request.latency), record.candidate_id + ".json")

    def _profile_of(self, record: Engine) -> Optional[LatencyProfile]:
        return store.read_matching(self._profile_path(record), LatencyProfile, profile_inputs(record, self._request))

    def _write_profile(self, record: Engine, result: LatencyProfile) -> None:
        store.write_record(self._profile_path(record), result, profile_inputs(record, self._request))

    def _report_profiled(self, candidate_id: str, result: LatencyProfile) -> None:
        self._report("profiled", id=candidate_id, latency_ms=result.latency_ms, verdict=result.verdict)

    def _tell(self, text: str) -> None:
        self._report("timing", text=text)


def _remove_engine(path: str) -> None:
    for name in (path, contract.layers_of(path)):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


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
