"""Chooses what to measure next, by best-first branch and bound.

best is the best measured score. A count t is open while bound(t) > best + TOLERANCE (bounds: search_state), and its
latency or its accuracy is unknown. The search cuts the ranges of open counts with the best bounds, and ends when no
count is open. Why: every count that was not built is then known to gain less than the tolerance.

The step rule also needs both sides of each step (step_search). Priors, such as tile sizes, only decide where a range is
cut: a wrong prior costs a build, never the choice. The search is a pure function of its state, so that it can stop and
resume anywhere. It asks for batches: engines that are timed together share the engines they are compared with.
"""

import math
from typing import Iterable, List, NamedTuple, Optional, Sequence, Tuple, Union

from pomt_trt.core.search.first_batches import around_constraint, calibrate, grouped, needed
from pomt_trt.core.search.search_state import GROUP, MOST, VALLEY_PERIODS, Batch, Bounds, SearchState
from pomt_trt.core.search.step_search import cut, knows_edge, next_bracket, unbracketed

TOLERANCE = 0.002  # of utility: what an unmeasured count must be able to gain to be worth a build
LIMIT = 0.34  # of the grid: a search that needs more builds stops, and says which counts are still open
LEAST_LIMIT = 24  # builds that are always allowed
CONFIRM = 0.01  # of utility: a single build is repeated where it alone excludes a gain of more
AMBITION = 0.5  # a range is cut beside the best one if its bound lies so far from the best score to the best bound


class Done(NamedTuple):
    """Why the search ended, and the ranges (highest, lowest) of counts that could still win."""

    reason: str
    unknown: Tuple[Tuple[int, int], ...] = ()
    complete: bool = True


SearchStep = Union[Batch, Done]


def next_batch(state: SearchState) -> SearchStep:
    """The next things to measure, or Done. Pure: the same state gives the same answer."""
    return _within_budget(state, _first(state) or _within_limit(state, _search(Bounds(state))))


def next_in_order(state: SearchState) -> SearchStep:
    """The exhaustive search: every count of the grid from the top, then the accuracies."""
    unbuilt = [t for t in state.grid if t not in state.points]
    if unbuilt:
        return _within_budget(state, Batch("build", tuple(unbuilt), "exhaustive search"))
    unknown = [t for t in state.grid if not state.points[t].failed and t not in state.accuracy]
    if unknown and state.accuracy_on_demand:
        return Batch("accuracy", tuple(unknown), "exhaustive search")
    return Done("every count of the grid was measured")


def _within_budget(state: SearchState, step: SearchStep) -> SearchStep:
    """The batch without what exceeds the budgets."""
    if isinstance(step, Done):
        return step
    if state.stopped:
        return Done(state.stopped, _unknown(state), complete=False)
    if state.max_builds is None or step.kind in ("accuracy", "time"):
        return step
    left = state.max_builds - state.builds
    if left <= 0:
        return Done("the build budget is spent", _unknown(state), complete=False)
    return step._replace(counts=step.counts[:left])


def _within_limit(state: SearchState, step: SearchStep) -> SearchStep:
    """Ends the search at a third of the grid: beyond it, only an exhaustive search would help."""
    left = int(max(LEAST_LIMIT, LIMIT * len(state.grid))) - state.builds
    if isinstance(step, Done) or step.kind in ("accuracy", "time"):
        return step
    if left > 0:
        return step._replace(counts=step.counts[:left])
    return Done("a third of the grid was built, and noise leaves the rest open", _unknown(state), complete=False)


def _unknown(state: SearchState) -> Tuple[Tuple[int, int], ...]:
    if _first(state) is not None:
        return ranges(state.grid, [t for t in state.grid if t not in state.points])
    return _open_ranges(Bounds(state))


def _open_ranges(bounds: Bounds) -> Tuple[Tuple[int, int], ...]:
    """Ranges of counts that could still win."""
    return ranges(bounds.grid, {*open_counts(bounds), *_beside_best(bounds), *unbracketed(bounds)})


