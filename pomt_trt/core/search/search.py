"""Chooses which count to measure next, by best-first branch and bound.

best is the best measured score. An unmeasured count t is open while bound(t) > best + TOLERANCE (bounds: search_state).
The search cuts the range around the open count with the best bound, and ends when no count is open. Why: every count
that was not built is then known to gain less than the tolerance.

The step rule also needs both sides of each step (step_search). Priors, such as tile sizes, only decide where a range is
cut: a wrong prior costs a build, never the choice. The search is a pure function of its state, so that it can stop and
resume anywhere.
"""

from typing import Iterable, List, NamedTuple, Optional, Tuple, Union

from pomt_trt.core.choice.rules import ROUNDING
from pomt_trt.core.search.search_state import Bounds, SearchState, SearchTask, is_deep, valley_pairs
from pomt_trt.core.search.step_search import candidate_edges, cut, next_bracket, unbracketed

TOLERANCE = 0.002  # of utility: what an unmeasured count must be able to gain to be worth a build
CALIBRATION_BUILDS = 3  # of each of three counts, to learn how much builds differ
LIMIT = 0.34  # of the grid: a search that needs more builds stops, and says which counts are still open
LEAST_LIMIT = 24  # builds that are always allowed
CONFIRM = 0.01  # of utility: a single build is repeated where it alone excludes a gain of more
NARROW = 0.01  # relative full width of an interval above which a best candidate is timed again


class Done(NamedTuple):
    """Why the search ended, and the ranges (highest, lowest) of counts that could still win."""

    reason: str
    unknown: Tuple[Tuple[int, int], ...] = ()
    complete: bool = True


SearchStep = Union[SearchTask, Done]


def next_candidate(state: SearchState) -> SearchStep:
    """The next thing to measure, or Done. Pure: the same state gives the same answer."""
    return _within_budget(state, _first(state) or _within_limit(state, _search(Bounds(state))))


def next_in_order(state: SearchState) -> SearchStep:
    """The exhaustive search: every count of the grid from the top, then its accuracy."""
    for tokens in state.grid:
        if tokens not in state.points:
            return _within_budget(state, SearchTask("build", tokens, "exhaustive search"))
        if not state.points[tokens].failed and tokens not in state.accuracy and state.accuracy_on_demand:
            return SearchTask("accuracy", tokens, "exhaustive search")
    return Done("every count of the grid was measured")


def _within_budget(state: SearchState, step: SearchStep) -> SearchStep:
    if isinstance(step, Done) or step.kind == "accuracy" or step.kind == "time" and not state.out_of_time:
        return step
    if state.out_of_time:
        return Done("the time budget is spent", _unknown(state), complete=False)
    if state.max_builds is not None and state.builds >= state.max_builds:
        return Done("the build budget is spent", _unknown(state), complete=False)
    return step


def _within_limit(state: SearchState, step: SearchStep) -> SearchStep:
    """Ends the search at a third of the grid: beyond it, only an exhaustive search would help."""
    limit = max(LEAST_LIMIT, LIMIT * len(state.grid))
    if isinstance(step, Done) or step.kind in ("accuracy", "time") or state.builds < limit:
        return step
    return Done("a third of the grid was built, and noise leaves the rest open", _unknown(state), complete=False)


def _unknown(state: SearchState) -> Tuple[Tuple[int, int], ...]:
    if _first(state) is not None:
        return ranges(state.grid, [t for t in state.grid if t not in state.points])
    return _open_ranges(Bounds(state))


def _open_ranges(bounds: Bounds) -> Tuple[Tuple[int, int], ...]:
    """Ranges of counts that could still win."""
    return ranges(bounds.grid, set(open_counts(bounds, bounds.best_score())) | set(unbracketed(bounds)))


def _first(state: SearchState) -> Optional[SearchStep]:
    """R = 0, to which everything is relative; then the end of the accuracy constraint, if accuracies are on demand."""
    top = state.grid[0]
    if top not in state.points:
        return SearchTask("build", top, "everything is compared with R = 0")
    if state.points[top].failed:
        return Done("R = 0 could not be built", complete=False)
    if top not in state.accuracy:
        return SearchTask("accuracy", top, "everything is compared with R = 0")
    if state.accuracy_on_demand and state.goal.max_accuracy_drop is not None:
        least = state.accuracy[top] - state.goal.max_accuracy_drop - state.accuracy_slack - ROUNDING
        return _accuracy_limit(state, least)
    return None


