"""Finds steps: drops of a latency curve that its trend, the noise of timing and the noise of builds do not explain.

1. Single points that stand out from both neighbours are set aside: outliers (slower) are bad builds, valleys (faster)
   are steps of their own.
2. The rest is cut into segments, each fitted by a line, so that
       sum over segments of chi2(segment) + SEGMENT_PENALTY log(n + 1)
   is least (n points; exact, by dynamic programming). Why: a line bends with the trend, and a further line has to earn
   its penalty, so that noise is not split.
3. Between two segments, from count a to count b:  drop = lowest(a) - fit(b) - max(0, slope) (a - b), where lowest(a) is
   the least latency at which a segment down to a ends, and slope the mean of both lines. The boundary is a step where
   drop > MIN_DROP lowest(a), and where its p-value, times the number of points, is below SIGNIFICANCE.

Whether a step is worth its accuracy is decided in core/choice.

Source: Jackson et al., An algorithm for optimal partitioning of data on an interval, IEEE SPL 12(2), 2005.
"""

import math
from typing import List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from pomt_trt.core.records import Interval, Step
from pomt_trt.core.search.search_state import Point, build_effect, good_builds, level

MIN_DROP = 0.025  # of the latency before it: a step of 3 % is found within its noise
SIGNIFICANCE = 0.003  # p-value of a step, corrected for the number of points
NOISE_FLOOR = 0.001  # relative: the least standard error of a point
SINGLE_SIGMA = 3.5  # standard errors by which a single point must stand out from each neighbour
MOST_OUTLIERS = 0.15  # of the points; more are a pattern, and stay in the curve
NEAR_POINTS = 24  # on each side of a boundary, or a sixth of the curve: the points that its drop is computed from
SEGMENT_PENALTY = 3.0  # times log(points + 1): what a further line must gain in chi-square


class CurveArrays(NamedTuple):
    """A latency curve in descending counts: latency and its standard error, in ms."""

    tokens: np.ndarray
    ms: np.ndarray
    se: np.ndarray


class Line(NamedTuple):
    """The line fitted to the points first..last of the curve."""

    first: int
    last: int
    middle: float  # mean count
    value: float  # ms at the mean count
    slope: float  # ms per token
    value_var: float
    slope_var: float

    def at(self, tokens: float) -> float:
        """Latency at a count, in ms."""
        return self.value + self.slope * (tokens - self.middle)

    def variance_at(self, tokens: float) -> float:
        """Variance of `at`."""
        return self.value_var + self.slope_var * (tokens - self.middle) ** 2


def significant_steps(points: Mapping[int, Point], unreduced: int) -> Tuple[Step, ...]:
    """The significant steps among measured counts.

    A count has the level of its builds. Its relative half interval is hypot(timing, 1.96 effect / sqrt(builds)). Why: a
    step must also exceed the difference between builds (build_effect).

    Args:
        points: by tokens.
        unreduced: the count of R = 0, which is another graph and not part of the curve.
    """
    effect, curve = build_effect(points), [p for t, p in sorted(points.items(), reverse=True) if t != unreduced]
    curve = [point for point in curve if not point.failed]
    levels = [level(p.builds_ms) for p in curve]
    intervals = []
    for point, value in zip(curve, levels):
        half = 0.5 * (point.latency_ci_ms[1] - point.latency_ci_ms[0]) / point.latency_ms
        half = math.hypot(half, 1.96 * effect / math.sqrt(len(good_builds(point.builds_ms))))
        intervals.append((value * (1 - half), value * (1 + half)))
    return find_steps([p.tokens for p in curve], levels, intervals)


def find_steps(
    tokens: Sequence[int],
    latency_ms: Sequence[float],
    ci: Sequence[Optional[Interval]],
    min_drop: float = MIN_DROP,
) -> Tuple[Step, ...]:
    """The significant steps, from most to fewest tokens; () where there is none, or fewer than three points.

    Args:
        tokens: total counts, any order, gaps allowed; without R = 0, which is another graph.
        latency_ms: one a count. Points that are not finite and positive are left out.
        ci: 95 % interval of each latency; None: the noise of the curve tells.
        min_drop: smallest relative drop of a step.
    """
    curve = _curve(tokens, latency_ms, ci)
    if len(curve.tokens) < 3:
        return ()
    curve, valleys = _without_singles(curve, min_drop)
    steps = [_valley_step(*valley) for valley in valleys]
    if len(curve.tokens) >= 3:
        steps += _steps_between(curve, _sums(curve), min_drop)
    return tuple(sorted(steps, key=lambda step: -step.edge_tokens))


