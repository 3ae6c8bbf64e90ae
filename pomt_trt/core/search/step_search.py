"""Brackets the steps that the step rule could choose: measures both neighbouring counts of each step's edge.

A gap lies between two neighbouring measured counts a > b. With d = log(L(a) / L(b)):
    excess = d - slope * width      the drop beyond the trend; slope is that of the curve on both sides of the gap
    ratio  = min loss / max gain    the best accuracy loss per gain that an edge in the gap could have
A gap is suspicious where its excess exceeds both SUSPICIOUS and the noise of builds and timing. limit is the upper end
of the loss per gain of the best known edge. The search cuts gaps that are suspicious, or too wide to tell, while
ratio <= limit. Why: an edge with a larger ratio cannot be chosen, so it is not worth a build.
"""

import math
from typing import List, NamedTuple, Optional, Sequence, Tuple

from pomt_trt.core.records import Step
from pomt_trt.core.search.search_state import Bounds, SearchTask, level
from pomt_trt.core.search.steps import significant_steps

SCAN = 12  # intervals of the first scan
MOST_BUILDS = 4  # of a count, to tell a step from a difference between builds
SUSPICIOUS = 0.018  # excess that leaves room for a step of 3 % within the noise
LIKELY = 4  # power of two in batch x tokens from which a count is a likely edge


class Gap(NamedTuple):
    """Two neighbouring measured counts."""

    above: int
    below: int
    inside: Tuple[int, ...]  # unmeasured counts between, descending
    drop: float  # log latency
    excess: float  # of the drop, beyond the slope around
    ratio: float  # least loss per gain that an edge in it could have


class Edges(NamedTuple):
    """The bounds, and what they say of steps."""

    bounds: Bounds
    steps: Tuple[Step, ...]  # significant ones
    known: Tuple[int, ...]  # edges that may be chosen: their accuracy and gain meet the constraints
    limit: float  # see above; infinite where no edge is known


def _edges(bounds: Bounds) -> Edges:
    steps = significant_steps(bounds.state.points, bounds.grid[0])
    known = [step.edge_tokens for step in steps if step.edge_tokens in bounds.candidates]
    known = [t for t in known if 1 - bounds.points[t].latency_ms / bounds.latency0 >= bounds.goal.min_gain]
    return Edges(bounds, steps, tuple(known), min([_most_ratio(bounds, t) for t in known] + [math.inf]))


def next_bracket(bounds: Bounds) -> Optional[SearchTask]:
    """The next task of the step rule, or None where every edge that could be chosen is bracketed."""
    if bounds.goal.rule != "step" or not bounds.admissible:
        return None
    edges = _edges(bounds)
    for phase in (_upper_end, _valley, _uncertain, _verify_best, _hidden, _narrow, _verify, _tied):
        task = phase(edges)
        if task is not None:
            return task
    return None


def unbracketed(bounds: Bounds) -> List[int]:
    """Unmeasured counts that could be an edge the step rule would choose."""
    return [t for gap in _wanted(_edges(bounds)) for t in gap.inside] if bounds.goal.rule == "step" else []


def candidate_edges(bounds: Bounds) -> List[int]:
    """Edges of significant steps that the step rule could choose, whether or not their accuracy is known."""
    if bounds.goal.rule != "step":
        return []
    edges, allowed = _edges(bounds), set(bounds.admissible)
    counts = [step.edge_tokens for step in edges.steps if step.edge_tokens in allowed]
    return [t for t in counts if _measured_ratio(bounds, t) <= edges.limit]


def _upper_end(edges: Edges) -> Optional[SearchTask]:
    tokens = edges.bounds.admissible[0]
    return None if tokens in edges.bounds.state.points else SearchTask("build", tokens, "the upper end of the curve")


def _valley(edges: Edges) -> Optional[SearchTask]:
    """Measures the valley with the least loss per gain, then both its neighbours, which show that it is a valley."""
    bounds = edges.bounds
    if bounds.period is None:
        return None
    shown, place = {step.edge_tokens for step in edges.steps}, {t: i for i, t in enumerate(bounds.grid)}
    ratios = sorted((_valley_ratio(bounds, t), -t) for t in bounds.admissible if bounds.is_valley(t))
    for tokens in [-minus for ratio, minus in ratios if ratio <= edges.limit]:
        around = [i for i in (place[tokens] + 1, place[tokens] - 1) if 0 < i < len(place)]
        for count in [tokens] + [bounds.grid[i] for i in around]:
            if count not in bounds.state.points:
                return SearchTask("build", count, "the valley at {} tokens".format(tokens))
            if tokens not in shown and not bounds.state.points[count].failed and bounds.state.points[count].more:
                return SearchTask("time", count, "is the valley at {} tokens noise".format(tokens))
    return None