def _accuracy_limit(state: SearchState, least: float) -> Optional[SearchTask]:
    """Bisects for the lowest count whose accuracy is at least `least`, which already allows for the slack."""
    kept = [i for i, t in enumerate(state.grid) if state.accuracy.get(t, -1.0) >= least]
    lost = [i for i, t in enumerate(state.grid) if state.accuracy.get(t, 2.0) < least]
    low, high = max(kept), min([i for i in lost if i > max(kept)] + [len(state.grid)])
    if high - low <= 1:
        return None
    at = len(state.grid) - 1 if high == len(state.grid) else (low + high) // 2
    ends = state.grid[low], state.grid[min(high, len(state.grid) - 1)]
    return SearchTask("accuracy", state.grid[at], "the accuracy constraint ends between {} and {} tokens".format(*ends))


def _search(bounds: Bounds) -> SearchStep:
    """The first task of these phases, in this order."""
    phases = (_anchor, _calibrate, _probe_valleys, _rebuild_outlier, _measure_accuracy, _improve)
    for phase in phases + (next_bracket, _confirm, _sharpen):
        task = phase(bounds)
        if task is not None:
            return _accuracy_first(bounds, task) if phase in (_anchor, _improve) else task
    return Done(
        "no unmeasured count can beat the best within the intervals; valleys were looked for at multiples of 32, 16 "
        "and 8 only"
    )


def _accuracy_first(bounds: Bounds, task: SearchTask) -> SearchTask:
    """Measures the accuracy of a count before its engine is built: it may rule the count out."""
    if task.tokens in bounds.state.accuracy or not bounds.state.accuracy_on_demand:
        return task
    return SearchTask("accuracy", task.tokens, task.why)


def _anchor(bounds: Bounds) -> Optional[SearchTask]:
    """Builds the fewest tokens allowed, which bound all others; then the lowest valley, which bounds the valleys."""
    for kind, name in ((False, "the fewest tokens allowed"), (True, "the lowest valley allowed")):
        counts = [t for t in bounds.admissible if bounds.is_valley(t) is kind]
        if counts and counts[-1] not in bounds.points:
            return SearchTask("build", counts[-1], name)
    return None


