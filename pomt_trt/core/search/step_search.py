"""Brackets the steps that the step rule could choose: measures both neighbouring counts of each step's edge.

A gap lies between two neighbouring measured counts a > b. With d = log(L(a) / L(b)):
    excess = d - slope * width      the drop beyond the trend; slope is that of the curve on both sides of the gap
    ratio  = min loss / max gain    the best accuracy loss per gain that an edge in the gap could have
A gap is suspicious where its excess exceeds both SUSPICIOUS and the noise of builds and timing. limit is the upper end
of the loss per gain of the best known edge. The search cuts gaps that are suspicious, or too wide to tell, while
ratio <= limit. Why: an edge with a larger ratio cannot be chosen, so it is not worth a build.
"""

import math
from typing import Iterable, List, NamedTuple, Optional, Sequence, Tuple

from pomt_trt.core.records import Step
from pomt_trt.core.search.search_state import MOST, Batch, Bounds, level
from pomt_trt.core.search.steps import significant_steps

SCAN = 12  # intervals of the scan
CUTS = 2  # gaps of the scan that are cut at once
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


def next_bracket(bounds: Bounds) -> Optional[Batch]:
    """The next batch of the step rule, or None where every edge that could be chosen is bracketed."""
    if bounds.goal.rule != "step" or not bounds.admissible:
        return None
    edges = _edges(bounds)
    for phase in (_accuracies, _valley, _uncertain, _verify_best, _hidden, _narrow, _verify, _tied):
        batch = phase(edges)
        if batch is not None:
            return batch
    return None


def knows_edge(bounds: Bounds) -> bool:
    """Whether the step rule has an edge to choose, and does not act as fastest-within."""
    return bounds.goal.rule == "step" and bool(_edges(bounds).known)


def unbracketed(bounds: Bounds) -> List[int]:
    """Unmeasured counts that could be an edge the step rule would choose."""
    return [t for gap in _wanted(_edges(bounds)) for t in gap.inside] if bounds.goal.rule == "step" else []


def _accuracies(edges: Edges) -> Optional[Batch]:
    """Measures the accuracies of edges that could be chosen."""
    bounds, allowed = edges.bounds, set(edges.bounds.admissible)
    counts = [step.edge_tokens for step in edges.steps if step.edge_tokens in allowed]
    unknown = [t for t in counts if not bounds.knows_accuracy(t) and _measured_ratio(bounds, t) <= edges.limit]
    return _batch("accuracy", unknown, "edges that could be chosen")


def _valley(edges: Edges) -> Optional[Batch]:
    """Measures the valley with the least loss per gain and both its neighbours, which show that it is a valley."""
    bounds = edges.bounds
    if bounds.period is None:
        return None
    shown, place = {step.edge_tokens for step in edges.steps}, {t: i for i, t in enumerate(bounds.grid)}
    ratios = sorted((_valley_ratio(bounds, t), -t) for t in bounds.admissible if bounds.is_valley(t))
    wanted = [-minus for ratio, minus in ratios if ratio <= edges.limit]
    unknown = [t for t in wanted[:MOST] if not bounds.knows_accuracy(t)]
    if unknown and unknown[0] == wanted[0]:
        return _batch("accuracy", unknown, "valleys that could be chosen")
    for tokens in wanted:
        around = [tokens, *(bounds.grid[i] for i in (place[tokens] + 1, place[tokens] - 1) if 0 < i < len(place))]
        new = [t for t in around if t not in bounds.state.points]
        batch = _batch("build", new, "the valley at {} tokens".format(tokens))
        if batch is None and tokens not in shown:
            batch = _again(bounds, around, "is the valley at {} tokens noise".format(tokens))
        if batch is not None:
            return batch
    return None


def _batch(kind: str, counts: Sequence[int], why: str) -> Optional[Batch]:
    return Batch(kind, tuple(counts[:MOST]), why) if counts else None


def _again(bounds: Bounds, counts: Iterable[int], why: str) -> Optional[Batch]:
    """Times counts again that can tell more."""
    counts = list(dict.fromkeys(t for t in counts if t in bounds.points and bounds.points[t].more))
    return _batch("time", counts, why)


def _uncertain(edges: Edges) -> Optional[Batch]:
    """Times again both sides of gaps whose excess is hidden by the noise of timing."""
    bounds = edges.bounds
    gaps = [gap for gap in _gaps(bounds) if gap.ratio <= edges.limit and _timing_noise(bounds, gap) > SUSPICIOUS]
    gaps = [gap for gap in gaps if SUSPICIOUS < gap.excess < _threshold(bounds, gap)]
    gaps.sort(key=lambda gap: (gap.ratio, -gap.above))
    return _again(bounds, [t for gap in gaps for t in (gap.below, gap.above)], "noise could hide a step")


