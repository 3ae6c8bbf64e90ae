"""Steps that hold within a group of engines that were timed together.

A group can be off as a whole, and then its ends look like steps of the curve; within a group that error cancels. With
y[t] the log latency of count t in a group, and A and B the HELD_POINTS nearest counts above and below a step,

    drop = mean of y over A - mean of y over B - trend (mean of A - mean of B)

where trend is the mean slope of the whole curve. The step holds if the drop, pooled over groups that have both sides of
it, has a p-value below SIGNIFICANCE and is at least HELD_SHARE of what the curve shows.
"""

import math
from typing import Mapping, Optional, Sequence, Tuple

from pomt_trt.core.records import Step
from pomt_trt.core.search.search_state import Point
from pomt_trt.core.search.steps import SIGNIFICANCE, significant_steps

HELD_POINTS = 3  # of a valley 1: its neighbours are not part of it
HELD_SHARE = 0.5

Group = Mapping[int, Tuple[float, float]]  # one clean group: tokens -> log latency in it, and its variance


def held_steps(points: Mapping[int, Point], unreduced: int, groups: Optional[Sequence[Group]]) -> Tuple[Step, ...]:
    """The significant steps of the curve that hold within a group.

    Args:
        points: by tokens.
        unreduced: the count of R = 0, which is another graph and not part of the curve.
        groups: the clean groups, without R = 0; None, as for a recorded curve: no step has to hold.
    """
    steps = significant_steps(points, unreduced)
    return tuple(step for step in steps if groups is None or _holds(step, points, groups))


def unproved_steps(points: Mapping[int, Point], unreduced: int, groups: Sequence[Group]) -> Tuple[Step, ...]:
    """Significant steps of the curve whose two sides were never timed in one clean group."""
    return tuple(step for step in significant_steps(points, unreduced) if _holds(step, points, groups) is None)


def sides(step: Step, counts: Sequence[int]) -> Tuple[Sequence[int], Sequence[int]]:
    """A and B: the counts nearest to a step, each from the boundary outwards."""
    most = 1 if step.valley else HELD_POINTS
    above = sorted(t for t in counts if t >= step.from_tokens)
    below = sorted((t for t in counts if t <= step.edge_tokens), reverse=True)
    return above[:most], below[:most]


def _holds(step: Step, points: Mapping[int, Point], groups: Sequence[Group]) -> Optional[bool]:
    """None where no group has both sides."""
    trend = _mean_slope(points)
    drops = [drop for drop in (_drop(step, group, trend) for group in groups) if drop is not None]
    if not drops:
        return None
    precision = sum(1 / variance for _, variance in drops)
    drop = sum(value / variance for value, variance in drops) / precision
    p_value = 0.5 * math.erfc(drop * math.sqrt(precision / 2))
    shown = -math.log1p(-min(0.99, step.drop_ms / points[step.from_tokens].latency_ms))
    return p_value < SIGNIFICANCE and drop >= HELD_SHARE * shown


def _drop(step: Step, group: Group, trend: float) -> Optional[Tuple[float, float]]:
    """The drop within one group and its variance; None where the counts next to the step are not in it."""
    above, below = sides(step, list(group))
    if above[:1] != [step.from_tokens] or below[:1] != [step.edge_tokens]:
        return None
    means = [[sum(group[t][i] for t in side) / len(side) ** (i + 1) for i in (0, 1)] for side in (above, below)]
    distance = sum(above) / len(above) - sum(below) / len(below)
    return means[0][0] - means[1][0] - trend * distance, means[0][1] + means[1][1]


def _mean_slope(points: Mapping[int, Point]) -> float:
    """Of the log latency, per token; 0 where it rises as tokens are removed."""
    measured = [(t, points[t].latency_ms) for t in sorted(points) if not points[t].failed]
    (low, low_ms), (high, high_ms) = measured[0], measured[-1]
    return max(0.0, math.log(high_ms / low_ms) / max(1, high - low))