def _curve(tokens: Sequence[int], latency_ms: Sequence[float], ci: Sequence[Optional[Interval]]) -> CurveArrays:
    rows = []
    for count, latency, interval in zip(tokens, latency_ms, ci):
        if latency is not None and math.isfinite(latency) and latency > 0:
            half = (interval[1] - interval[0]) / (2 * 1.96 * latency) if interval is not None else 0.0
            rows.append((count, latency, latency * max(half, NOISE_FLOOR)))
    rows.sort(key=lambda row: -row[0])
    table = np.array(rows, dtype=float).reshape(-1, 3)
    curve = CurveArrays(table[:, 0], table[:, 1], table[:, 2])
    return curve._replace(se=curve.se * _noise_scale(curve))


def _noise_scale(curve: CurveArrays) -> float:
    """By how much the points scatter more than their standard errors say; at least 1.

    1.48 median |residual / expected|, where a residual is the distance of a point from the line through its neighbours.
    Why the median: steps disturb few residuals. It needs many points at even distances; otherwise it is 1.
    """
    t, z, se = curve
    if len(t) < 16:
        return 1.0
    share = (t[:-2] - t[1:-1]) / (t[:-2] - t[2:])
    residual = z[1:-1] - (1 - share) * z[:-2] - share * z[2:]
    expected = np.sqrt(se[1:-1] ** 2 + ((1 - share) * se[:-2]) ** 2 + (share * se[2:]) ** 2)
    spacing = t[:-2] - t[2:]
    even = spacing <= 2 * spacing.min()
    if even.mean() < 0.6:  # a search measures near steps and valleys, where residuals are not noise
        return 1.0
    return float(max(1.0, 1.48 * np.median(np.abs(residual / expected)[even])))


def _without_singles(curve: CurveArrays, min_drop: float) -> Tuple[CurveArrays, List[Tuple[CurveArrays, int]]]:
    """The curve without outliers and valleys, and for each valley the curve that it is part of and its index.

    An outlier must also exceed the second point above: beside a valley, every point stands out.
    """
    outliers = [i for i in _standing_out(curve, 1.0, min_drop) if i < 2 or curve.ms[i] > curve.ms[i - 2]]
    if 0 < len(outliers) <= MOST_OUTLIERS * len(curve.tokens):
        curve = _without(curve, outliers)
    valleys = _standing_out(curve, -1.0, min_drop)
    return _without(curve, valleys), [(curve, index) for index in valleys]


def _standing_out(curve: CurveArrays, sign: float, min_drop: float) -> List[int]:
    """Inner points that lie above (sign 1) or below (-1) both neighbours by more than noise and min_drop."""
    margin = np.diff(sign * curve.ms)
    needed = np.maximum(SINGLE_SIGMA * np.hypot(curve.se[1:], curve.se[:-1]), min_drop * curve.ms[1:])
    above, below = margin[:-1] > needed[:-1], -margin[1:] > needed[1:]
    return [int(i) + 1 for i in np.flatnonzero(above & below)]


def _without(curve: CurveArrays, indices: List[int]) -> CurveArrays:
    keep = np.ones(len(curve.tokens), dtype=bool)
    keep[indices] = False
    return CurveArrays(curve.tokens[keep], curve.ms[keep], curve.se[keep])


def _valley_step(curve: CurveArrays, index: int) -> Step:
    drop = min(curve.ms[index - 1], curve.ms[index + 1]) - curve.ms[index]
    error = math.hypot(curve.se[index], max(curve.se[index - 1], curve.se[index + 1]))
    return _step(curve, index - 1, index, drop, error, True)


def _step(curve: CurveArrays, before: int, edge: int, drop: float, error: float, valley: bool) -> Step:
    drop = float(drop)
    p_value = 0.5 * math.erfc(drop / error / math.sqrt(2)) * len(curve.tokens)
    return Step(
        edge_tokens=int(curve.tokens[edge]),
        from_tokens=int(curve.tokens[before]),
        drop_ms=drop,
        drop_ci_ms=(drop - 1.96 * error, drop + 1.96 * error),
        p_value=float(min(1.0, p_value)),
        valley=bool(valley),
    )


