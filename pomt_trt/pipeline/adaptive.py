"""The search in the loop: core/search/search asks, this builds, times and estimates, until nothing else can win.

Fills a work folder with what the choice needs. On one machine accuracies are estimated when they are asked for; on a
board they are all there beforehand, and nobody waits. Leaves out what to ask (core/search/search) and who wins
(selection).
"""

import math
import time
from typing import Dict, Optional, Sequence, Tuple

from pomt_trt.core.choice.rules import Goal
from pomt_trt.core.progress import Progress, Silent
from pomt_trt.core.records import GRID, Candidate, DeviceSpec, Row
from pomt_trt.core.search import search
from pomt_trt.core.search.search_state import Point, SearchState, SearchTask
from pomt_trt.device.engines.traits import traits
from pomt_trt.device.timing import profiling
from pomt_trt.device.timing.profiling import Settings
from pomt_trt.device.timing.worker_process import Worker
from pomt_trt.pipeline import stages
from pomt_trt.pipeline.options import Budget, Choice
from pomt_trt.pipeline.stages import Stage, Workstation

LONGER = 2  # times the cap, when noise decides and a candidate is timed again
LONGEST = 4  # times the cap, after which more time is not asked for


def measure(
    stage: Stage,
    device: DeviceSpec,
    settings: Settings,
    choice: Choice,
    budget: Budget,
    workstation: Optional[Workstation] = None,
) -> Tuple[str, ...]:
    """Measures candidates until the choice is known or the budget is spent; searched ones that are there, all.

    Args:
        workstation: where accuracies can be asked for; None where they are all there.
    Returns: how the search ended and what it does not know, as sentences for the selection.
    """
    grid = stage._replace(candidates=[candidate for candidate in stage.candidates if candidate.kind == GRID])
    loop = _Loop(grid, device, settings, choice, budget, workstation)
    told = loop.exhaustive() if budget.search == "exhaustive" else loop.adaptive()
    searched = stage._replace(candidates=[candidate for candidate in stage.candidates if candidate.kind != GRID])
    with Progress("profile", len(searched.candidates)) as progress:
        stages.profile(searched, device, settings, progress)
    return told


class _Loop:
    """One search over one device's candidates."""

    def __init__(
        self,
        stage: Stage,
        device: DeviceSpec,
        settings: Settings,
        choice: Choice,
        budget: Budget,
        workstation: Optional[Workstation],
    ) -> None:
        self._stage, self._device, self._settings = stage, device, settings
        self._choice, self._budget, self._workstation = choice, budget, workstation
        self._by_tokens: Dict[int, Candidate] = {c.schedule.tokens_after: c for c in stage.candidates}
        self._rows: Dict[str, Row] = {}
        self._points: Dict[int, Point] = {}
        self._deadline_s = time.monotonic() + (budget.max_time_s or math.inf)

    def exhaustive(self) -> Tuple[str, ...]:
        """Everything, in groups, which costs less for each than one at a time; then rebuilds where these tell more."""
        count = len(self._stage.candidates)
        if self._workstation is not None:
            with Progress("accuracy", count) as progress:
                stages.estimate(self._stage, self._workstation, progress)
        with Progress("profile", count) as progress:
            stages.profile(self._stage, self._device, self._settings, progress)
        told = ("Every count of the grid was measured.",)
        return told + self.adaptive() if traits(self._device.engine).varies else told

    def adaptive(self) -> Tuple[str, ...]:
        """What core/search/search asks for, one candidate at a time."""
        self._read(self._stage.candidates)
        with Progress("search", len(self._by_tokens)) as progress, Worker() as worker:
            while True:
                state = self._state()
                step = search.next_candidate(state)
                if isinstance(step, search.Done):
                    return self._told(step)
                expected = state.builds + search.expected_builds(state)
                progress.at(state.builds, search.progress(state, step), total=expected)
                candidate = self._by_tokens[step.tokens]
                self._serve(step, candidate, worker)
                self._read([self._reference, candidate])

    def _read(self, candidates: Sequence[Candidate]) -> None:
        """What the work folder holds of these; reading all of it for every step would take longer than the search."""
        for row in stages.rows(self._stage._replace(candidates=candidates), self._device, self._settings):
            self._rows[row.id] = row
            if row.status in ("measured", "failed"):
                found = stages.point(self._stage, row, self._device, self._settings)
                self._points[row.tokens_after] = found._replace(more=self._has_more(row))

    def _serve(self, request: SearchTask, candidate: Candidate, worker: Worker) -> None:
        if request.kind == "accuracy":
            assert self._workstation is not None
            asked = self._stage._replace(candidates=[self._reference, candidate])
            stages.estimate(asked, self._workstation, Silent())
            return
        settings, again = self._settings, request.kind == "time"
        if again:
            known = profiling.latency_of(self._stage.work, self._stage.family, candidate.id, self._device, settings)
            assert known is not None
            settings = settings._replace(max_s=LONGER * known.max_s)
        stage = self._stage._replace(candidates=[candidate])
        rebuild = request.kind == "rebuild"
        stages.profile(stage, self._device, settings, Silent(), again=again, worker=worker, rebuild=rebuild)

    @property
    def _reference(self) -> Candidate:
        return self._stage.candidates[0]

    def _state(self) -> SearchState:
        """What the work folder holds, in the search's terms."""
        choice, budget = self._choice, self._budget
        rows = self._rows.values()
        return SearchState(
            grid=tuple(sorted(self._by_tokens, reverse=True)),
            goal=Goal(*choice),
            points=dict(self._points),
            accuracy={row.tokens_after: row.accuracy for row in rows if row.accuracy is not None},
            accuracy_on_demand=self._workstation is not None,
            accuracy_slack=self._slack() if self._workstation is not None else 0.0,
            batch_size=self._reference.batch_size,
            builds_vary=traits(self._device.engine).varies,
            max_builds=budget.max_builds,
            out_of_time=time.monotonic() > self._deadline_s,
        )

    def _slack(self) -> float:
        """The largest standard error of a drop within the constraint: estimates on few images wander."""
        limit = self._choice.max_accuracy_drop
        known = [(row.accuracy_drop, row.accuracy_drop_ci) for row in self._rows.values() if row.removed]
        errors = [
            (ci[1] - ci[0]) / (2 * 1.96)
            for drop, ci in known
            if drop is not None and ci is not None and (limit is None or drop <= limit)
        ]
        return max(errors, default=0.0)

    def _has_more(self, row: Row) -> bool:
        """Whether timing it again could tell more; the reference stays as it is, since all are tied to it."""
        if row.removed == 0:
            return False
        known = profiling.latency_of(self._stage.work, self._stage.family, row.id, self._device, self._settings)
        return known is not None and known.stopped == "time cap" and known.max_s < LONGEST * self._settings.max_s

    def _told(self, done: search.Done) -> Tuple[str, ...]:
        rows = self._rows.values()
        tried = sum(row.status in ("measured", "failed") for row in rows)
        notes = [
            "{} of {} candidates were built and timed; the search ended since {}.".format(tried, len(rows), done.reason)
        ]
        if done.unknown:
            ranges = ", ".join(
                "{} to {}".format(*part) if part[0] != part[1] else str(part[0]) for part in done.unknown
            )
            notes.append("Not known: whether {} tokens would have been better.".format(ranges))
        return tuple(notes)