def _verify_best(edges: Edges) -> Optional[Batch]:
    """Verifies the best known edge first, since its limit excludes others."""
    best = _best_edge(edges)
    return _verified(edges, [gap for gap in _gaps(edges.bounds) if gap.below == best])


def _hidden(edges: Edges) -> Optional[Batch]:
    """Rebuilds counts that split one suspicious drop into two parts, neither of which is suspicious."""
    bounds, again = edges.bounds, []
    gaps = _gaps(bounds) if bounds.state.builds_vary else []
    for one, other in zip(gaps, gaps[1:]):
        joint = one._replace(below=other.below, excess=one.excess + other.excess, ratio=min(one.ratio, other.ratio))
        apart = max(gap.excess - _threshold(bounds, gap) for gap in (one, other))
        if joint.ratio <= edges.limit and joint.excess > _threshold(bounds, joint) and apart <= 0:
            again += [one.below] if len(bounds.points[one.below].builds_ms) < MOST_BUILDS else []
    return _batch("rebuild", again[:1], "does it hide a step")


def _narrow(edges: Edges) -> Optional[Batch]:
    """Cuts the gaps with the least ratios. Where a single build may explain the excess, it is repeated first."""
    bounds, wanted = edges.bounds, _wanted(edges)
    if not wanted:
        return None
    wanted.sort(key=lambda g: (g.ratio, -g.above))
    gap = wanted[0]
    why = "a step between {} and {} tokens".format(gap.above, gap.below)
    if bounds.state.builds_vary and _threshold(bounds, gap) < gap.excess < 2.5 * _threshold(bounds, gap):
        single = [t for t in (gap.below, gap.above) if len(bounds.points[t].builds_ms) < 2]
        if single:
            return _batch("rebuild", single, why + " or a matter of the build")
    wide = [g for g in wanted if _is_wide(bounds, g)]
    together = wide[:CUTS] if gap in wide and not bounds.state.builds_vary else [gap]
    return _batch("build", [cut(list(g.inside), g.below, bounds.state.batch_size) for g in together], why)


def _verify(edges: Edges) -> Optional[Batch]:
    return _verified(edges, [gap for gap in _gaps(edges.bounds) if gap.ratio <= edges.limit])


def _tied(edges: Edges) -> Optional[Batch]:
    """Times again known edges that only noise keeps from being ranked."""
    rivals = [t for t in edges.known if _measured_ratio(edges.bounds, t) <= edges.limit]
    why = "noise decides between the edges at {} tokens".format(", ".join(map(str, rivals)))
    return _again(edges.bounds, rivals, why) if len(rivals) > 1 else None


def _verified(edges: Edges, gaps: Sequence[Gap]) -> Optional[Batch]:
    """Rebuilds both sides of a bracketed step where builds differ; times them again where noise hides the step."""
    bounds, significant = edges.bounds, {step.edge_tokens for step in edges.steps}
    for gap in gaps:
        if gap.inside or gap.excess <= _threshold(bounds, gap):
            continue
        sides = [gap.below, gap.above]
        few = [t for t in sides if bounds.state.builds_vary and len(bounds.points[t].builds_ms) < MOST_BUILDS]
        batch = _batch("rebuild", few, "is the step at {} tokens a matter of the build".format(gap.below))
        if batch is None and gap.below not in significant:
            batch = _again(bounds, sides, "is the step at {} tokens noise".format(gap.below))
        if batch is not None:
            return batch
    return None


def _wanted(edges: Edges) -> List[Gap]:
    """Gaps to cut: suspicious or wide ones with ratio <= limit, and the gap of the best known edge.

    The latter is cut whatever the counts in it are worth: until then the edge is not known to the count.
    """
    bounds, best, wanted = edges.bounds, _best_edge(edges), []
    for gap in _gaps(bounds):
        hides = gap.excess > _threshold(bounds, gap) or _is_wide(bounds, gap) and gap.drop > SUSPICIOUS
        if gap.inside and (gap.below == best or hides and gap.ratio <= edges.limit and gap.ratio < math.inf):
            wanted.append(gap)
    return wanted


def _is_wide(bounds: Bounds, gap: Gap) -> bool:
    return len(gap.inside) + 1 > _room(bounds)


def _room(bounds: Bounds) -> float:
    """Grid counts that a gap of the first scan may span."""
    return max(4.0, len(bounds.grid) / SCAN)


def _threshold(bounds: Bounds, gap: Gap) -> float:
    """The excess above which a gap is suspicious."""
    return max(SUSPICIOUS, 2.0 * bounds.build_noise(gap.above, gap.below), _timing_noise(bounds, gap))


def _timing_noise(bounds: Bounds, gap: Gap) -> float:
    return 2.5 * bounds.timing_noise(gap.above, gap.below)


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
    return max(0.0, bounds.least_drop(tokens))


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