class Sums(NamedTuple):
    """Prefix sums over the points, which give any segment's line in constant time. Counts and values are centred."""

    table: np.ndarray  # (6, points + 1): w, wt, wtt, wz, wtz, wzz; z: ms less the prior slope
    tokens: float  # mean count
    z: float  # mean of ms less the prior slope
    slope: float  # prior mean of a line's slope
    precision: float  # and its prior precision


def _sums(curve: CurveArrays) -> Sums:
    """The sums, with a prior for the slope of each line: s / 2 +- s, where s is the mean slope of the curve.

    Why: one or two points do not determine a slope. The prior lies between a flat tread (0) and a steady fall (s).
    """
    t = curve.tokens
    mean_slope = max(float(curve.ms[0] - curve.ms[-1]), 1e-6 * float(curve.ms[0])) / float(t[0] - t[-1])
    leaning = curve.ms - 0.5 * mean_slope * t
    c, z, w = t - t.mean(), leaning - leaning.mean(), 1 / curve.se**2
    terms = np.cumsum(np.stack([w, w * c, w * c**2, w * z, w * c * z, w * z**2]), axis=1)
    table = np.concatenate([np.zeros((6, 1)), terms], axis=1)
    return Sums(table, float(t.mean()), float(leaning.mean()), 0.5 * mean_slope, mean_slope**-2)


def _segments(curve: CurveArrays, sums: Sums) -> List[Line]:
    """The optimal partition: best(end) = min over start of best(start) + chi2(start, end) + penalty."""
    count = len(curve.tokens)
    penalty = SEGMENT_PENALTY * math.log(count + 1)
    best, cut = np.zeros(count + 1), np.zeros(count + 1, dtype=int)
    for end in range(1, count + 1):
        total = best[:end] + _chi_square(sums.table[:, end, None] - sums.table[:, :end], sums.precision) + penalty
        cut[end] = int(np.argmin(total))
        best[end] = total[cut[end]]
    lines, end = [], count
    while end > 0:
        lines.append(_line(sums, int(cut[end]), end - 1))
        end = int(cut[end])
    return lines[::-1]


def _chi_square(part: np.ndarray, precision: float) -> np.ndarray:
    """Chi-square of the best line through each segment, given its sums (6, segments)."""
    w, wt, wtt, wz, wtz, wzz = part
    covariance = wtz - wt * wz / w
    return np.asarray(wzz - wz**2 / w - covariance**2 / (wtt - wt**2 / w + precision))


def _line(sums: Sums, first: int, last: int) -> Line:
    w, wt, wtt, wz, wtz, _ = sums.table[:, last + 1] - sums.table[:, first]
    spread = wtt - wt**2 / w + sums.precision
    middle = wt / w + sums.tokens
    value = wz / w + sums.z + sums.slope * middle
    return Line(first, last, middle, value, (wtz - wt * wz / w) / spread + sums.slope, 1 / w, 1 / spread)


def _steps_between(curve: CurveArrays, sums: Sums, min_drop: float) -> List[Step]:
    """Boundaries at which the curve falls significantly below everything before, trend aside; see above."""
    lines, steps, lowest = _segments(curve, sums), [], math.inf
    for i in range(len(lines) - 1):
        above, below = _near_lines(sums, lines[i], lines[i + 1], len(curve.tokens))
        start, end = curve.tokens[above.last], curve.tokens[below.first]
        lowest = min(lowest, above.at(start))
        trend = 0.5 * (above.slope + below.slope) * (start - end)
        drop = lowest - below.at(end) - max(0.0, trend)
        slope_var = 0.25 * (above.slope_var + below.slope_var) * (start - end) ** 2
        error = math.sqrt(above.variance_at(start) + below.variance_at(end) + slope_var)
        returns = i + 2 < len(lines) and lines[i + 2].at(curve.tokens[lines[i + 2].first]) > lowest - 0.5 * drop
        step = _step(curve, above.last, below.first, drop, error, returns)
        if step.p_value < SIGNIFICANCE and drop > min_drop * lowest:
            steps.append(step)
    return steps


def _near_lines(sums: Sums, above: Line, below: Line, points: int) -> Tuple[Line, Line]:
    """Both lines, refitted to the points near their boundary: a long line misses a bent curve there."""
    near = max(NEAR_POINTS, points // 6)
    left = _line(sums, max(above.first, above.last - near + 1), above.last)
    return left, _line(sums, below.first, min(below.last, below.first + near - 1))
