"""The search for schedules that remove tokens in several blocks: the best that the predictions promise, measured.

Predicted latencies come from block latencies, predicted losses from the model's sensitivity to cuts. Needs workstation
and device in one machine. core/schedules/schedule_pareto finds the best predictions.
"""

import os
import statistics
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from pomt_trt.core.choice.rules import Goal
from pomt_trt.core.command import on_workstation
from pomt_trt.core.errors import ConstraintUnmet
from pomt_trt.core.progress import Progress
from pomt_trt.core.records import SEARCHED, BlockLatencies, Candidate, Request, Schedule, Sensitivity
from pomt_trt.core.schedules import block_costs, schedule_pareto
from pomt_trt.core.schedules.schedule_pareto import ParetoSchedule
from pomt_trt.core.storage import experiment as experiments
from pomt_trt.core.storage import store
from pomt_trt.core.storage.workfolder import WorkFolder
from pomt_trt.device.timing import profiling
from pomt_trt.pipeline.accuracy import estimate
from pomt_trt.pipeline.export import Workstation
from pomt_trt.pipeline.search import block_latency
from pomt_trt.pipeline.select import choose_winner
from pomt_trt.pipeline.session import Session

ROUNDS = (6, 4, 4)  # schedules built in each: first over all latencies, then around the winner so far


def check(work: WorkFolder, request: Request) -> None:
    """Raises UsageError, before any work is done, for a method that cannot be spread over blocks."""
    if not os.path.isfile(work.sensitivity()):  # where it is there, the method was checked before
        with on_workstation():
            from pomt_trt.host import sensitivity

        sensitivity.check(request.method, request.layer)


def search(session: Session, choice: Goal, workstation: Workstation) -> Tuple[str, ...]:
    """Adds the best predicted schedules to a session whose grid is measured, and measures them.

    Schedules keep at least as many tokens as the grid does.

    Returns: how it went, as sentences for the selection.
    """
    lowest = min(candidate.schedule.tokens_after for candidate in session.candidates)
    if lowest == session.experiment.model.tokens:
        return ("No schedules were searched: --tokens asks for nothing but R = 0.",)
    table = block_latency.measure(session, workstation, lowest)
    front = predicted_front(session.unreduced, table, sensitivity_of(session, workstation, lowest))
    rounds = _Rounds(session, workstation, table, front)
    rounds.run(choice)
    return rounds.notes()


def predicted_front(
    unreduced: Candidate, table: BlockLatencies, sensitivity: Sensitivity
) -> Tuple[ParetoSchedule, ...]:
    """The Pareto front of all schedules on the counts at which blocks are cheap, by ascending predicted latency."""
    counts = block_costs.worthwhile(table)
    costs = schedule_pareto.Costs(
        counts, block_costs.block_ms(counts, table), schedule_pareto.losses(sensitivity, counts)
    )
    unreduced_ms = block_costs.predicted_ms(unreduced.schedule, table)
    return schedule_pareto.front(costs, unreduced_ms * schedule_pareto.RESOLUTION)


def sensitivity_of(session: Session, workstation: Workstation, lowest: int) -> Sensitivity:
    """What cuts lose, block by block, from the work folder or measured now."""
    work, depth = session.work, session.experiment.model.depth
    experiment_sha256 = store.sha256_of(work.experiment())
    inputs = {"model": session.graph_set.model_sha256, "experiment": experiment_sha256, "to": str(lowest)}
    begun = store.read_matching(work.sensitivity(), Sensitivity, inputs)
    if begun is not None and len(begun.kl) == depth:
        return begun
    with on_workstation():
        from pomt_trt.host import sensitivity

    plan, _, images = workstation.load()
    kind = session.experiment.accuracy_kind
    begun = begun or sensitivity.unmeasured(plan, session.unreduced.schedule, images, lowest)
    with Progress("cuts", depth) as progress:
        progress.at(len(begun.kl))
        for measured in sensitivity.measure(plan, session.unreduced, images, kind, begun, progress.show):
            store.write_record(work.sensitivity(), measured, inputs)
            progress.step()
    return measured  # by now of all blocks


