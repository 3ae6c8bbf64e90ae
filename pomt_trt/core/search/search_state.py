"""What a search knows, and bounds on what it does not: the best score that an unmeasured count can have.

L(t) and A(t) are the latency and the accuracy of a count t; L0 and A0 are those of R = 0.

Latency: L rises with t, so L(t) >= L(b), where b is the next measured count below t. There are two exceptions.
- Valleys are multiples of 8, 16 or 32 that are faster than both neighbours (ONNX Runtime's CPU kernels have them). They
  form a second rising curve: only valleys bound valleys, and only ordinary counts bound ordinary counts.
- An outlier is a measured count that is slower than a count of its kind with more tokens. It comes from a bad build or
  a disturbed measurement, so it bounds nothing.

Accuracy: A(t) <= max(A(a), A(b)) + slack, where a and b are the next counts above and below t whose accuracy is known.
Why both: an accuracy on a few hundred images does not fall with every token removed. The slack, the
luck of the images, counts where a constraint must be met, and not as a gain.

Two latencies differ where their difference exceeds SIGMAS hypot(s1, s2), the standard errors of both. Why not disjoint
intervals: these ask for 2.8 standard errors instead of 2, and valleys are lost.
"""

import bisect
import math
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from pomt_trt.core.choice.rules import ROUNDING, Goal
from pomt_trt.core.records import Interval

VALLEY_PERIODS = (32, 16, 8)  # tested in this order; the next one only where the one before has valleys
GROUP = 12  # engines that are timed beside one another
REFERENCES = 4  # of them: R = 0 and known engines, once there are any
MOST = GROUP - REFERENCES  # counts of a batch
BAD_BUILD = 0.08  # relative: a build that is slower than the fastest of its count by more is a bad build
FAR_SLOWER = 1.25  # times L0: no method costs that much, so such a count is an outlier
VALLEY_DEPTH = 0.015  # relative: shallower valleys are ignored
UNSEEN_DEPTH = 0.1  # relative: how deep a valley may be that was not looked at
SIGMAS = 2.0  # standard errors of a difference, above which a valley is believed in
OUTLYING = 2.8  # standard errors of a difference, above which a count is an outlier


class Point(NamedTuple):
    """The measurements of one count. builds_ms is the latency of each engine built; () means that the build failed.

    latency_ms and its interval belong to the kept engine, builds_ms[kept_build(builds_ms)]. A rebuild that fails is
    math.inf in builds_ms, so that it counts as a build and is not requested again.
    """

    tokens: int
    latency_ms: float = math.nan
    latency_ci_ms: Interval = (math.nan, math.nan)
    builds_ms: Tuple[float, ...] = ()
    more: bool = False  # whether timing it again would add samples; must become False at some time

    @property
    def failed(self) -> bool:
        """True where there is no engine."""
        return not self.builds_ms


class Batch(NamedTuple):
    """Measurements of one kind that need not wait for one another, and why they are needed (for the progress line)."""

    kind: str  # build (and time), rebuild (without cache, and time), time (the engine there is), accuracy
    counts: Tuple[int, ...]
    why: str


class SearchState(NamedTuple):
    """Everything that is known at one moment of a search."""

    grid: Tuple[int, ...]  # descending counts; the first is R = 0
    goal: Goal
    points: Dict[int, Point]
    accuracy: Dict[int, float]
    accuracy_on_demand: bool = False  # True: a task can measure an accuracy; False (on a board): all are known before
    accuracy_slack: float = 0.0  # how far an unknown accuracy may lie above the next known one, since estimates vary
    batch_size: int = 1
    builds_vary: bool = False  # whether two builds of one candidate differ (TensorRT), so that a rebuild tells more
    max_builds: Optional[int] = None
    stopped: str = ""  # why nothing more may be measured, as in "the search ended since ..."; empty: more may be

    @property
    def builds(self) -> int:
        """Engines built so far, failures included."""
        return sum(max(1, len(point.builds_ms)) for point in self.points.values())


