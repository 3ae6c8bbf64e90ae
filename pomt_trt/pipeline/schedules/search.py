"""The search over schedules: what blocks cost and what cuts lose -> a few schedules over many blocks, measured.

Fills a work folder with searched candidates, their accuracies, engines and latencies, beside those of the grid; on one
machine that is workstation and device. Leaves out how the best are found (core/schedules/schedule_pareto), and who wins
among all that was measured (core/choice/selection).
"""

import os
import statistics
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Tuple

from pomt_trt.core.command import on_workstation
from pomt_trt.core.errors import ConstraintUnmet
from pomt_trt.core.progress import Progress
from pomt_trt.core.records import SEARCHED, BlockLatencies, Candidate, DeviceSpec, Request, Schedule, Sensitivity
from pomt_trt.core.schedules import block_costs, schedule_pareto
from pomt_trt.core.schedules.schedule_pareto import Found
from pomt_trt.core.storage import experiment as known
from pomt_trt.core.storage import store
from pomt_trt.core.storage.workfolder import WorkFolder
from pomt_trt.device.timing import profiling
from pomt_trt.device.timing.profiling import Settings
from pomt_trt.pipeline import package, stages
from pomt_trt.pipeline.options import Choice
from pomt_trt.pipeline.schedules import block_latency
from pomt_trt.pipeline.stages import Stage, Workstation

ROUNDS = (6, 4, 4)  # schedules built in each: first over all latencies, then around the winner so far


class Searched(NamedTuple):
    """What a search leaves behind."""

    stage: Stage  # with the searched candidates
    notes: Tuple[str, ...]  # how it went, as sentences for the selection


def check(work: WorkFolder, request: Request) -> None:
    """Raises UsageError, before any work is done, for a method that cannot be spread over blocks."""
    if not os.path.isfile(work.sensitivity()):  # else it was possible before, and nothing of the workstation is needed
        with on_workstation():
            from pomt_trt.host import sensitivity
        sensitivity.check(request.method, request.layer)


def search(stage: Stage, device: DeviceSpec, settings: Settings, choice: Choice, workstation: Workstation) -> Searched:
    """Builds and measures the best schedules that this device's block latencies and the model's sensitivity promise.

    Args:
        stage: whose grid is measured already; schedules go no lower than it does.
    """
    lowest = min(candidate.schedule.tokens_after for candidate in stage.candidates)
    if lowest == stage.experiment.model.tokens:
        return Searched(stage, ("No schedules were searched: --tokens asks for nothing but R = 0.",))
    table = block_latency.measure(stage, device, settings, workstation, lowest)
    found = promising(stage, table, sensitivity_of(stage, workstation, lowest))
    rounds = _Rounds(stage, device, settings, choice, workstation, table, found)
    return rounds.run()


def promising(stage: Stage, table: BlockLatencies, sensitivity: Sensitivity) -> Tuple[Found, ...]:
    """The front of all schedules on the counts at which blocks are cheap, by ascending predicted latency."""
    counts = block_costs.worthwhile(table)
    costs = schedule_pareto.Costs(
        counts, block_costs.block_ms(counts, table), schedule_pareto.losses(sensitivity, counts)
    )
    unreduced_ms = block_costs.predicted_ms(stage.candidates[0].schedule, table)
    return schedule_pareto.front(costs, unreduced_ms * schedule_pareto.RESOLUTION)


def sensitivity_of(stage: Stage, workstation: Workstation, lowest: int) -> Sensitivity:
    """What cuts lose, block by block, from the work folder or measured now."""
    work, depth = stage.work, stage.experiment.model.depth
    inputs = {"model": stage.family.model_sha256, "experiment": store.sha256_of(work.experiment()), "to": str(lowest)}
    there = store.read_matching(work.sensitivity(), Sensitivity, inputs)
    if there is not None and len(there.kl) == depth:
        return there
    with on_workstation():
        from pomt_trt.host import sensitivity
    plan, _, images = workstation.load()
    kind, unreduced = stage.experiment.accuracy_kind, stage.candidates[0]
    begun = there or sensitivity.unmeasured(plan, unreduced.schedule, images, lowest)
    with Progress("cuts", depth) as progress:
        progress.at(len(begun.kl))
        for found in sensitivity.measure(plan, unreduced, images, kind, begun, progress.show):
            store.write_record(work.sensitivity(), found, inputs)
            progress.step()
    return found


