"""Location of latency samples with its interval, and the stopping rule.

The location is the centre c of the lowest mode. With e = 2nd percentile (the lower edge) and c = 20th percentile,
repeat until c no longer changes:

    c = median of the samples from e to 2 c - e

If all samples form one narrow, even mode, c is their median. Why the lowest mode: contention only adds time, so the
undisturbed latency is the lowest cluster, on a locked board (one mode) and on a shared machine (many modes).

The 95 % interval is a bootstrap over blocks of successive rounds. Why blocks: a disturbance lasts longer than a round.
"""

import math
from typing import Callable, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from pomt_trt.core.errors import UnstableMeasurement
from pomt_trt.core.statistics.drift import Rounds, positive

Samples = Tuple[np.ndarray, np.ndarray]  # values, and the round each belongs to

EDGE_QUANTILE = 0.02  # the lower edge; not the minimum, since one bad reading of the clock would set it
START_QUANTILE = 0.20  # where c starts: right as long as a fifth of the runs were undisturbed
MOST_STEPS = 20
NARROW_MODE = 0.08  # samples are one mode if 95th - 5th percentile is less than this times the median
RESAMPLES = 200  # of a final interval
QUICK_RESAMPLES = 40  # of an interval that only decides whether to go on
COVERAGE = 0.95
UNSEEN_NOISE = 0.05  # relative half-width assumed for a single sample, which shows no noise
MOST_DRIFT = 0.25  # rounds with more drift are left out: division does not undo so strong a disturbance


class Location(NamedTuple):
    """The undisturbed latency with its 95 % interval, in the samples' unit."""

    value: float
    low: float
    high: float

    @property
    def relative_width(self) -> float:
        """Full width of the interval over the value."""
        return (self.high - self.low) / self.value


class Percentiles(NamedTuple):
    """Of the samples as timed, in their unit; TensorRT's definition (no interpolation)."""

    p50: float
    p90: float
    p95: float
    p99: float


def locate(
    rounds: Rounds, drift: Optional[Sequence[float]] = None, seed: int = 0, resamples: int = RESAMPLES
) -> Location:
    """The location of samples / drift of their round, with its 95 % interval.

    Args:
        rounds: one burst a row, in any unit. Rows may differ in length. Samples that are not positive and finite (the
            clock stepped back) are left out.
        drift: drift[r] of core/statistics/drift; None: no drift.
        seed: of the bootstrap.
    Raises: UnstableMeasurement if no sample is usable.
    """
    values, index = _undrifted(_flatten(rounds), drift)
    blocks = _blocks(index)
    order = np.argsort(values, kind="mergesort")
    values, blocks = values[order], blocks[order]
    count = int(blocks.max()) + 1
    draws = np.random.RandomState(seed).multinomial(count, [1.0 / count] * count, size=resamples)
    weights = np.vstack([np.ones((1, count), dtype=int), draws])[:, blocks]
    centres = _lowest_mode(values, weights)
    return with_interval(values, centres[0], centres[1:], count)


