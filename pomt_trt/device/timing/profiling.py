"""Builds and times candidates in groups, each group in a child process (device/timing/worker).

Writes engines/ and latency/ of one device in the work folder. Records that match today's inputs are left as they are.
"""

import contextlib
import math
import os
import signal
from typing import Dict, List, Optional, Sequence, Tuple

from pomt_trt.core.errors import BuildFailed
from pomt_trt.core.progress import Progress
from pomt_trt.core.records import Candidate, Energy, Failure
from pomt_trt.core.storage import experiment, store
from pomt_trt.core.storage.workfolder import WorkFolder
from pomt_trt.device.board import board
from pomt_trt.device.engines import ahead
from pomt_trt.device.engines.tensorrt import gpu_targets
from pomt_trt.device.engines.traits import traits
from pomt_trt.device.timing.engine_records import Action, EngineRecords
from pomt_trt.device.timing.settling import settle
from pomt_trt.device.timing.worker_process import Outcome, Worker
from pomt_trt.device.timing.worker_protocol import Gate, Job, Request, inputs_of, remember_build

REFERENCE = "r000"  # R = 0: every group is timed beside it
GROUP_MEMORY_BYTES = 700 << 20  # of engines alive at a time
BYTES_PER_WEIGHT_BYTE = 2.5  # an engine maps its weights and keeps them repacked for the processor
FEWEST, MOST = 2, 12  # engines in a group, beside the reference
MOST_KNOWN = 3  # of them are known already: more cost as much time again, and tell little more of the machine


