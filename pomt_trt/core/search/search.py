"""Chooses which candidate to build and time next, knowing only what was measured, until nothing else can win.

Makes one Request at a time from a State, on any machine, as a pure function: whoever measures can stop and resume
anywhere. Leaves out how things are built, timed and estimated, and the final choice (core/choice/selection).

Best-first branch and bound: the unmeasured count that could score best is sought where its bound is best, and the
search ends when no bound beats what is in hand. The step rule brackets steps besides (core/search/step_search). Priors,
such as tile sizes, only decide where an interval is cut; a wrong one costs a build, never the choice.
"""

from typing import Iterable, List, NamedTuple, Optional, Tuple, Union

from pomt_trt.core.choice.rules import ROUNDING
from pomt_trt.core.search.search_state import State, View, is_deep, valley_pairs
from pomt_trt.core.search.step_search import cut, eligible_edges, next_bracket, unbracketed

TOLERANCE = 0.002  # of utility: what an unmeasured count must be able to gain to be worth a build
CALIBRATION_BUILDS = 3  # of each of three counts, to learn how much builds differ
LIMIT = 0.34  # of the grid: what takes more builds is not worth them; the rest is said to be unknown
LEAST_LIMIT = 24  # builds that are always allowed
CONFIRM = 0.01  # of utility: what a single build must hide to be doubted
NARROW = 0.01  # relative full width of an interval beyond which a contender is timed again


class Request(NamedTuple):
    """What to do next for one count, and why (for the progress line)."""

    kind: str  # build (and time), rebuild (anew, without cache, and time), time (the engine in hand), accuracy
    tokens: int
    why: str


class Done(NamedTuple):
    """Why the search ended, and what it does not know: ranges (highest, lowest) of counts that could still win."""

    reason: str
    unknown: Tuple[Tuple[int, int], ...] = ()
    complete: bool = True


SearchStep = Union[Request, Done]


def next_candidate(state: State) -> SearchStep:
    """The next thing to measure, or Done. Pure: the same state gives the same answer."""
    return _within_budget(state, _first(state) or _within_limit(state, _search(View(state))))


def next_in_order(state: State) -> SearchStep:
    """The exhaustive search, with the same interface: every count of the grid from the top, then its accuracy."""
    for tokens in state.grid:
        if tokens not in state.points:
            return _within_budget(state, Request("build", tokens, "exhaustive search"))
        if not state.points[tokens].failed and tokens not in state.accuracy and state.accuracy_on_demand:
            return Request("accuracy", tokens, "exhaustive search")
    return Done("every count of the grid was measured")


def _within_budget(state: State, step: SearchStep) -> SearchStep:
    if isinstance(step, Done) or step.kind == "accuracy" or step.kind == "time" and not state.out_of_time:
        return step
    if state.out_of_time:
        return Done("the time budget is spent", _unknown(state), complete=False)
    if state.max_builds is not None and state.builds >= state.max_builds:
        return Done("the build budget is spent", _unknown(state), complete=False)
    return step


def _within_limit(state: State, step: SearchStep) -> SearchStep:
    """A search that is not asked to be exhaustive ends at a third of the grid."""
    limit = max(LEAST_LIMIT, LIMIT * len(state.grid))
    if isinstance(step, Done) or step.kind in ("accuracy", "time") or state.builds < limit:
        return step
    return Done("a third of the grid was built, and noise leaves the rest open", _unknown(state), complete=False)


def _unknown(state: State) -> Tuple[Tuple[int, int], ...]:
    """Ranges of counts that could still win."""
    if _first(state) is not None:
        return ranges(state.grid, [t for t in state.grid if t not in state.points])
    view = View(state)
    return ranges(state.grid, set(live(view, view.best_score())) | set(unbracketed(view)))


