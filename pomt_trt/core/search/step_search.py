"""Brackets the steps that the step rule could choose: narrows each to two neighbouring counts.

Makes the next count to build from a View of what was measured; on any machine, numbers only. Leaves out the
significance of a step (core/search/steps) and bounds of latency (core/search/search_state).

A first scan cuts the curve so finely that a step stands out from the slope of the intervals around it; those that do,
and could hold a better edge than the best in hand, are cut until two neighbouring counts remain.
"""

import math
from typing import List, NamedTuple, Optional, Tuple

from pomt_trt.core.records import Step
from pomt_trt.core.search.search_state import View, level
from pomt_trt.core.search.steps import significant_steps

SCAN = 12  # intervals of the first scan
MOST_BUILDS = 4  # of a count, to tell a step from a matter of the build
SUSPICIOUS = 0.018  # log drop beyond the slope around it: room for a step of 3 % within the noise
LIKELY = 4  # power of two in batch x tokens from which a count is a likely edge

Asked = Tuple[str, int, str]  # kind, tokens, why


class Gap(NamedTuple):
    """Two measured counts with none between."""

    above: int
    below: int
    inside: Tuple[int, ...]  # unmeasured counts between, descending
    drop: float  # log latency
    excess: float  # of the drop, beyond the slope around
    ratio: float  # least loss per gain that an edge in it could have


def next_bracket(view: View) -> Optional[Asked]:
    """What to build, rebuild or time next, or None when every edge that could be chosen is bracketed."""
    if not view.admissible:
        return None
    steps = found_steps(view)
    limit = ratio_limit(view, steps)
    for ask in (_ends, _valley, _hazy, _doubtful_best, _hidden, _narrow, _doubtful, _tied):
        asked = ask(view, steps, limit)
        if asked is not None:
            return asked
    return None


def _ends(view: View, steps: Tuple[Step, ...], limit: float) -> Optional[Asked]:
    tokens = view.admissible[0]
    return None if tokens in view.state.points else ("build", tokens, "the upper end of the curve")


def _narrow(view: View, steps: Tuple[Step, ...], limit: float) -> Optional[Asked]:
    """Cuts the gap that could hold the best edge; where one build each may be all there is to it, these are redone."""
    wanted = _wanted(view, steps, limit)
    if not wanted:
        return None
    gap = min(wanted, key=lambda g: (g.ratio, -g.above))
    why = "a step between {} and {} tokens".format(gap.above, gap.below)
    for tokens in (gap.below, gap.above):
        single = view.state.builds_vary and len(view.points[tokens].builds_ms) < 2
        if single and _suspicious(view, gap) < gap.excess < 2.5 * _suspicious(view, gap):
            return "rebuild", tokens, why + " or a matter of the build"
    return "build", cut(list(gap.inside), gap.below, view.state.batch_size), why


def _hidden(view: View, steps: Tuple[Step, ...], limit: float) -> Optional[Asked]:
    """Where builds differ: rebuilds a count that splits a step's drop in two, so that neither part stands out."""
    found = gaps(view) if view.state.builds_vary else []
    for one, other in zip(found, found[1:]):
        joint = one._replace(below=other.below, excess=one.excess + other.excess, ratio=min(one.ratio, other.ratio))
        apart = max(gap.excess - _suspicious(view, gap) for gap in (one, other))
        if joint.ratio <= limit and joint.excess > _suspicious(view, joint) and apart <= 0:
            if len(view.points[one.below].builds_ms) < MOST_BUILDS:
                return "rebuild", one.below, "does it hide a step between {} and {}".format(one.above, other.below)
    return None


def _hazy(view: View, steps: Tuple[Step, ...], limit: float) -> Optional[Asked]:
    """Times again the ends of a gap where a step could hide in the noise of timing."""
    for gap in gaps(view):
        if SUSPICIOUS < gap.excess < _suspicious(view, gap) and gap.ratio <= limit:
            for tokens in (gap.below, gap.above):
                if view.points[tokens].more and 2.5 * _timing_noise(view, gap) > SUSPICIOUS:
                    return "time", tokens, "noise could hide a step at {} to {} tokens".format(gap.above, gap.below)
    return None