def _first(state: SearchState) -> Optional[SearchStep]:
    """The accuracies around the constraint; then R = 0, to which all is relative, beside what is needed in any case."""
    top = state.grid[0]
    if top in state.points and state.points[top].failed:
        return Done("R = 0 could not be built", complete=False)
    if top not in state.accuracy:
        return Batch("accuracy", state.grid[:1], "everything is compared with R = 0")
    if top in state.points:
        return None
    bounds = Bounds(state)
    return around_constraint(bounds) or Batch(
        "build", (top, *needed(bounds))[:GROUP], "everything is compared with R = 0"
    )


def _search(bounds: Bounds) -> SearchStep:
    """The first batch of these phases, in this order."""
    for phase in (_anchor, calibrate, _rebuild_outlier, _improve, next_bracket, _look_beside, _confirm, _sharpen):
        batch = phase(bounds)
        if batch is not None:
            return batch
    return Done(_assumed(bounds))


def _assumed(bounds: Bounds) -> str:
    """Why the search ended, and what that rests on."""
    gain = {"utility": " by {:g} of utility".format(TOLERANCE), "best-within": ""}
    beside = "" if knows_edge(bounds) else "beside the best count and "
    text = (
        "no unmeasured count can beat the best{}, if latency rises with tokens but for valleys at multiples of 8, 16 "
        "and 32, which were looked for {}at one multiple of {}"
    ).format(gain.get(bounds.goal.rule, " by {:g} % of R = 0".format(100 * TOLERANCE)), beside, VALLEY_PERIODS[0])
    if not bounds.state.accuracy_on_demand:
        return text
    return text + (
        ", and if no unknown accuracy lies more than {:.2f} points above those of the nearest known counts on both "
        "sides (gains within these points were not looked for)"
    ).format(100 * bounds.state.accuracy_slack)


def _anchor(bounds: Bounds) -> Optional[Batch]:
    counts, why = needed(bounds), "the ends of the curve, and whether there are valleys"
    return Batch("build", tuple(counts[:MOST]), why) if counts else None


def _rebuild_outlier(bounds: Bounds) -> Optional[Batch]:
    again = [t for t in sorted(bounds.outliers) if len(bounds.points[t].builds_ms) < 2]
    if not again or not bounds.state.builds_vary:
        return None
    return Batch("rebuild", tuple(again[:MOST]), "slower than a count with more tokens")


def open_counts(bounds: Bounds) -> List[int]:
    """Counts t that are not fully measured with bound(t) > best + tolerance, by descending tokens."""
    least = bounds.best_score() + _tolerance(bounds)
    return [t for t in bounds.admissible if _is_unknown(bounds, t) and bounds.best_possible(t) > least]


def _is_unknown(bounds: Bounds, tokens: int) -> bool:
    return tokens not in bounds.points or not bounds.knows_accuracy(tokens)


def _tolerance(bounds: Bounds) -> float:
    """Nearly 0 where accuracy alone decides: it has no noise that would be chased."""
    return 1e-9 if bounds.goal.rule == "best-within" else TOLERANCE


def _improve(bounds: Bounds) -> Optional[Batch]:
    """Cuts the ranges of open counts in which the best bounds lie."""

    groups = grouped(open_counts(bounds), lambda t: (t in bounds.points and t, bounds.below(t), bounds.is_valley(t)))
    if not groups:
        return None
    worth = {group[0]: max(bounds.best_possible(t) for t in group) for group in groups}
    best, top = bounds.best_score(), max(worth.values())
    least = best + AMBITION * (top - best) if math.isfinite(best) else -math.inf
    chosen = [group for group in sorted(groups, key=lambda g: (-worth[g[0]], -g[0])) if worth[group[0]] >= least]
    why = "could still win: {} to {} tokens".format(chosen[0][0], chosen[0][-1])
    return _accuracy_first(bounds, [_cut(bounds, group) for group in chosen], why)


