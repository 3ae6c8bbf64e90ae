"""What a curve measured in part can still hold: the best that any unmeasured count could be.

Makes bounds from measured points, known accuracies and the goal, on any machine; knows numbers only. Leaves out what to
build next (core/search/search).

Latency falls with tokens, so an unmeasured count is at least as slow as the next measured count below it. That is a
bound, not a guess, with two exceptions that are looked for: valleys (counts at multiples of 8, 16 or 32 that are
cheaper than both neighbours, as ONNX Runtime's CPU kernels have) form a falling curve of their own, and a point slower
than one with more tokens is a bad build or a disturbed profile, and bounds nothing.
"""

import bisect
import functools
import math
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from pomt_trt.core.choice.rules import MIN_GAIN, ROUNDING
from pomt_trt.core.records import Interval

VALLEY_PERIODS = (32, 16, 8)  # looked for in this order; the next only where the one before was found
BAD_BUILD = 0.08  # relative: a build so much slower than another of its count is no matter of chance
FAR_SLOWER = 1.25  # times R = 0: no method adds that much, but a bad build does
VALLEY_DEPTH = 0.015  # relative: a shallower one is not pursued


class Goal(NamedTuple):
    """What the choice will be made by: a rule of core/choice/rules and its constraints."""

    rule: str
    alpha: float = 0.5
    max_accuracy_drop: Optional[float] = None  # fraction
    max_latency_ms: Optional[float] = None
    min_gain: float = MIN_GAIN


class Point(NamedTuple):
    """What was measured of one count. builds_ms: latency of each engine built for it; () where the build failed.

    latency_ms and its interval are those of the engine that is kept, builds_ms[kept_build(builds_ms)]. A rebuild that
    fails is math.inf in builds_ms, so that it counts and is not asked for for ever.
    """

    tokens: int
    latency_ms: float = math.nan
    latency_ci_ms: Interval = (math.nan, math.nan)
    builds_ms: Tuple[float, ...] = ()
    more: bool = False  # whether a request to time it again would add samples; must end up False

    @property
    def failed(self) -> bool:
        """True where no engine came out."""
        return not self.builds_ms


class State(NamedTuple):
    """All that is known at some moment of a search."""

    grid: Tuple[int, ...]  # descending counts; the first is R = 0
    goal: Goal
    points: Dict[int, Point]
    accuracy: Dict[int, float]
    accuracy_on_demand: bool = False  # one machine: accuracies can be asked for; board: all are there beforehand
    accuracy_slack: float = 0.0  # how far an unknown accuracy may lie above the next known one: estimates wander
    batch_size: int = 1
    builds_vary: bool = False  # whether two builds of one candidate differ (TensorRT), so that rebuilding tells more
    max_builds: Optional[int] = None
    out_of_time: bool = False

    @property
    def builds(self) -> int:
        """Engines built so far, failures included."""
        return sum(max(1, len(point.builds_ms)) for point in self.points.values())