def unbracketed(view: View) -> List[int]:
    """Unmeasured counts that could be an edge the step rule would choose."""
    if view.goal.rule != "step":
        return []
    steps = found_steps(view)
    return [t for gap in _wanted(view, steps, ratio_limit(view, steps)) for t in gap.inside]


def _wanted(view: View, steps: Tuple[Step, ...], limit: float) -> List[Gap]:
    """Gaps to be cut: wide ones and those that may hide a step, if its edge could be chosen; and those whose step is
    the best in hand, whatever the counts inside would be worth: its edge is then not known to the count.
    """
    room, best, found = _room(view), _best_edge(view, steps), []
    for gap in gaps(view):
        wide = len(gap.inside) + 1 > room and gap.drop > SUSPICIOUS
        hides = (wide or gap.excess > _suspicious(view, gap)) and gap.ratio <= limit
        if gap.inside and (gap.below == best or hides and gap.ratio < math.inf):
            found.append(gap)
    return found


def _room(view: View) -> float:
    """Grid counts that an interval of the first scan may span."""
    return max(4.0, len(view.grid) / SCAN)


def _suspicious(view: View, gap: Gap) -> float:
    """The excess beyond which a gap is taken to hold a step."""
    return max(SUSPICIOUS, 2.0 * view.build_noise(gap.above, gap.below), 2.5 * _timing_noise(view, gap))


def _timing_noise(view: View, gap: Gap) -> float:
    """Standard error of the gap's log drop from the intervals of timing."""
    widths = [(high - low) / (low + high) for low, high in map(view.interval, (gap.above, gap.below))]
    return math.hypot(*widths) / 1.96


def eligible_edges(view: View) -> List[int]:
    """Edges of significant steps that the step rule could choose, whether or not their accuracy is known."""
    if view.goal.rule != "step":
        return []
    steps = found_steps(view)
    limit = ratio_limit(view, steps)
    allowed = set(view.admissible)
    edges = [step.edge_tokens for step in steps if step.edge_tokens in allowed]
    return [t for t in edges if _measured_ratio(view, t) <= limit]


def _measured_ratio(view: View, tokens: int) -> float:
    gain = 1 - view.points[tokens].latency_ci_ms[0] / view.latency0
    return _loss(view, tokens) / gain if gain >= view.goal.min_gain else math.inf


def found_steps(view: View) -> Tuple[Step, ...]:
    """The significant steps of what was measured."""
    return significant_steps(view.state.points, view.grid[0])


def ratio_limit(view: View, steps: Tuple[Step, ...]) -> float:
    """Upper end of the loss per gain of the best edge in hand; what cannot be below it cannot be chosen."""
    return min([_most_ratio(view, tokens) for tokens in _edges_in_hand(view, steps)] + [math.inf])


def _best_edge(view: View, steps: Tuple[Step, ...]) -> Optional[int]:
    """The edge in hand that the rule would choose."""
    return min(_edges_in_hand(view, steps), key=lambda t: (_most_ratio(view, t), t), default=None)


def _edges_in_hand(view: View, steps: Tuple[Step, ...]) -> List[int]:
    """Edges of significant steps that may be chosen, their accuracy being known."""
    edges = [step.edge_tokens for step in steps if step.edge_tokens in view.candidates]
    return [t for t in edges if 1 - view.points[t].latency_ms / view.latency0 >= view.goal.min_gain]


def _most_ratio(view: View, tokens: int) -> float:
    high = view.points[tokens].latency_ci_ms[1]
    return _loss(view, tokens) / (1 - high / view.latency0) if high < view.latency0 else math.inf


def _loss(view: View, tokens: int) -> float:
    return max(0.0, view.accuracy0 - view.accuracy(tokens))


def gaps(view: View) -> List[Gap]:
    """Gaps between the measured ordinary counts, from the top."""
    counts = [t for t in view.grid if t in view.points and t not in view.dear and not view.is_valley(t)]
    pairs = list(zip(counts, counts[1:]))
    place = {t: i for i, t in enumerate(view.grid)}
    levels = {t: level(view.points[t].builds_ms) for t in counts}
    room = _room(view)
    drops = [math.log(levels[a] / levels[b]) for a, b in pairs]
    widths = [place[b] - place[a] for a, b in pairs]
    found = []
    for i, (above, below) in enumerate(pairs):
        slope = _slope_around(drops, widths, i, room)
        inside = tuple(t for t in view.grid[place[above] + 1 : place[below]] if t not in view.state.points)
        excess = drops[i] - slope * widths[i]
        found.append(Gap(above, below, inside, drops[i], excess, _least_ratio(view, inside + (below,), below)))
    return found