class Bounds:
    """The bounds that follow from a SearchState. Scores are what the rule maximises, in units of utility."""

    def __init__(self, state: SearchState) -> None:
        self.state, self.goal, self.grid = state, state.goal, state.grid
        top = state.points.get(state.grid[0])
        self.latency0 = level(top.builds_ms) if top is not None and not top.failed else math.nan
        self.accuracy0 = state.accuracy[state.grid[0]]
        self.build_effect = build_effect(state.points)
        self.points = {t: p for t, p in state.points.items() if not p.failed and t != state.grid[0]}
        self.known_accuracy = sorted(state.accuracy)
        self.period = valley_period(state)
        self.outliers = self._outliers()
        self.bounding = self.bounding_without(None)
        self.admissible = [t for t in state.grid[1:] if self.may_keep_accuracy(t) and not self._failed(t)]

    def _failed(self, tokens: int) -> bool:
        return tokens in self.state.points and self.state.points[tokens].failed

    def knows_accuracy(self, tokens: int) -> bool:
        """Whether the accuracy of a count is known, or will never be."""
        return tokens in self.state.accuracy or not self.state.accuracy_on_demand

    def accuracy_gap(self, tokens: int) -> int:
        """The number of counts below, whose accuracy is known: equal for counts with the same neighbours of those."""
        return bisect.bisect_right(self.known_accuracy, tokens)

    def accuracy(self, tokens: int) -> float:
        """The accuracy of a count; where it is unknown, the higher one of its nearest known neighbours."""
        if tokens in self.state.accuracy:
            return self.state.accuracy[tokens]
        above = self.accuracy_gap(tokens)
        return max(self.state.accuracy[t] for t in self.known_accuracy[max(0, above - 1) : above + 1])

    def least_drop(self, tokens: int) -> float:
        """The accuracy drop of a count, or its lower bound where it is unknown."""
        slack = 0.0 if tokens in self.state.accuracy else self.state.accuracy_slack
        return self.accuracy0 - self.accuracy(tokens) - slack

    def may_keep_accuracy(self, tokens: int) -> bool:
        """Whether the accuracy, or its upper bound, meets the accuracy constraint."""
        limit = self.goal.max_accuracy_drop
        return limit is None or self.least_drop(tokens) <= limit + ROUNDING

    def is_valley(self, tokens: int) -> bool:
        """Whether a count belongs to the curve of the valleys."""
        return self.period is not None and tokens % self.period == 0

    def interval(self, tokens: int) -> Interval:
        """The timing interval of a measured count, scaled from the kept engine to the level of all its builds.

        The curve is about counts: the kept engine may be faster or slower than an average build.
        """
        point = self.points[tokens]
        scale = level(point.builds_ms) / point.latency_ms
        return scale * point.latency_ci_ms[0], scale * point.latency_ci_ms[1]

    def build_noise(self, above: int, below: int) -> float:
        """Relative standard error, from builds alone, of the difference of two counts: effect sqrt(1/n + 1/m)."""
        return build_noise(self.build_effect, self.points[above], self.points[below])

    def timing_noise(self, above: int, below: int) -> float:
        """Relative standard error, from timing alone, of the difference of two counts."""
        return math.hypot(standard_error(self.points[above]), standard_error(self.points[below]))

    def noise(self, above: int, below: int) -> float:
        """Relative standard error of the difference of two counts."""
        return math.hypot(self.timing_noise(above, below), self.build_noise(above, below))

    def _outliers(self) -> Set[int]:
        """Measured counts far slower than R = 0, or significantly slower than one of their kind with more tokens."""
        outliers = {t for t in self.points if self.interval(t)[0] > FAR_SLOWER * self.latency0}
        for valley in (False, True):
            fastest = None
            for tokens in sorted((t for t in self.points if self.is_valley(t) is valley), reverse=True):
                slower = 0.0 if fastest is None else level(self.points[tokens].builds_ms) / self._level(fastest) - 1
                if fastest is not None and slower > OUTLYING * self.noise(fastest, tokens):
                    outliers.add(tokens)
                if fastest is None or slower < 0:
                    fastest = tokens
        return outliers

    def _level(self, tokens: int) -> float:
        return level(self.points[tokens].builds_ms)

    def bounding_without(self, left_out: Optional[int]) -> Dict[bool, List[int]]:
        """Measured counts that bound others, ascending: ordinary ones under False, valleys under True."""
        counts = sorted(t for t in self.points if t not in self.outliers and t != left_out)
        return {kind: [t for t in counts if self.is_valley(t) is kind] for kind in (False, True)}

    def below(self, tokens: int, bounding: Optional[Dict[bool, List[int]]] = None) -> Optional[int]:
        """The count that bounds an unmeasured one: the next measured count of its kind below it, or None."""
        counts = (bounding or self.bounding)[self.is_valley(tokens)]
        at = bisect.bisect_left(counts, tokens)
        return counts[at - 1] if at else None

    def least_latency(self, tokens: int, bounding: Optional[Dict[bool, List[int]]] = None) -> float:
        """The lower bound of an unmeasured count's latency, in ms; 0 where nothing bounds it.

        It is the level measured below, not the lower end of that interval. With the lower end, noise would keep most
        counts open; instead, counts that could be the best are timed again.
        """
        below = self.below(tokens, bounding)
        return 0.0 if below is None else level(self.points[below].builds_ms)

    def score(self, latency_ms: float, accuracy: float) -> float:
        """What the rule maximises (for the step rule, its fallback); minus infinity beyond --max-latency."""
        goal = self.goal
        if goal.max_latency_ms is not None and latency_ms > goal.max_latency_ms:
            return -math.inf
        relative = accuracy / self.accuracy0 if self.accuracy0 > 0 else 1.0
        if goal.rule == "best-within":
            return relative
        if goal.rule == "utility":
            return goal.alpha * (1 - latency_ms / self.latency0) + (1 - goal.alpha) * relative
        return -latency_ms / self.latency0

    def best_possible(self, tokens: int, bounding: Optional[Dict[bool, List[int]]] = None) -> float:
        """The score of a count, or its upper bound where latency or accuracy is unknown."""
        measured = self.points.get(tokens)
        latency_ms = self.least_latency(tokens, bounding) if measured is None else measured.latency_ms
        return self.score(latency_ms, self.accuracy(tokens))

    def as_valley(self, tokens: int) -> float:
        """The upper bound of an unmeasured count's score if it is a valley that is not believed in yet."""
        return self.score((1 - UNSEEN_DEPTH) * self.least_latency(tokens), self.accuracy(tokens))

    def best_score(self) -> float:
        """The best measured score, R = 0 included."""
        return max([self.best_possible(t) for t in self.candidates] + [self.score(self.latency0, self.accuracy0)])

    @property
    def candidates(self) -> Set[int]:
        """Measured counts whose accuracy is known and meets the constraint."""
        return {t for t in self.admissible if t in self.points and t in self.state.accuracy}