def profile(
    records: EngineRecords,
    candidates: Sequence[Candidate],
    progress: Progress,
    action: Action = Action.TIME,
    worker: Optional[Worker] = None,
) -> None:
    """Does an action with every candidate that it is not done with; R = 0 is the reference of each group.

    A group holds known candidates too, where memory allows and their engines are there: beside R = 0 alone, a group is
    off by as much as the noise of that engine, and a small group cannot tell noise from drift.

    Args:
        action: REBUILD is for libraries whose builds vary, see EngineRecords.builds_ms.
        worker: does all groups; None: each group has a worker of its own, whose memory is given back.
    Raises: BuildFailed if R = 0 cannot be built, since all is compared with it.
    """
    _check_reference(records)
    todo = []
    for candidate in candidates:
        if records.is_done(candidate.id, action):
            progress.step(candidate.id)
        else:
            todo.append(candidate)
    while todo:
        size = group_size(records.graph_set.weights_bytes)
        known = [] if action is Action.BUILD else _known(records, todo)
        known = _spread(known, min(MOST_KNOWN, max(size // 3, size - len(todo))))
        group, todo = todo[: size - len(known)], todo[size - len(known) :]
        with contextlib.ExitStack() as stack:
            _run(records, _request(records, group, known, action), worker or stack.enter_context(Worker()), progress)
        _check_reference(records)
    if action is not Action.BUILD:
        settle(records, REFERENCE)


def measure_energy(records: EngineRecords, candidates: Sequence[Candidate]) -> None:
    """Adds the energy of a run to each profile that lacks it and whose engine is there; 8 s an engine."""
    measured = energies(records, candidates)
    lacking = [
        one
        for one in candidates
        if one.id not in measured and records.latency(one.id) is not None and records.is_done(one.id, Action.BUILD)
    ]
    if lacking:
        request = _request(records, lacking, [], Action.TIME)._replace(energy=True)
        with Progress("energy", len(lacking)) as progress, Worker() as worker:
            _run(records, request, worker, progress)


def energies(records: EngineRecords, candidates: Sequence[Candidate]) -> Dict[str, Energy]:
    """The energy of a run by candidate, where it was measured."""
    profiles = {one.id: records.latency(one.id) for one in candidates}
    return {name: profile.energy for name, profile in profiles.items() if profile is not None and profile.energy}


def _known(records: EngineRecords, todo: Sequence[Candidate]) -> List[Candidate]:
    """Candidates besides R = 0 and `todo` that have a profile, and an engine that can be timed once more.

    Where there are some, only those that were timed undisturbed: the others tie a group to what is not known.
    """
    profiled, built = (set(_names(folder)) for folder in (records.latency_folder, records.engines_folder))
    left_out = {candidate.id for candidate in todo} | {REFERENCE}
    usable = {name[: -len(".json")] for name in profiled if name.replace(".json", ".engine") in built} - left_out
    known = [candidate for candidate in records.graph_set.candidates if candidate.id in usable]
    profiles = [(one, records.latency(one.id)) for one in known]
    return [one for one, profile in profiles if profile and profile.verdict != "contended"] or known


def _names(folder: str) -> List[str]:
    return os.listdir(folder) if os.path.isdir(folder) else []


def _spread(candidates: Sequence[Candidate], most: int) -> List[Candidate]:
    """At most so many, from all over the range: neighbours alone would hand their errors on from group to group."""
    if len(candidates) <= most:
        return list(candidates)
    return [candidates[(2 * i + 1) * len(candidates) // (2 * most)] for i in range(most)]


def group_size(weights_bytes: int) -> int:
    """How many engines may be alive beside the reference."""
    fitting = GROUP_MEMORY_BYTES / (BYTES_PER_WEIGHT_BYTE * max(1, weights_bytes))
    return int(min(MOST, max(FEWEST, fitting - 1)))


def _request(records: EngineRecords, group: Sequence[Candidate], known: Sequence[Candidate], action: Action) -> Request:
    work, graph_set, device, settings = records.work, records.graph_set, records.device, records.settings

    def job(candidate_id: str) -> Job:
        graph = work.graph(graph_set.form, candidate_id)
        expected = work.accuracy_arrays(candidate_id)
        return Job(candidate_id, graph, graph_set.graph_sha256[candidate_id], graph_set.weights_sha256, expected)

    return Request(
        device=device,
        engines=records.engines_folder,
        latency=None if action is Action.BUILD else records.latency_folder,
        jobs=tuple(job(candidate.id) for candidate in group),
        reference=job(REFERENCE),
        known=tuple(job(candidate.id) for candidate in known),
        settings=settings,
        precision=graph_set.precision,
        fp32_nodes=graph_set.fp32_nodes,
        plugin=records.plugin,
        gate=_gate(work) if traits(device.engine).gated and settings.gpu is None else None,
        rebuild=action is Action.REBUILD,
        ahead=_ahead(records) if settings.gpu is None else (),
    )


def _ahead(records: EngineRecords) -> Tuple[str, ...]:
    """Folders of engines that were built ahead of time for GPUs such as this one."""
    device, graph_set = records.device, records.graph_set
    if not traits(device.engine).portable:
        return ()
    made_for = [ahead.device(device.engine, gpu) for gpu in gpu_targets.adoptable(device)]
    ids = [board.in_form(one, graph_set.form, graph_set.precision).id for one in made_for]
    return tuple(filter(os.path.isdir, map(records.work.engines, ids)))


def _gate(work: WorkFolder) -> Gate:
    return Gate(work.golden(), experiment.experiment_of(work).model.preprocessing)


def _run(records: EngineRecords, request: Request, worker: Worker, progress: Progress) -> None:
    """One group. Its records are read anew afterwards, also where it ends with an error."""
    try:
        _answered(request, worker, progress)
    finally:
        records.renew([REFERENCE, *(job.candidate_id for job in request.jobs)])


def _answered(request: Request, worker: Worker, progress: Progress) -> None:
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


def _check_reference(records: EngineRecords) -> None:
    failure = records.failure(REFERENCE)
    if failure is not None:
        raise BuildFailed(
            "R = 0 cannot be built, and everything is compared with it: {}. Mend that, delete {}, and run the same "
            "command again.".format(failure.reason, records.work.failure(records.device.id, REFERENCE))
        )


def _name_of(exit_code: int) -> str:
    if exit_code >= 0:
        return "exit code {}".format(exit_code)
    return "signal {} ({})".format(-exit_code, signal.Signals(-exit_code).name)