def _slope_around(drops: List[float], widths: List[int], at: int, room: float) -> float:
    """Log drop per grid count beside a gap: the lesser of both sides' slopes over at least `room` counts each.

    Drops between neighbouring counts that are steps themselves are no part of a slope.
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


def _least_ratio(view: View, counts: Tuple[int, ...], below: int) -> float:
    """Least loss per gain of an edge among the counts, were each as fast as the lowest; infinite below --min-gain."""
    least = max(0.0, view.interval(below)[0])
    gain = 1 - least / view.latency0
    losses = [_loss(view, t) for t in counts if view.may_keep_accuracy(t)]
    if not losses or gain < view.goal.min_gain:
        return math.inf
    return min(losses) / gain


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


def _valley(view: View, steps: Tuple[Step, ...], limit: float) -> Optional[Asked]:
    """The valley that could have the least loss per gain, then both its neighbours, which tell that it is one."""
    if view.period is None:
        return None
    edges, place = {step.edge_tokens for step in steps}, {t: i for i, t in enumerate(view.grid)}
    valleys = [t for t in view.admissible if view.is_valley(t)]
    for tokens in sorted(valleys, key=lambda t: (_valley_ratio(view, t), -t)):
        if _valley_ratio(view, tokens) > limit:
            return None
        around = [i for i in (place[tokens] + 1, place[tokens] - 1) if 0 < i < len(place)]
        for count in [tokens] + [view.grid[i] for i in around]:
            if count not in view.state.points:
                return "build", count, "the valley at {} tokens".format(tokens)
            if tokens not in edges and not view.state.points[count].failed and view.state.points[count].more:
                return "time", count, "is the valley at {} tokens noise".format(tokens)
    return None


def _valley_ratio(view: View, tokens: int) -> float:
    if tokens in view.points:
        return _measured_ratio(view, tokens)
    gain = 1 - view.least_latency(tokens) / view.latency0
    return _loss(view, tokens) / gain if gain >= view.goal.min_gain else math.inf


def _doubtful_best(view: View, steps: Tuple[Step, ...], limit: float) -> Optional[Asked]:
    """First of all the best edge in hand, since it rules out others."""
    best = _best_edge(view, steps)
    return _sure(view, steps, [gap for gap in gaps(view) if gap.below == best])


def _doubtful(view: View, steps: Tuple[Step, ...], limit: float) -> Optional[Asked]:
    return _sure(view, steps, [gap for gap in gaps(view) if gap.ratio <= limit])


def _tied(view: View, steps: Tuple[Step, ...], limit: float) -> Optional[Asked]:
    """Times again the edges that only noise keeps from being told apart."""
    rivals = [t for t in _edges_in_hand(view, steps) if _measured_ratio(view, t) <= limit]
    for tokens in rivals if len(rivals) > 1 else []:
        if view.points[tokens].more:
            return "time", tokens, "noise decides between the edges at {} tokens".format(_listed(rivals))
    return None


def _listed(counts: List[int]) -> str:
    return ", ".join(str(tokens) for tokens in counts)


def _sure(view: View, steps: Tuple[Step, ...], doubted: List[Gap]) -> Optional[Asked]:
    """Makes sure of both sides of a bracketed step: rebuilt where builds differ, timed again where noise hides it."""
    edges = {step.edge_tokens for step in steps}
    for gap in doubted:
        if gap.inside or gap.excess <= _suspicious(view, gap):
            continue
        for tokens in (gap.below, gap.above):
            point = view.points[tokens]
            if view.state.builds_vary and len(point.builds_ms) < MOST_BUILDS:
                return "rebuild", tokens, "is the step at {} tokens a matter of the build".format(gap.below)
            if gap.below not in edges and point.more:
                return "time", tokens, "is the step at {} tokens noise".format(gap.below)
    return None