def _first(state: State) -> Optional[SearchStep]:
    """R = 0, to which everything is relative, and the end of the accuracy constraint where it must be asked for."""
    top = state.grid[0]
    if top not in state.points:
        return Request("build", top, "everything is compared with R = 0")
    if state.points[top].failed:
        return Done("R = 0 could not be built", complete=False)
    if top not in state.accuracy:
        return Request("accuracy", top, "everything is compared with R = 0")
    if state.accuracy_on_demand and state.goal.max_accuracy_drop is not None:
        return _frontier(state, state.accuracy[top] - state.goal.max_accuracy_drop - state.accuracy_slack - ROUNDING)
    return None


def _frontier(state: State, least: float) -> Optional[Request]:
    """Bisects for the lowest count within the accuracy constraint, give or take what estimates wander."""
    kept = [i for i, t in enumerate(state.grid) if state.accuracy.get(t, -1.0) >= least]
    lost = [i for i, t in enumerate(state.grid) if state.accuracy.get(t, 2.0) < least]
    low, high = max(kept), min([i for i in lost if i > max(kept)] + [len(state.grid)])
    if high - low <= 1:
        return None
    at = len(state.grid) - 1 if high == len(state.grid) else (low + high) // 2
    ends = state.grid[low], state.grid[min(high, len(state.grid) - 1)]
    return Request("accuracy", state.grid[at], "the accuracy constraint ends between {} and {} tokens".format(*ends))


def _search(view: View) -> SearchStep:
    for ask in (_anchor, _calibrate, _probe_valleys, _rebuild_dear, _appraise, _improve, _bracket, _confirm, _sharpen):
        request = ask(view)
        if request is not None:
            return _accuracy_first(view, request) if ask in (_anchor, _improve) else request
    return Done(
        "no unmeasured count can beat the best within the intervals; valleys were looked for at multiples of 32, 16 "
        "and 8 only"
    )


def _accuracy_first(view: View, request: Request) -> Request:
    """Asks for the accuracy of a count before its engine is built, since it may turn out not to matter."""
    if request.tokens in view.state.accuracy or not view.state.accuracy_on_demand:
        return request
    return Request("accuracy", request.tokens, request.why)


def _anchor(view: View) -> Optional[Request]:
    """The fewest tokens allowed bound all others; the same for the valleys' own curve."""
    for kind, name in ((False, "the fewest tokens allowed"), (True, "the lowest valley allowed")):
        counts = [t for t in view.admissible if view.is_valley(t) is kind]
        if counts and counts[-1] not in view.points:
            return Request("build", counts[-1], name)
    return None