def percentiles(rounds: Rounds) -> Percentiles:
    """p50, p90, p95, p99 of all usable samples as timed: what a user waits, disturbances included.

    Raises: UnstableMeasurement if no sample is usable.
    Source: trtexec, sampleReporting.cpp: sorted[n - 1 - floor((1 - p / 100) n)].
    """
    values = np.sort(_flatten(rounds)[0])
    last = len(values) - 1
    return Percentiles(*(float(values[max(0, last - (100 - p) * len(values) // 100)]) for p in (50, 90, 95, 99)))


PATIENCE = 4  # times the cap: after that, sampling stops without the minimum of samples too


class StoppingRule(NamedTuple):
    """When to stop sampling.

    A member is settled if it has min_samples in min_rounds, and the relative width w of its interval is

        w <= narrow,  or  w <= acceptable and |n - n_half| <= noise_change * n

    with the noise n of all rounds and n_half of the first half. Why the second: where noise keeps the interval wide,
    more samples of the same noise add little.

    Source: NVBench, stdrel_criterion.cxx (minimum samples, settled noise) and its 15 s wall-time cap.
    """

    min_samples: int = 40
    min_rounds: int = 8
    narrow: float = 0.006
    acceptable: float = 0.02
    noise_change: float = 0.05
    max_s: float = 15.0  # wall time; a member without min_samples gets up to PATIENCE times as much

    def decide(self, rounds: Rounds, located: Callable[[], Location], elapsed_s: float) -> Optional[str]:
        """None to go on; otherwise why to stop: 'settled' or 'time cap'.

        Args:
            located: gives the location of these rounds, from QUICK_RESAMPLES. It is called only when the number of
                rounds has grown by 40 %, so that statistics take less than 1 % of the runs' time.
        """
        if self._looks_now(len(rounds)) and self._settled(rounds, located):
            return "settled"
        enough = sum(len(row) for row in rounds) >= self.min_samples or elapsed_s >= PATIENCE * self.max_s
        return "time cap" if elapsed_s >= self.max_s and enough else None

    def _looks_now(self, rounds: int) -> bool:
        if rounds < max(2, self.min_rounds):
            return False
        growth = math.log(1.4)
        return rounds == self.min_rounds or int(math.log(rounds) / growth) > int(math.log(rounds - 1) / growth)

    def _settled(self, rounds: Rounds, located: Callable[[], Location]) -> bool:
        if sum(len(row) for row in rounds) < self.min_samples:
            return False
        try:
            width = located().relative_width
        except UnstableMeasurement:
            return False
        if width > self.acceptable:
            return False
        return width <= self.narrow or self._noise_settled(rounds)

    def _noise_settled(self, rounds: Rounds) -> bool:
        now, before = core_noise(rounds), core_noise(rounds[: len(rounds) // 2])
        return abs(now - before) <= self.noise_change * now


def core_noise(rounds: Rounds) -> float:
    """1 - 5th percentile / median: the spread of the lower half, which a heavy upper tail does not change."""
    low, middle = np.percentile(_flatten(rounds)[0], [5, 50])
    return float(1 - low / middle)


def _undrifted(samples: Samples, drift: Optional[Sequence[float]]) -> Samples:
    """Samples / drift. Rounds with more than MOST_DRIFT are left out, if at least a quarter of the samples is left."""
    if drift is None or not len(drift):
        return samples
    (values, index), factors = samples, np.asarray(drift, dtype=float)
    near = (np.abs(np.log(factors)) <= math.log1p(MOST_DRIFT))[index]
    kept = near if near.sum() >= max(1, len(values) // 4) else np.ones(len(values), dtype=bool)
    return (values / factors[index])[kept], index[kept]


def undrifted(rounds: Rounds, drift: Optional[Sequence[float]] = None) -> Tuple[float, ...]:
    """The samples as `locate` uses them: usable ones, divided by drift, without rounds of too much drift."""
    return tuple(_undrifted(_flatten(rounds), drift)[0].tolist())


def _flatten(rounds: Rounds) -> Samples:
    """The usable samples."""
    lengths = [len(row) for row in rounds]
    values = np.array([sample for row in rounds for sample in row], dtype=float)
    index = np.repeat(np.arange(len(lengths)), lengths)
    usable = positive(values)
    if not usable.any():
        raise UnstableMeasurement(
            "none of {} samples is a positive time. Check the clock, then profile again.".format(len(values))
        )
    return values[usable], index[usable]


def _blocks(index: np.ndarray) -> np.ndarray:
    """The number of the block of each sample. A block is some successive rounds; if there is one round, a sample."""
    rounds = np.unique(index, return_inverse=True)[1]
    if rounds.max() == 0:
        return np.arange(len(index))
    return np.asarray(rounds // block_length(int(rounds.max()) + 1))


def block_length(rounds: int) -> int:
    """Rounds in a block of the bootstrap: the cube root of their number, as is usual."""
    return max(1, int(round(rounds ** (1 / 3))))


def _lowest_mode(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The centre c for each row of weights (rows, samples): how often a resample has each of the sorted values."""
    mass = np.cumsum(weights, axis=1)  # (rows, samples)
    quantiles = (EDGE_QUANTILE, START_QUANTILE, 0.5)
    edge, start, median = (values[_first_reaching(mass, q * mass[:, -1:])] for q in quantiles)
    single = _single_mode(values, mass, median)
    padded = np.hstack([np.zeros((len(mass), 1), dtype=mass.dtype), mass])
    row = np.arange(len(mass))
    below = padded[row, np.searchsorted(values, edge, side="left")]
    centre = np.where(single, median, start)
    for _ in range(MOST_STEPS):
        inside = padded[row, np.searchsorted(values, 2 * centre - edge, side="right")]
        moved = np.where(single, median, values[_first_reaching(mass, (0.5 * (below + inside))[:, None])])
        if np.array_equal(moved, centre):
            break
        centre = moved
    return np.asarray(centre)


def _single_mode(values: np.ndarray, mass: np.ndarray, median: np.ndarray) -> np.ndarray:
    """Which rows are one mode: narrow, and neither side of the median twice as wide as the other."""
    low, high = (values[_first_reaching(mass, q * mass[:, -1:])] for q in (0.05, 0.95))
    up, down = high - median, median - low
    return np.asarray((high - low < NARROW_MODE * median) & (up < 2 * down) & (down < 2 * up))


def _first_reaching(mass: np.ndarray, target: np.ndarray) -> np.ndarray:
    """For each row, the first sample at which the cumulative weight reaches the target (rows, 1)."""
    return np.asarray(np.minimum((mass < target).sum(axis=1), mass.shape[1] - 1))


def with_interval(values: np.ndarray, centre: float, resampled: np.ndarray, blocks: int) -> Location:
    """The centre with the 2.5th and 97.5th percentile of the resampled centres as its interval.

    With b blocks each side is multiplied by sqrt(b / (b - 1)) (1 + 2 / b), and is at least half the smallest difference
    of two samples. Why: a bootstrap of few blocks is too narrow, and a clock with coarse ticks hides noise.

    Args:
        values: the samples, ascending. For a single one, UNSEEN_NOISE is the relative half-width.
        resampled: the centres of the resamples.
        blocks: that a resample draws.
    """
    if len(values) == 1:
        return Location(float(centre), float(centre * (1 - UNSEEN_NOISE)), float(centre * (1 + UNSEEN_NOISE)))
    tail = 50 * (1 - COVERAGE)
    low, high = np.percentile(resampled, [tail, 100 - tail])
    widen = math.sqrt(blocks / (blocks - 1.0)) * (1.0 + 2.0 / blocks)
    gaps = np.diff(values)
    tick = gaps[gaps > 0].min() / 2 if (gaps > 0).any() else 0.0
    below, above = widen * max(0.0, centre - low), widen * max(0.0, high - centre)
    return Location(float(centre), float(max(0.0, centre - max(below, tick))), float(centre + max(above, tick)))