def _uncertain(edges: Edges) -> Optional[SearchTask]:
    """Times again both sides of a gap whose excess is hidden by the noise of timing."""
    bounds = edges.bounds
    for gap in _gaps(bounds):
        if SUSPICIOUS < gap.excess < _threshold(bounds, gap) and gap.ratio <= edges.limit:
            for tokens in (gap.below, gap.above):
                if bounds.points[tokens].more and 2.5 * _timing_noise(bounds, gap) > SUSPICIOUS:
                    why = "noise could hide a step at {} to {} tokens".format(gap.above, gap.below)
                    return SearchTask("time", tokens, why)
    return None


def _verify_best(edges: Edges) -> Optional[SearchTask]:
    """Verifies the best known edge first, since its limit excludes others."""
    best = _best_edge(edges)
    return _verified(edges, [gap for gap in _gaps(edges.bounds) if gap.below == best])


def _hidden(edges: Edges) -> Optional[SearchTask]:
    """Rebuilds a count that splits one suspicious drop into two parts, neither of which is suspicious."""
    bounds = edges.bounds
    gaps = _gaps(bounds) if bounds.state.builds_vary else []
    for one, other in zip(gaps, gaps[1:]):
        joint = one._replace(below=other.below, excess=one.excess + other.excess, ratio=min(one.ratio, other.ratio))
        apart = max(gap.excess - _threshold(bounds, gap) for gap in (one, other))
        if joint.ratio <= edges.limit and joint.excess > _threshold(bounds, joint) and apart <= 0:
            if len(bounds.points[one.below].builds_ms) < MOST_BUILDS:
                why = "does it hide a step between {} and {}".format(one.above, other.below)
                return SearchTask("rebuild", one.below, why)
    return None


def _narrow(edges: Edges) -> Optional[SearchTask]:
    """Cuts the gap with the least ratio. Where a single build may explain the excess, it is repeated first."""
    bounds, wanted = edges.bounds, _wanted(edges)
    if not wanted:
        return None
    gap = min(wanted, key=lambda g: (g.ratio, -g.above))
    why = "a step between {} and {} tokens".format(gap.above, gap.below)
    for tokens in (gap.below, gap.above):
        single = bounds.state.builds_vary and len(bounds.points[tokens].builds_ms) < 2
        if single and _threshold(bounds, gap) < gap.excess < 2.5 * _threshold(bounds, gap):
            return SearchTask("rebuild", tokens, why + " or a matter of the build")
    return SearchTask("build", cut(list(gap.inside), gap.below, bounds.state.batch_size), why)


def _verify(edges: Edges) -> Optional[SearchTask]:
    return _verified(edges, [gap for gap in _gaps(edges.bounds) if gap.ratio <= edges.limit])


def _tied(edges: Edges) -> Optional[SearchTask]:
    """Times again known edges that only noise keeps from being ranked."""
    bounds = edges.bounds
    rivals = [t for t in edges.known if _measured_ratio(bounds, t) <= edges.limit]
    for tokens in rivals if len(rivals) > 1 else []:
        if bounds.points[tokens].more:
            names = ", ".join(str(rival) for rival in rivals)
            return SearchTask("time", tokens, "noise decides between the edges at {} tokens".format(names))
    return None


def _verified(edges: Edges, gaps: Sequence[Gap]) -> Optional[SearchTask]:
    """Rebuilds both sides of a bracketed step where builds differ; times them again where noise hides the step."""
    bounds, significant = edges.bounds, {step.edge_tokens for step in edges.steps}
    for gap in gaps:
        if gap.inside or gap.excess <= _threshold(bounds, gap):
            continue
        for tokens in (gap.below, gap.above):
            point = bounds.points[tokens]
            if bounds.state.builds_vary and len(point.builds_ms) < MOST_BUILDS:
                why = "is the step at {} tokens a matter of the build".format(gap.below)
                return SearchTask("rebuild", tokens, why)
            if gap.below not in significant and point.more:
                return SearchTask("time", tokens, "is the step at {} tokens noise".format(gap.below))
    return None


def _wanted(edges: Edges) -> List[Gap]:
    """Gaps to cut: suspicious or wide ones with ratio <= limit, and the gap of the best known edge.

    The latter is cut whatever the counts in it are worth: until then the edge is not known to the count.
    """
    bounds, best, wanted = edges.bounds, _best_edge(edges), []
    for gap in _gaps(bounds):
        wide = len(gap.inside) + 1 > _room(bounds) and gap.drop > SUSPICIOUS
        hides = (wide or gap.excess > _threshold(bounds, gap)) and gap.ratio <= edges.limit
        if gap.inside and (gap.below == best or hides and gap.ratio < math.inf):
            wanted.append(gap)
    return wanted


def _room(bounds: Bounds) -> float:
    """Grid counts that a gap of the first scan may span."""
    return max(4.0, len(bounds.grid) / SCAN)