def _cut(bounds: Bounds, group: List[int]) -> int:
    """A count of the group: one whose accuracy is known, or else one amid the widest gap between such counts."""
    if group[0] in bounds.points:
        return group[0]
    known = [t for t in group if bounds.knows_accuracy(t)]
    if known:
        return cut(known, bounds.below(group[0]), bounds.state.batch_size)
    gaps = grouped(group, bounds.accuracy_gap)
    gap = max(gaps, key=lambda counts: (max(map(bounds.best_possible, counts)), len(counts)))
    return cut(gap, None, bounds.state.batch_size)


def _accuracy_first(bounds: Bounds, counts: Sequence[int], why: str) -> Optional[Batch]:
    """Measures the accuracies of counts before their engines are built: these may rule them out."""
    if not counts:
        return None
    known = bounds.knows_accuracy(counts[0])
    same = [t for t in counts if bounds.knows_accuracy(t) is known]
    return Batch("build" if known else "accuracy", tuple(same[:MOST]), why)


def _look_beside(bounds: Bounds) -> Optional[Batch]:
    return _accuracy_first(bounds, _beside_best(bounds), "is there a valley beside the best")


def _beside_best(bounds: Bounds) -> List[int]:
    """Unmeasured multiples of 8, 16 and 32 next to the best count that would win if they were deep valleys.

    None where the step rule has an edge to choose: it does not choose the best count then.
    """
    if knows_edge(bounds):
        return []
    scores = {t: bounds.best_possible(t) for t in bounds.candidates}
    scores[bounds.grid[0]] = bounds.score(bounds.latency0, bounds.accuracy0)
    best = max(scores, key=lambda t: (scores[t], t))
    beside = {t for p in VALLEY_PERIODS for t in (best // p * p, (best - 1) // p * p, (best // p + 1) * p)}
    least = scores[best] + _tolerance(bounds)
    return [t for t in bounds.admissible if t in beside and t not in bounds.points and bounds.as_valley(t) > least]


def _confirm(bounds: Bounds) -> Optional[Batch]:
    """Where builds differ, repeats single builds that alone exclude counts which could gain more than CONFIRM."""
    if not bounds.state.builds_vary:
        return None
    best = bounds.best_score()
    for tokens in sorted(bounds.points, reverse=True):
        if len(bounds.points[tokens].builds_ms) == 1 and tokens not in bounds.outliers:
            without = bounds.bounding_without(tokens)
            freed = [t for t in bounds.admissible if t not in bounds.points and bounds.below(t) == tokens]
            if freed and max(bounds.best_possible(t, without) for t in freed) > best + CONFIRM:
                why = "it alone excludes {} to {} tokens".format(freed[0], freed[-1])
                return Batch("rebuild", (tokens,), why)
    return None


def _sharpen(bounds: Bounds) -> Optional[Batch]:
    """Times again, together, the candidates that only noise separates from the best."""
    best, low = bounds.best_score(), {t: bounds.points[t].latency_ci_ms[0] for t in bounds.candidates}
    rivals = [t for t in low if bounds.score(low[t], bounds.accuracy(t)) >= best]
    again = sorted((t for t in rivals if bounds.points[t].more), key=lambda t: (-bounds.best_possible(t), -t))
    return Batch("time", tuple(again[:MOST]), "noise decides: each may be the best") if again else None


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


def progress(state: SearchState, batch: Batch) -> str:
    """A line for people: builds done, builds expected, and the next batch."""
    return "{} built, about {} more expected; {} {} tokens: {}".format(
        state.builds, expected_builds(state), batch.kind, ", ".join(map(str, batch.counts)), batch.why
    )


def expected_builds(state: SearchState) -> int:
    """About how many builds are left: each open range of n counts is halved, which takes about log2(n) + 1 builds."""
    if _first(state) is not None:
        return len(state.grid) // 10 + 1
    left = sum((high - low + 1).bit_length() for high, low in _open_ranges(Bounds(state)))
    return max(1, left)