def _calibrate(bounds: Bounds) -> Optional[SearchTask]:
    """Builds R = 0 and two other counts three times, to learn how much builds differ."""
    if not bounds.state.builds_vary or not bounds.admissible:
        return None
    counts = [bounds.grid[0], bounds.admissible[-1], bounds.admissible[len(bounds.admissible) // 2]]
    for tokens in counts:
        point = bounds.state.points.get(tokens)
        if point is None or (not point.failed and len(point.builds_ms) < CALIBRATION_BUILDS):
            return SearchTask("build" if point is None else "rebuild", tokens, "how much do builds differ")
    return None


def _probe_valleys(bounds: Bounds) -> Optional[SearchTask]:
    """Measures a multiple of 32 and its lower neighbour; where that is a valley, of 16, then of 8.

    Where builds differ, a valley counts only once both were built twice.
    """
    if len(bounds.admissible) < 8:
        return None
    for period, multiple, lower in valley_pairs(bounds.grid):
        why = "are there valleys at multiples of {}".format(period)
        for tokens in (multiple, lower):
            if tokens not in bounds.state.points:
                return SearchTask("build", tokens, why)
        if not is_deep(bounds.state, multiple, lower):
            return None
        for tokens in (lower, multiple):
            if bounds.state.builds_vary and len(bounds.points[tokens].builds_ms) < 2:
                return SearchTask("rebuild", tokens, why)
    return None


def _rebuild_outlier(bounds: Bounds) -> Optional[SearchTask]:
    if bounds.state.builds_vary:
        for tokens in sorted(bounds.outliers):
            if len(bounds.points[tokens].builds_ms) < 2:
                return SearchTask("rebuild", tokens, "slower than a count with more tokens")
    return None


def _measure_accuracy(bounds: Bounds) -> Optional[SearchTask]:
    """Measures the accuracy of a timed count where it could make that count the choice."""
    if not bounds.state.accuracy_on_demand:
        return None
    least, edges = bounds.best_score() + _tolerance(bounds), candidate_edges(bounds)
    for tokens in (t for t in bounds.admissible if t in bounds.points and t not in bounds.state.accuracy):
        could_win = bounds.score(bounds.points[tokens].latency_ms, bounds.accuracy(tokens)) > least
        if could_win or tokens in edges:
            return SearchTask("accuracy", tokens, "measured, and could be chosen")
    return None


def open_counts(bounds: Bounds, best: float) -> List[int]:
    """Unmeasured counts t with bound(t) > best + tolerance, by descending tokens."""
    least = best + _tolerance(bounds)
    return [t for t in bounds.admissible if t not in bounds.points and bounds.best_possible(t) > least]


def _tolerance(bounds: Bounds) -> float:
    """Nearly 0 where accuracy alone decides: it has no noise that would be chased."""
    return 1e-9 if bounds.goal.rule == "best-within" else TOLERANCE


def _improve(bounds: Bounds) -> Optional[SearchTask]:
    """Cuts the range of open counts in which the best bound lies."""
    counts = open_counts(bounds, bounds.best_score())
    if not counts:
        return None
    top = max(counts, key=lambda t: (bounds.best_possible(t), t))
    below = bounds.below(top)
    group = [t for t in counts if bounds.below(t) == below and bounds.is_valley(t) == bounds.is_valley(top)]
    why = "could still win: {} to {} tokens".format(group[0], group[-1])
    return SearchTask("build", cut(group, below, bounds.state.batch_size), why)


def _confirm(bounds: Bounds) -> Optional[SearchTask]:
    """Where builds differ, repeats a single build that alone excludes counts which could gain more than CONFIRM."""
    if not bounds.state.builds_vary:
        return None
    best = bounds.best_score()
    for tokens in sorted(bounds.points, reverse=True):
        if len(bounds.points[tokens].builds_ms) == 1 and tokens not in bounds.outliers:
            without = bounds.bounding_without(tokens)
            freed = [t for t in bounds.admissible if t not in bounds.points and bounds.below(t) == tokens]
            if freed and max(bounds.best_possible(t, without) for t in freed) > best + CONFIRM:
                return SearchTask("rebuild", tokens, "it alone excludes {} to {} tokens".format(freed[0], freed[-1]))
    return None


def _sharpen(bounds: Bounds) -> Optional[SearchTask]:
    """Times again a candidate that could be the best and whose interval is wide."""
    best = bounds.best_score()
    for tokens in sorted(bounds.candidates, reverse=True):
        point = bounds.points[tokens]
        low, high = point.latency_ci_ms
        wide = high - low > NARROW * point.latency_ms
        if wide and point.more and bounds.score(low, bounds.accuracy(tokens)) >= best - TOLERANCE:
            return SearchTask("time", tokens, "noise decides: it may be the best")
    return None


def ranges(grid: Tuple[int, ...], counts: Iterable[int]) -> Tuple[Tuple[int, int], ...]:
    """Counts as ranges (highest, lowest) of neighbours in the grid."""
    place = {t: i for i, t in enumerate(grid)}
    joined: List[Tuple[int, int]] = []
    for tokens in sorted(counts, reverse=True):
        if joined and place[joined[-1][1]] == place[tokens] - 1:
            joined[-1] = (joined[-1][0], tokens)
        else:
            joined.append((tokens, tokens))
    return tuple(joined)


def progress(state: SearchState, task: SearchTask) -> str:
    """A line for people: builds done, builds expected, and the next task."""
    return "{} built, about {} more expected; {} {} tokens: {}".format(
        state.builds, expected_builds(state), task.kind, task.tokens, task.why
    )


def expected_builds(state: SearchState) -> int:
    """About how many builds are left: each open range of n counts is halved, which takes about log2(n) + 1 builds."""
    if _first(state) is not None:
        return len(state.grid) // 10 + 1
    left = sum((high - low + 1).bit_length() for high, low in _open_ranges(Bounds(state)))
    return max(1, left)