def add(session: Session, schedules: Sequence[Schedule], workstation: Workstation) -> List[Candidate]:
    """Adds candidates of these schedules to the session, their graphs exported unless they are there; returns them."""
    like, graph_set, work = session.unreduced, session.graph_set, session.work
    added = [Candidate(like.method, one, like.batch_size, like.precision, SEARCHED) for one in schedules]
    missing = [candidate for candidate in added if candidate.id not in graph_set.graph_sha256]
    if missing:
        with on_workstation():
            from pomt_trt.host.graphs import export

        plan, _, images = workstation.load()
        with Progress("export", len(missing)) as progress:
            graph_set = export.extend(plan, graph_set, missing, images, Path(work.root), progress.step)
        store.write_record(work.family(graph_set.form), graph_set, experiments.family_inputs(work))
    session.add(added, graph_set)
    return added


class _Rounds:
    """Measures some schedules of the predicted front at a time, closer to the winner with every round."""

    def __init__(
        self, session: Session, workstation: Workstation, table: BlockLatencies, front: Sequence[ParetoSchedule]
    ) -> None:
        self._session, self._workstation, self._table, self._front = session, workstation, table, front
        self._measured: List[Candidate] = []

    def run(self, choice: Goal) -> None:
        """All rounds."""
        highest_ms = (1 - choice.min_gain) * self._predicted_ms(self._session.unreduced)
        if choice.max_latency_ms is not None:
            highest_ms = min(highest_ms, choice.max_latency_ms)
        whole_ms = span_ms = (self._front[0].latency_ms, highest_ms)
        for count in ROUNDS:
            self._measure(self._best_within(span_ms, count))
            span_ms = self._around_winner(choice, whole_ms)

    def _best_within(self, span_ms: Tuple[float, float], count: int) -> List[Schedule]:
        """The best schedules below limits that divide a span of latencies evenly, without those that are candidates."""
        taken = {candidate.schedule.tokens for candidate in self._session.candidates}
        best = []
        for number in range(1, count + 1):
            limit_ms = span_ms[0] + (span_ms[1] - span_ms[0]) * number / count
            for schedule in schedule_pareto.within(self._front, limit_ms):
                if schedule.tokens not in taken:
                    taken.add(schedule.tokens)
                    best.append(Schedule(schedule.tokens, self._session.experiment.model.prefix_tokens))
        return best

    def _measure(self, schedules: Sequence[Schedule]) -> None:
        """Graphs, accuracies, engines and latencies."""
        added = add(self._session, schedules, self._workstation)
        self._measured += added
        with Progress("accuracy", len(added)) as progress:
            estimate(self._session, [self._session.unreduced, *added], self._workstation, progress)
        with Progress("profile", len(added)) as progress:
            profiling.profile(self._session.engines, added, progress)

    def _around_winner(self, choice: Goal, whole_ms: Tuple[float, float]) -> Tuple[float, float]:
        """The predicted latencies next to that of the winner so far; the whole span where nothing is fast enough."""
        try:
            winner = self._session.candidate(choose_winner(self._session, choice).chosen.id)
        except ConstraintUnmet:
            return whole_ms
        middle_ms = self._predicted_ms(winner)
        others_ms = [self._predicted_ms(one) for one in self._measured if one.id != winner.id]
        return (
            max([ms for ms in others_ms if ms < middle_ms], default=whole_ms[0]),
            min([ms for ms in others_ms if ms > middle_ms], default=whole_ms[1]),
        )

    def _predicted_ms(self, candidate: Candidate) -> float:
        return block_costs.predicted_ms(candidate.schedule, self._table)

    def notes(self) -> Tuple[str, ...]:
        """How the search went, as sentences."""
        note = (
            "Schedules over many blocks were searched: blocks were timed at {} counts and in {} walks, and {} of {} "
            "schedules on the predicted front were built."
        ).format(len(self._table.plain), len(self._table.reducing), len(self._measured), len(self._front))
        errors = sorted(error for error in map(self._error, self._measured) if error is not None)
        if not errors:
            return (note,)
        accuracy = "Their predicted latencies are off the measured ones by {:.1%} in the median, {:.1%} at most."
        return (note, accuracy.format(statistics.median(errors), errors[-1]))

    def _error(self, candidate: Candidate) -> Optional[float]:
        """|predicted / measured - 1|."""
        profile = self._session.latency(candidate.id)
        return None if profile is None else abs(self._predicted_ms(candidate) / profile.latency_ms - 1)
