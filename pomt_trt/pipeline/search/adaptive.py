"""Measures a session's candidates: all of them, or those that the search asks for until nothing else can win.

On one machine an accuracy is estimated when the search asks for it. On a board all accuracies are there beforehand.
"""

import math
import time
from typing import Dict, List, Optional, Sequence, Tuple

from pomt_trt.core.choice.rules import Goal
from pomt_trt.core.progress import Progress, Silent
from pomt_trt.core.records import GRID, Candidate, Row
from pomt_trt.core.search import search
from pomt_trt.core.search.pace import AGAIN, Pace
from pomt_trt.core.search.search_state import Batch, Point, SearchState
from pomt_trt.device.engines.traits import traits
from pomt_trt.device.timing import profiling, settling
from pomt_trt.device.timing.engine_records import Action
from pomt_trt.device.timing.worker_process import Worker
from pomt_trt.pipeline.accuracy import estimate
from pomt_trt.pipeline.export import Workstation
from pomt_trt.pipeline.options import Budget
from pomt_trt.pipeline.session import Session


def measure(
    session: Session, choice: Goal, budget: Budget, workstation: Optional[Workstation] = None
) -> Tuple[str, ...]:
    """Measures candidates of the grid until the choice is known or the budget is spent, and all searched ones.

    Args:
        workstation: estimates accuracies; None where all are there.
    Returns: how the search ended and what it does not know, as sentences for the selection.
    """
    loop = _Loop(session, choice, budget, workstation)
    notes = loop.exhaustive() if budget.search == "exhaustive" else loop.adaptive(Pace())
    searched = [candidate for candidate in session.candidates if candidate.kind != GRID]
    with Progress("profile", len(searched)) as progress:
        profiling.profile(session.engines, searched, progress)
    return notes


SLACK = 1.5  # standard errors of a drop, by which an unknown accuracy may exceed those of its neighbours
OVERTAKEN = "the exhaustive search would be done before the next measurements"


class _Loop:
    """One search over the candidates of one session's grid."""

    def __init__(self, session: Session, choice: Goal, budget: Budget, workstation: Optional[Workstation]) -> None:
        self._session, self._choice, self._budget, self._workstation = session, choice, budget, workstation
        self._grid = [candidate for candidate in session.candidates if candidate.kind == GRID]
        self._by_tokens: Dict[int, Candidate] = {one.schedule.tokens_after: one for one in self._grid}
        self._varies = traits(session.device.engine).varies
        self._on_demand = workstation is not None
        self._deadline_s = time.monotonic() + (budget.max_time_s or math.inf)

    def exhaustive(self) -> Tuple[str, ...]:
        """Measures all, in groups, which is faster than one at a time; then adaptive asks for rebuilds."""
        if self._workstation is not None:
            with Progress("accuracy", len(self._grid)) as progress:
                estimate(self._session, self._grid, self._workstation, progress)
        with Progress("profile", len(self._grid)) as progress:
            profiling.profile(self._session.engines, self._grid, progress)
        notes = ("Every count of the grid was measured.",)
        return notes + self.adaptive() if self._varies else notes

    def adaptive(self, pace: Optional[Pace] = None) -> Tuple[str, ...]:
        """Measures what core/search/search asks for, a batch in one call.

        Args:
            pace: ends the search before it takes longer than the exhaustive one; None: that one is done already.
        """
        missing = sum(row.status not in ("measured", "failed") for row in self._rows())
        with Progress("search", len(self._grid)) as progress, Worker() as worker:
            while True:
                state = self._state()
                step = search.next_batch(state)
                if isinstance(step, Batch) and pace is not None and not pace.allows(step, missing, self._on_demand):
                    step = search.next_batch(state._replace(stopped=OVERTAKEN))
                if isinstance(step, search.Done):
                    return self._notes(step)
                expected = state.builds + search.expected_builds(state)
                progress.at(state.builds, search.progress(state, step), total=expected)
                began_s = time.monotonic()
                self._answer(step, worker)
                if pace is not None:
                    pace.add(step, time.monotonic() - began_s)

    def _answer(self, batch: Batch, worker: Worker) -> None:
        engines, candidates = self._session.engines, [self._by_tokens[t] for t in batch.counts]
        if batch.kind == "accuracy":
            assert self._workstation is not None
            estimate(self._session, candidates, self._workstation, Silent())
            return
        action = {"time": Action.RETIME, "rebuild": Action.REBUILD}.get(batch.kind, Action.TIME)
        if action is Action.RETIME:
            engines = engines.within(AGAIN * self._session.settings.max_s)
        profiling.profile(engines, candidates, Silent(), action, worker)

    def _state(self) -> SearchState:
        """What is known, in the search's terms."""
        rows, groups = self._rows(), settling.group_counts(self._session.engines)
        known = [row for row in rows if row.status in ("measured", "failed")]
        return SearchState(
            grid=tuple(sorted(self._by_tokens, reverse=True)),
            goal=self._choice,
            points={row.tokens_after: self._point(row, groups.get(row.id, 0)) for row in known},
            accuracy={row.tokens_after: row.accuracy for row in rows if row.accuracy is not None},
            accuracy_on_demand=self._on_demand,
            accuracy_slack=self._accuracy_slack(rows) if self._on_demand else 0.0,
            batch_size=self._grid[0].batch_size,
            builds_vary=self._varies,
            max_builds=self._budget.max_builds,
            stopped="the time budget is spent" if time.monotonic() > self._deadline_s else "",
        )

    def _rows(self) -> List[Row]:
        return [self._session.row(candidate.id) for candidate in self._grid]

    def _point(self, row: Row, groups: int) -> Point:
        """The row's point. A second group tells more of it; R = 0 is in all, since latencies are relative to it."""
        return self._session.point(row.id)._replace(more=row.removed > 0 and groups == 1)

    def _accuracy_slack(self, rows: Sequence[Row]) -> float:
        """SLACK times the standard error of a drop at the constraint: few images make it uncertain.

        It is the largest error within the constraint; if no count is within, the smallest beyond.
        """
        limit, within = self._choice.max_accuracy_drop, [0.0]
        beyond: List[float] = []
        for row in rows:
            if row.removed and row.accuracy_drop is not None and row.accuracy_drop_ci is not None:
                error = (row.accuracy_drop_ci[1] - row.accuracy_drop_ci[0]) / (2 * 1.96)
                (within if limit is None or row.accuracy_drop <= limit else beyond).append(error)
        return SLACK * (min(beyond) if beyond and len(within) == 1 else max(within))

    def _notes(self, done: search.Done) -> Tuple[str, ...]:
        tried = sum(row.status in ("measured", "failed") for row in self._rows())
        note = "{} of {} candidates were built and timed; the search ended since {}."
        notes = [note.format(tried, len(self._grid), done.reason)]
        if done.unknown:
            ranges = ["{} to {}".format(*part) if part[0] != part[1] else str(part[0]) for part in done.unknown]
            notes.append("Not known: whether {} tokens would have been better.".format(", ".join(ranges)))
        return tuple(notes)