def _calibrate(view: View) -> Optional[Request]:
    """R = 0 and two others are built three times, to learn how much builds differ."""
    if not view.state.builds_vary or not view.admissible:
        return None
    counts = [view.grid[0], view.admissible[-1], view.admissible[len(view.admissible) // 2]]
    for tokens in counts:
        point = view.state.points.get(tokens)
        if point is None or (not point.failed and len(point.builds_ms) < CALIBRATION_BUILDS):
            return Request("build" if point is None else "rebuild", tokens, "how much do builds differ")
    return None


def _probe_valleys(view: View) -> Optional[Request]:
    """A multiple of 32 and its lower neighbour; where that is a valley 16, then 8. Believed on a second build."""
    if len(view.admissible) < 8:
        return None
    for period, multiple, lower in valley_pairs(view.grid):
        why = "are there valleys at multiples of {}".format(period)
        for tokens in (multiple, lower):
            if tokens not in view.state.points:
                return Request("build", tokens, why)
        if not is_deep(view.state, multiple, lower):
            return None
        for tokens in (lower, multiple):
            if view.state.builds_vary and len(view.points[tokens].builds_ms) < 2:
                return Request("rebuild", tokens, why)
    return None


def _rebuild_dear(view: View) -> Optional[Request]:
    """A count slower than one with more tokens is built again where builds differ."""
    if view.state.builds_vary:
        for tokens in sorted(view.dear):
            if len(view.points[tokens].builds_ms) < 2:
                return Request("rebuild", tokens, "slower than a count with more tokens")
    return None


def _appraise(view: View) -> Optional[Request]:
    """The accuracy of a measured count, asked for where it could make that count the choice."""
    if not view.state.accuracy_on_demand:
        return None
    best, edges = view.best_score(), eligible_edges(view)
    for tokens in (t for t in view.admissible if t in view.points and t not in view.state.accuracy):
        scored = view.score(view.points[tokens].latency_ms, view.accuracy(tokens)) > best + _tolerance(view)
        if scored or tokens in edges:
            return Request("accuracy", tokens, "measured, and could be chosen")
    return None


def live(view: View, best: float) -> List[int]:
    """Unmeasured counts whose bound beats the best by more than the tolerance, by descending tokens."""
    least = best + _tolerance(view)
    unmeasured = (t for t in view.admissible if t not in view.points)
    return [t for t in unmeasured if view.score(view.least_latency(t), view.accuracy(t)) > least]


def _tolerance(view: View) -> float:
    """None where accuracy alone decides: it is known, and has no noise that would be chased."""
    return 1e-9 if view.goal.rule == "best-within" else TOLERANCE


def _improve(view: View) -> Optional[Request]:
    """Cuts the interval that could hold the best score."""
    counts = live(view, view.best_score())
    if not counts:
        return None
    top = max(counts, key=lambda t: (view.score(view.least_latency(t), view.accuracy(t)), t))
    below = view.below(top)
    group = [t for t in counts if view.below(t) == below and view.is_valley(t) == view.is_valley(top)]
    why = "could still win: {} to {} tokens".format(group[0], group[-1])
    return Request("build", cut(group, below, view.state.batch_size), why)


def _bracket(view: View) -> Optional[Request]:
    if view.goal.rule != "step":
        return None
    found = next_bracket(view)
    return None if found is None else Request(*found)


def _confirm(view: View) -> Optional[Request]:
    """Where builds differ, a count whose single build alone excludes others is built again."""
    if not view.state.builds_vary:
        return None
    best = view.best_score()
    for tokens in sorted(view.points, reverse=True):
        if len(view.points[tokens].builds_ms) == 1 and tokens not in view.dear:
            without = view.firm_without(tokens)
            freed = [t for t in view.admissible if t not in view.points and view.below(t) == tokens]
            scores = [view.score(view.least_latency(t, without), view.accuracy(t)) for t in freed]
            if scores and max(scores) > best + CONFIRM:
                return Request("rebuild", tokens, "it alone excludes {} to {} tokens".format(freed[0], freed[-1]))
    return None


def _sharpen(view: View) -> Optional[Request]:
    """Times again those among the best whose intervals are too wide to tell them apart."""
    best = view.best_score()
    for tokens in sorted(view.candidates, reverse=True):
        point = view.points[tokens]
        low, high = point.latency_ci_ms
        wide = high - low > NARROW * point.latency_ms
        if wide and point.more and view.score(low, view.accuracy(tokens)) >= best - TOLERANCE:
            return Request("time", tokens, "noise decides: it may be the best")
    return None


def ranges(grid: Tuple[int, ...], counts: Iterable[int]) -> Tuple[Tuple[int, int], ...]:
    """Counts as ranges (highest, lowest) of neighbours in the grid."""
    place = {t: i for i, t in enumerate(grid)}
    found: List[Tuple[int, int]] = []
    for tokens in sorted(counts, reverse=True):
        if found and place[found[-1][1]] == place[tokens] - 1:
            found[-1] = (found[-1][0], tokens)
        else:
            found.append((tokens, tokens))
    return tuple(found)


def progress(state: State, request: Request) -> str:
    """A line for people: builds done, builds expected, and what is being narrowed."""
    return "{} built, about {} more expected; {} {} tokens: {}".format(
        state.builds, expected_builds(state), request.kind, request.tokens, request.why
    )


def expected_builds(state: State) -> int:
    """About how many builds are left: each range that could still win is halved until it is resolved."""
    if _first(state) is not None:
        return len(state.grid) // 10 + 1
    view = View(state)
    open_counts = set(live(view, view.best_score())) | set(unbracketed(view))
    left = sum((high - low + 1).bit_length() for high, low in ranges(state.grid, open_counts))
    return max(1, left)