class View:
    """A State seen by its bounds. Scores are what the rule maximises, in units of utility."""

    def __init__(self, state: State) -> None:
        self.state, self.goal, self.grid = state, state.goal, state.grid
        top = state.points[state.grid[0]]
        self.latency0, self.accuracy0 = level(top.builds_ms), state.accuracy[state.grid[0]]
        self.build_effect = build_effect(state.points)
        self.points = {t: p for t, p in state.points.items() if not p.failed and t != state.grid[0]}
        self.known_accuracy = sorted(state.accuracy)
        self.period = valley_period(state)
        self.dear = self._dear()
        self.firm = self.firm_without(None)
        self.admissible = [t for t in state.grid[1:] if self.may_keep_accuracy(t) and not self._failed(t)]

    def _failed(self, tokens: int) -> bool:
        return tokens in self.state.points and self.state.points[tokens].failed

    def accuracy(self, tokens: int) -> float:
        """Accuracy of a count; where unknown the most it can be: that of the next known count above, and the slack."""
        if tokens in self.state.accuracy:
            return self.state.accuracy[tokens]
        above = bisect.bisect_right(self.known_accuracy, tokens)
        return self.state.accuracy[self.known_accuracy[above]] + self.state.accuracy_slack

    def may_keep_accuracy(self, tokens: int) -> bool:
        """Whether a count can be within the accuracy constraint; unknown ones below a known failure cannot."""
        limit = self.goal.max_accuracy_drop
        return limit is None or self.accuracy0 - self.accuracy(tokens) <= limit + ROUNDING

    def is_valley(self, tokens: int) -> bool:
        """Whether a count belongs to the valleys' curve."""
        return self.period is not None and tokens % self.period == 0

    def interval(self, tokens: int) -> Interval:
        """Where the curve lies at a measured count: at the level of its builds, with the interval of timing.

        The luck of the kept engine is its own, and a bad build is no part of the curve either.
        """
        point = self.points[tokens]
        scale = level(point.builds_ms) / point.latency_ms
        return scale * point.latency_ci_ms[0], scale * point.latency_ci_ms[1]

    def build_noise(self, above: int, below: int) -> float:
        """Relative standard error, from builds alone, of the drop between two measured counts."""
        builds = [len(good_builds(self.points[t].builds_ms)) for t in (above, below)]
        return self.build_effect * math.sqrt(sum(1.0 / n for n in builds))

    def _dear(self) -> Set[int]:
        """Measured counts that are slower than one of their kind with more tokens, or than R = 0 by a quarter."""
        dear = {t for t in self.points if self.interval(t)[0] > FAR_SLOWER * self.latency0}
        for valley in (False, True):
            least = math.inf
            for tokens in sorted((t for t in self.points if self.is_valley(t) is valley), reverse=True):
                low, high = self.interval(tokens)
                if low > least:
                    dear.add(tokens)
                least = min(least, high)
        return dear

    def firm_without(self, left_out: Optional[int]) -> Dict[bool, List[int]]:
        """Measured counts that bound others, ascending, apart for ordinary counts (False) and valleys (True)."""
        counts = sorted(t for t in self.points if t not in self.dear and t != left_out)
        return {kind: [t for t in counts if self.is_valley(t) is kind] for kind in (False, True)}

    def below(self, tokens: int, firm: Optional[Dict[bool, List[int]]] = None) -> Optional[int]:
        """The measured count that bounds an unmeasured one: the next below it of its kind."""
        kind = (firm or self.firm)[self.is_valley(tokens)]
        at = bisect.bisect_left(kind, tokens)
        return kind[at - 1] if at else None

    def least_latency(self, tokens: int, firm: Optional[Dict[bool, List[int]]] = None) -> float:
        """The least that an unmeasured count's latency can be, in ms; 0 where nothing bounds it.

        The level measured below, not the lower end of its interval: of what noise alone could make better, much is
        always left, and contenders are timed again instead.
        """
        below = self.below(tokens, firm)
        return 0.0 if below is None else level(self.points[below].builds_ms)

    def score(self, latency_ms: float, accuracy: float) -> float:
        """What the rule maximises (the step rule: what it falls back to); minus infinity beyond --max-latency."""
        goal = self.goal
        if goal.max_latency_ms is not None and latency_ms > goal.max_latency_ms:
            return -math.inf
        relative = accuracy / self.accuracy0 if self.accuracy0 > 0 else 1.0
        if goal.rule == "best-within":
            return relative
        if goal.rule == "utility":
            return goal.alpha * (1 - latency_ms / self.latency0) + (1 - goal.alpha) * relative
        return -latency_ms / self.latency0

    def best_score(self) -> float:
        """Of what was measured, R = 0 included."""
        scores = [self.score(self.points[t].latency_ms, self.accuracy(t)) for t in self.points if t in self.candidates]
        return max(scores + [self.score(self.latency0, self.accuracy0)])

    @property
    def candidates(self) -> Set[int]:
        """Measured counts whose accuracy is known and within the constraint."""
        return {t for t in self.admissible if t in self.points and t in self.state.accuracy}


def level(builds_ms: Sequence[float]) -> float:
    """Where the curve lies, from the builds of one count: the mean of those that are no bad builds."""
    good = good_builds(builds_ms)
    return sum(good) / len(good)


def kept_build(builds_ms: Sequence[float]) -> int:
    """Which of a count's engines to keep: the first that is no bad build.

    Not the fastest: that would favour the counts that are built more often, R = 0 before all.
    """
    return builds_ms.index(good_builds(builds_ms)[0])


def good_builds(builds_ms: Sequence[float]) -> List[float]:
    """The builds within BAD_BUILD of the fastest: what is slower picked poor tactics, and is no spread."""
    return [ms for ms in builds_ms if ms <= (1 + BAD_BUILD) * min(builds_ms)]


def build_effect(points: Mapping[int, Point]) -> float:
    """Relative standard deviation between good builds of one count, pooled over counts; 0 where each was built once."""
    squares, degrees = 0.0, 0
    for point in points.values():
        good = good_builds(point.builds_ms) if point.builds_ms else []
        middle = level(good) if good else 1.0
        squares += sum((ms / middle - 1) ** 2 for ms in good)
        degrees += max(0, len(good) - 1)
    return math.sqrt(squares / degrees) if degrees else 0.0


@functools.lru_cache(maxsize=8)
def valley_pairs(grid: Tuple[int, ...]) -> Tuple[Tuple[int, int, int], ...]:
    """(period, multiple, its lower neighbour) for each valley period that the grid can show, near its middle."""
    middle, pairs = grid[len(grid) // 2], []
    for period in VALLEY_PERIODS:
        rest, every = (0, period) if period == VALLEY_PERIODS[0] else (period, 2 * period)
        tell = [(t, low) for t, low in zip(grid[1:-1], grid[2:]) if t % every == rest and low % VALLEY_PERIODS[-1]]
        if tell:
            pairs.append((period,) + min(tell, key=lambda pair: abs(pair[0] - middle)))
    return tuple(pairs)


def is_deep(state: State, tokens: int, lower: int) -> bool:
    """Whether a multiple was measured to be cheaper than the count below it, by more than builds and timing explain."""
    at, below = state.points.get(tokens), state.points.get(lower)
    if at is None or below is None or at.failed or below.failed:
        return False
    builds = sum(1.0 / len(good_builds(point.builds_ms)) for point in (at, below))
    least = max(VALLEY_DEPTH, 2.5 * build_effect(state.points) * math.sqrt(builds))
    apart = below.latency_ci_ms[0] > at.latency_ci_ms[1]
    return apart and level(below.builds_ms) > (1 + least) * level(at.builds_ms)


def valley_period(state: State) -> Optional[int]:
    """The smallest multiple at which valleys were seen, or None."""
    found = None
    for period, tokens, lower in valley_pairs(state.grid):
        if not is_deep(state, tokens, lower):
            break
        found = period
    return found
