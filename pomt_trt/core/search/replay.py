"""Runs a search over a recorded or generated curve, to judge the search.

regret = U(exhaustive choice) - U(adaptive choice), where U is the utility from all recorded samples.
"""

import math
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from pomt_trt.core.choice.rules import Goal
from pomt_trt.core.choice.selection import AccuracySource, select, utility
from pomt_trt.core.records import Row, Selection
from pomt_trt.core.search.curve import Curve
from pomt_trt.core.search.search import Done, SearchStep, next_batch, next_in_order
from pomt_trt.core.search.search_state import Batch, Point, SearchState
from pomt_trt.core.search.steps import significant_steps
from pomt_trt.core.statistics.drift import Rounds
from pomt_trt.core.statistics.stats import QUICK_RESAMPLES, StoppingRule, locate
from pomt_trt.core.storage.store import to_json
from pomt_trt.core.text_table import aligned

Strategy = Callable[[SearchState], SearchStep]
Serve = Callable[[str, Sequence[int]], List[Point]]  # (kind of batch, its counts) -> the measurements of each


class Replay(NamedTuple):
    """The adaptive search over a curve, beside the exhaustive one."""

    builds: int
    counts: int  # of the curve, all of which the exhaustive search builds
    selection: Selection
    exhaustive: Selection
    regret: float
    done: Done


class Recorded:
    """Serves a recorded curve one sample at a time, as long as the stopping rule asks for more."""

    def __init__(self, curve: Curve, error: float = 0.0) -> None:
        """error: relative half interval that each count but R = 0 has besides, as groups of engines share one."""
        self.error, self.unreduced = error, curve.points[0].tokens
        self.samples = {point.tokens: point.latency_ms for point in curve.points}
        self.served: Dict[int, int] = {}
        self.rule = StoppingRule(max_s=math.inf)

    def serve(self, kind: str, counts: Sequence[int]) -> List[Point]:
        """The samples of first profiles for build, all samples for time; each count has only one engine."""
        return [self._point(kind, tokens) for tokens in counts]

    def _point(self, kind: str, tokens: int) -> Point:
        samples, served = self.samples[tokens], self.served.get(tokens, 0)
        if not samples:
            return Point(tokens)
        if kind == "build":
            rounds = [[sample] for sample in samples]
            enough = (n for n in range(1, len(samples)) if self._is_enough(rounds[:n]))
            served = next(enough, len(samples))
        else:
            served = len(samples)
        self.served[tokens] = served
        value, low, high = locate([[sample] for sample in samples[:served]])
        error = self.error * value if tokens != self.unreduced else 0.0
        interval = (value - math.hypot(value - low, error), value + math.hypot(high - value, error))
        return Point(tokens, value, interval, (value,), served < len(samples))

    def _is_enough(self, rounds: Rounds) -> bool:
        return self.rule.decide(rounds, lambda: locate(rounds, resamples=QUICK_RESAMPLES), 0.0) is not None


def replay(
    curve: Curve,
    goal: Goal,
    max_builds: Optional[int] = None,
    error: float = 0.0,
    accuracy_slack: Optional[float] = None,
) -> Replay:
    """The adaptive and the exhaustive search over a recorded curve.

    Args:
        error: see Recorded.
        accuracy_slack: of accuracies that the adaptive search has to ask for; None: it knows them all beforehand.
    Raises: ConstraintUnmet where no candidate meets the constraints.
    """
    grid = tuple(point.tokens for point in curve.points)
    accuracy = {point.tokens: point.accuracy for point in curve.points if point.accuracy is not None}
    start = SearchState(grid, goal, {}, accuracy, batch_size=curve.batch_size)
    everything, _ = drive(start, _all_samples(curve), accuracy, next_in_order)
    state = start._replace(max_builds=max_builds)
    if accuracy_slack is not None:
        state = state._replace(accuracy={}, accuracy_on_demand=True, accuracy_slack=accuracy_slack)
    state, done = drive(state, Recorded(curve, error).serve, accuracy, next_batch)
    exhaustive, selection = choose(everything), choose(state, within_budget=done.complete)
    regret = _utility(exhaustive, exhaustive.chosen) - _utility(exhaustive, selection.chosen)
    return Replay(state.builds, len(grid), selection, exhaustive, regret, done)