def _threshold(bounds: Bounds, gap: Gap) -> float:
    """The excess above which a gap is suspicious."""
    return max(SUSPICIOUS, 2.0 * bounds.build_noise(gap.above, gap.below), 2.5 * _timing_noise(bounds, gap))


def _timing_noise(bounds: Bounds, gap: Gap) -> float:
    """Standard error of the gap's log drop from the intervals of timing."""
    widths = [(high - low) / (low + high) for low, high in map(bounds.interval, (gap.above, gap.below))]
    return math.hypot(*widths) / 1.96


def _best_edge(edges: Edges) -> Optional[int]:
    return min(edges.known, key=lambda t: (_most_ratio(edges.bounds, t), t), default=None)


def _most_ratio(bounds: Bounds, tokens: int) -> float:
    """Upper end of an edge's loss per gain."""
    high = bounds.points[tokens].latency_ci_ms[1]
    return _loss(bounds, tokens) / (1 - high / bounds.latency0) if high < bounds.latency0 else math.inf


def _measured_ratio(bounds: Bounds, tokens: int) -> float:
    """Lower end of a measured count's loss per gain."""
    return _ratio(bounds, _loss(bounds, tokens), bounds.points[tokens].latency_ci_ms[0])


def _valley_ratio(bounds: Bounds, tokens: int) -> float:
    if tokens in bounds.points:
        return _measured_ratio(bounds, tokens)
    return _ratio(bounds, _loss(bounds, tokens), bounds.least_latency(tokens))


def _ratio(bounds: Bounds, loss: float, latency_ms: float) -> float:
    """Loss per gain; infinite where the gain is below --min-gain."""
    gain = 1 - latency_ms / bounds.latency0
    return loss / gain if gain >= bounds.goal.min_gain else math.inf


def _loss(bounds: Bounds, tokens: int) -> float:
    return max(0.0, bounds.accuracy0 - bounds.accuracy(tokens))


def _gaps(bounds: Bounds) -> List[Gap]:
    """Gaps between the measured ordinary counts, from the top."""
    counts = [t for t in bounds.grid if t in bounds.points and t not in bounds.outliers and not bounds.is_valley(t)]
    pairs = list(zip(counts, counts[1:]))
    place = {t: i for i, t in enumerate(bounds.grid)}
    levels = {t: level(bounds.points[t].builds_ms) for t in counts}
    drops = [math.log(levels[a] / levels[b]) for a, b in pairs]
    widths = [place[b] - place[a] for a, b in pairs]
    gaps = []
    for i, (above, below) in enumerate(pairs):
        excess = drops[i] - _slope_around(drops, widths, i, _room(bounds)) * widths[i]
        inside = tuple(t for t in bounds.grid[place[above] + 1 : place[below]] if t not in bounds.state.points)
        gaps.append(Gap(above, below, inside, drops[i], excess, _least_ratio(bounds, inside + (below,), below)))
    return gaps


def _slope_around(drops: List[float], widths: List[int], at: int, room: float) -> float:
    """Log drop per grid count beside a gap: the smaller of both sides' slopes over at least `room` counts each.

    Drops between neighbouring counts that are steps themselves are left out.
    """
    slopes = []
    for side in (range(at - 1, -1, -1), range(at + 1, len(drops))):
        drop, width = 0.0, 0
        for i in side:
            if widths[i] > 1 or drops[i] <= SUSPICIOUS:
                drop, width = drop + drops[i], width + widths[i]
            if width >= room:
                break
        slopes += [drop / width] if width else []
    return max(0.0, min(slopes)) if slopes else 0.0


def _least_ratio(bounds: Bounds, counts: Tuple[int, ...], below: int) -> float:
    """The least loss among the counts, per gain of the lowest; infinite where none may be chosen."""
    losses = [_loss(bounds, t) for t in counts if bounds.may_keep_accuracy(t)]
    return _ratio(bounds, min(losses), max(0.0, bounds.interval(below)[0])) if losses else math.inf


def cut(group: List[int], below: Optional[int], batch_size: int) -> int:
    """Where to cut a range of counts: just above a likely edge, else at the likeliest edge, else in the middle."""
    if below is not None and weight(below, batch_size) >= LIKELY and len(group) > 2:
        return group[-1]
    middle = group[len(group) // 5 : len(group) - len(group) // 5] or group
    half = 0.5 * (len(middle) - 1)
    best = max(range(len(middle)), key=lambda i: (max(LIKELY - 1, weight(middle[i], batch_size)), -abs(i - half)))
    return middle[best]


def weight(tokens: int, batch_size: int) -> int:
    """How likely a count is an edge: the power of two in batch x tokens, the rows of every matrix product."""
    rows = batch_size * tokens
    return (rows & -rows).bit_length() - 1