def level(builds_ms: Sequence[float]) -> float:
    """The latency of a count: the mean of its good builds."""
    good = good_builds(builds_ms)
    return sum(good) / len(good)


def kept_build(builds_ms: Sequence[float]) -> int:
    """Index of the engine to keep: the first good build.

    Not the fastest: counts that are built more often, R = 0 above all, would then seem faster.
    """
    return builds_ms.index(good_builds(builds_ms)[0])


def good_builds(builds_ms: Sequence[float]) -> List[float]:
    """The builds within BAD_BUILD of the fastest. A slower one has poor tactics, and is not part of the spread."""
    return [ms for ms in builds_ms if ms <= (1 + BAD_BUILD) * min(builds_ms)]


def build_effect(points: Mapping[int, Point]) -> float:
    """Relative standard deviation between good builds of one count, pooled over counts; 0 where each was built once."""
    squares, degrees = 0.0, 0
    for point in points.values():
        good = good_builds(point.builds_ms) if point.builds_ms else []
        mean = level(good) if good else 1.0
        squares += sum((ms / mean - 1) ** 2 for ms in good)
        degrees += max(0, len(good) - 1)
    return math.sqrt(squares / degrees) if degrees else 0.0


def standard_error(point: Point) -> float:
    """Of a measured latency, relative to it."""
    low, high = point.latency_ci_ms
    return (high - low) / (2 * 1.96 * point.latency_ms)


def build_noise(effect: float, one: Point, other: Point) -> float:
    """Relative standard error of the difference of two counts, each the mean of n builds: effect sqrt(1/n + 1/m)."""
    return effect * math.sqrt(sum(1.0 / len(good_builds(point.builds_ms)) for point in (one, other)))


def valley_pairs(grid: Sequence[int], period: int) -> List[Tuple[int, int]]:
    """(multiple, the count below it) for a valley period: odd multiples alone, if they are valleys of another one."""
    rest, every = (0, period) if period == VALLEY_PERIODS[0] else (period, 2 * period)
    return [(t, low) for t, low in zip(grid[1:-1], grid[2:]) if t % every == rest and low % VALLEY_PERIODS[-1]]


def measured_pairs(state: SearchState, period: int) -> List[Tuple[Point, Point]]:
    """Those of the valley pairs that were measured."""
    pairs = [tuple(state.points.get(t) for t in pair) for pair in valley_pairs(state.grid, period)]
    return [(at, low) for at, low in pairs if at is not None and low is not None and not (at.failed or low.failed)]


def are_deep(state: SearchState, pairs: Sequence[Tuple[Point, Point]]) -> bool:
    """Whether multiples are faster than the counts below them by more, on average, than builds and timing explain."""
    if not pairs:
        return False
    effect = build_effect(state.points)
    depth = sum(math.log(level(low.builds_ms) / level(at.builds_ms)) for at, low in pairs) / len(pairs)
    errors = [(standard_error(at), standard_error(low), build_noise(effect, at, low)) for at, low in pairs]
    error = math.sqrt(sum(one**2 for triple in errors for one in triple)) / len(pairs)
    return depth > max(VALLEY_DEPTH, SIGMAS * error)


def valley_period(state: SearchState) -> Optional[int]:
    """The smallest period whose multiples were measured to be valleys, as those of the larger ones were; or None."""
    smallest = None
    for period in VALLEY_PERIODS:
        if not are_deep(state, measured_pairs(state, period)):
            break
        smallest = period
    return smallest