def drive(state: SearchState, serve: Serve, accuracy: Dict[int, float], strategy: Strategy) -> Tuple[SearchState, Done]:
    """Follows a strategy to its end; the last state, and why it ended."""
    while True:
        step = strategy(state)
        if isinstance(step, Done):
            return state, step
        state = _after(state, step, serve, accuracy)


def _after(state: SearchState, batch: Batch, serve: Serve, accuracy: Dict[int, float]) -> SearchState:
    if batch.kind == "accuracy":
        return state._replace(accuracy={**state.accuracy, **{t: accuracy[t] for t in batch.counts}})
    return state._replace(points={**state.points, **{p.tokens: p for p in serve(batch.kind, batch.counts)}})


def choose(state: SearchState, device_id: str = "replay", within_budget: bool = True) -> Selection:
    """The Selection from the measurements of a search.

    Raises: ConstraintUnmet where no measured candidate meets the constraints.
    """
    rows = [_row(state, tokens, within_budget) for tokens in state.grid]
    steps = significant_steps(state.points, state.grid[0])
    return select(rows, state.goal, steps, device_id=device_id, accuracy=AccuracySource("top1", "recorded"))


def result_json(result: Replay) -> Dict[str, Any]:
    """What `replay --json` prints."""
    return {
        "builds": result.builds,
        "chosen": to_json(result.selection.chosen),
        "exhaustive": to_json(result.exhaustive.chosen),
        "regret": result.regret,
        "counts": result.counts,
        "reason": result.done.reason,
        "unknown": [list(pair) for pair in result.done.unknown],
        "steps": to_json(result.selection.steps),
    }


def result_lines(result: Replay) -> Tuple[str, ...]:
    """What `replay` prints for people."""
    counts = "{} of {} ({:.1f} %)".format(result.builds, result.counts, 100.0 * result.builds / result.counts)
    rows = [
        ("builds", counts),
        ("chosen", _describe(result.selection.chosen)),
        ("exhaustive", _describe(result.exhaustive.chosen)),
        ("regret", "{:.4f} in utility".format(result.regret)),
        ("steps", ", ".join(str(step.edge_tokens) for step in result.selection.steps) or "none significant"),
        ("ended", result.done.reason),
    ]
    unknown = ", ".join("{} to {}".format(*pair) for pair in result.done.unknown)
    return tuple(aligned(rows + ([("unknown", unknown + " tokens could still win")] if unknown else [])))


def _describe(row: Row) -> str:
    latency, accuracy = row.latency_ms or math.nan, row.accuracy or math.nan
    return "{}: {} tokens, {:.4g} ms, accuracy {:.4f}".format(row.id, row.tokens_after, latency, accuracy)


def _all_samples(curve: Curve) -> Serve:
    samples = {point.tokens: point.latency_ms for point in curve.points}

    def point(tokens: int) -> Point:
        if not samples[tokens]:
            return Point(tokens)
        value, low, high = locate([[sample] for sample in samples[tokens]])
        return Point(tokens, value, (low, high), (value,))

    def serve(kind: str, counts: Sequence[int]) -> List[Point]:
        return [point(tokens) for tokens in counts]

    return serve


def _row(state: SearchState, tokens: int, within_budget: bool) -> Row:
    point, top = state.points.get(tokens), state.grid[0]
    row = Row("r{:03d}".format(top - tokens), top, tokens, top - tokens, accuracy=state.accuracy.get(tokens))
    if point is None:
        return row if within_budget else row._replace(status="over-budget")
    if point.failed:
        return row._replace(status="failed")
    return row._replace(latency_ms=point.latency_ms, latency_ci_ms=point.latency_ci_ms, status="measured")


def _utility(selection: Selection, row: Row) -> float:
    """The utility of a candidate from the latency and accuracy that the exhaustive search measured."""
    zero = selection.unreduced
    same = next(r for r in selection.rows if r.id == row.id)
    if same.latency_ms is None or same.accuracy is None or zero.latency_ms is None or zero.accuracy is None:
        return math.nan
    alpha = selection.constraints["alpha"] or 0.0
    return utility(same.latency_ms, same.accuracy, zero.latency_ms, zero.accuracy, alpha)