def add(stage: Stage, schedules: Sequence[Schedule], workstation: Workstation) -> Stage:
    """The stage with candidates of these schedules, their graphs exported unless they are there."""
    like = stage.candidates[0]
    asked = [Candidate(like.method, one, like.batch_size, like.precision, SEARCHED) for one in schedules]
    missing = [one for one in asked if one.id not in stage.family.graph_sha256]
    family = stage.family
    if missing:
        with on_workstation():
            from pomt_trt.host.graphs import export
        plan, _, images = workstation.load()
        with Progress("export", len(missing)) as progress:
            family = export.extend(plan, family, missing, images, Path(stage.work.root), progress.step)
        store.write_record(stage.work.family(family.form), family, known.family_inputs(stage.work))
    return stage._replace(family=family, candidates=[*stage.candidates, *asked])


class _Rounds:
    """Some schedules of the front at a time, closer to the winner with every round."""

    def __init__(
        self,
        stage: Stage,
        device: DeviceSpec,
        settings: Settings,
        choice: Choice,
        workstation: Workstation,
        table: BlockLatencies,
        found: Sequence[Found],
    ) -> None:
        self._stage, self._device, self._settings = stage, device, settings
        self._choice, self._workstation = choice, workstation
        self._table, self._found = table, found
        self._built: List[Candidate] = []
        self._lowest_ms = found[0].latency_ms
        self._highest_ms = (1 - choice.min_gain) * self._predicted_ms(stage.candidates[0])
        if choice.max_latency_ms is not None:
            self._highest_ms = min(self._highest_ms, choice.max_latency_ms)

    def run(self) -> Searched:
        """All rounds."""
        span = (self._lowest_ms, self._highest_ms)
        for count in ROUNDS:
            self._measure(self._picked(span, count))
            span = self._around_winner()
        return Searched(self._stage, self._told())

    def _picked(self, span: Tuple[float, float], count: int) -> List[Schedule]:
        """The best schedules within budgets evenly over a span of predicted ms, but for what is a candidate already."""
        taken = {candidate.schedule.tokens for candidate in self._stage.candidates}
        picked = []
        for number in range(1, count + 1):
            budget_ms = span[0] + (span[1] - span[0]) * number / count
            for best in schedule_pareto.within(self._found, budget_ms):
                if best.tokens not in taken:
                    taken.add(best.tokens)
                    picked.append(Schedule(best.tokens, self._stage.experiment.model.prefix_tokens))
        return picked

    def _measure(self, schedules: Sequence[Schedule]) -> None:
        """Graphs, accuracies, engines and latencies."""
        before = len(self._stage.candidates)
        self._stage = add(self._stage, schedules, self._workstation)
        new = list(self._stage.candidates[before:])
        self._built += new
        part = self._stage._replace(candidates=[self._stage.candidates[0], *new])
        with Progress("accuracy", len(new)) as progress:
            stages.estimate(part, self._workstation, progress)
        with Progress("profile", len(new)) as progress:
            stages.profile(part._replace(candidates=new), self._device, self._settings, progress)

    def _around_winner(self) -> Tuple[float, float]:
        """Between the predicted latencies next to that of the winner so far."""
        try:
            chosen = package.choose(self._stage, self._device, self._settings, self._choice).chosen
        except ConstraintUnmet:  # nothing is fast enough yet
            return (self._lowest_ms, self._highest_ms)
        winner = next(candidate for candidate in self._stage.candidates if candidate.id == chosen.id)
        middle_ms = self._predicted_ms(winner)
        others_ms = [self._predicted_ms(one) for one in self._built if one.id != winner.id]
        return (
            max([ms for ms in others_ms if ms < middle_ms], default=self._lowest_ms),
            min([ms for ms in others_ms if ms > middle_ms], default=self._highest_ms),
        )

    def _predicted_ms(self, candidate: Candidate) -> float:
        return block_costs.predicted_ms(candidate.schedule, self._table)

    def _told(self) -> Tuple[str, ...]:
        told = (
            "Schedules over many blocks were searched: blocks were timed at {} counts and in {} walks, and {} of {} "
            "schedules on the predicted front were built."
        ).format(len(self._table.plain), len(self._table.reducing), len(self._built), len(self._found))
        errors = sorted(error for error in map(self._error, self._built) if error is not None)
        if not errors:
            return (told,)
        off = "Their predicted latencies are off the measured ones by {:.1%} in the median, {:.1%} at most."
        return (told, off.format(statistics.median(errors), errors[-1]))

    def _error(self, candidate: Candidate) -> Optional[float]:
        """How far the prediction is off the measured latency, as a fraction of it."""
        found = profiling.latency_of(self._stage.work, self._stage.family, candidate.id, self._device, self._settings)
        return None if found is None else abs(self._predicted_ms(candidate) / found.latency_ms - 1)
