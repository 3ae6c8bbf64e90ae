"""Robust location of latency samples with an interval, and the rule that ends sampling.

Makes a few trustworthy numbers from many noisy ones, on any machine. Leaves out what was timed and how: it knows
numbers only.

Contention only ever adds time, so what is common to a locked board (one tight mode) and to a shared machine (many
modes, a heavy upper tail) is the lowest mode. The location is its centre: from a low quantile, one moves to the
median of the window that reaches as far up as the lower edge lies below, until it rests. On one tight mode that is the
median of all.
"""

import math
from typing import Callable, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from pomt_trt.core.errors import UnstableMeasurement
from pomt_trt.core.statistics.drift import Rounds, positive

Samples = Tuple[np.ndarray, np.ndarray]  # values, and the round each belongs to

EDGE_QUANTILE = 0.02  # the clean lower edge; not the minimum, which one bad clock reading can own
START_QUANTILE = 0.20  # the search starts here: right as long as a fifth of the runs were undisturbed
CLIMB_STEPS = 20
TIGHT = 0.08  # relative distance of the 5th and 95th percentile within which samples can be one mode
RESAMPLES = 200  # of a final interval
QUICK_RESAMPLES = 40  # of an interval that only decides whether to go on
COVERAGE = 0.95
UNSEEN_NOISE = 0.05  # relative half-width assumed for a single sample, whose noise cannot be seen
MOST_DRIFT = 0.25  # a round slower or faster than usual by more is left out: dividing would not undo what happened


class Location(NamedTuple):
    """Where the undisturbed latency lies, with its 95 % interval, in the samples' unit."""

    value: float
    low: float
    high: float

    @property
    def relative_width(self) -> float:
        """Full width of the interval over the value."""
        return (self.high - self.low) / self.value


class Percentiles(NamedTuple):
    """Of the raw samples, in their unit; TensorRT's definition (no interpolation)."""

    p50: float
    p90: float
    p95: float
    p99: float


def locate(
    rounds: Rounds, drift: Optional[Sequence[float]] = None, seed: int = 0, resamples: int = RESAMPLES
) -> Location:
    """The centre of the lowest mode of the samples, drift taken out, with its 95 % interval.

    Args:
        rounds: one row a round, each a few back-to-back runs; any unit. Rows may differ in length; samples that are
            not positive and finite (a clock that stepped back) are left out.
        drift: for each round, how much slower the machine was (core/statistics/drift); None: no drift.
        seed: of the bootstrap, which draws blocks of successive rounds.
    Raises: UnstableMeasurement where no sample is usable.
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
    """p50, p90, p95, p99 of all usable raw samples: what a user waits, disturbances included.

    Raises: UnstableMeasurement where no sample is usable.
    Source: trtexec, sampleReporting.cpp: sorted[n - 1 - floor((1 - p / 100) n)].
    """
    values = np.sort(_flatten(rounds)[0])
    last = len(values) - 1
    return Percentiles(*(float(values[max(0, last - (100 - p) * len(values) // 100)]) for p in (50, 90, 95, 99)))


PATIENCE = 4  # times the cap: how long the minimum of samples is waited for


class StoppingRule(NamedTuple):
    """When enough has been sampled, from numbers and the seconds that have passed.

    Settled means: the location's interval is narrow; or, where noise keeps it from getting there in reasonable time,
    the noise itself has stopped changing and the interval is at least acceptable.

    Source: NVBench, stdrel_criterion.cxx (minimum samples, settled noise) and its 15 s wall-time cap.
    """

    min_samples: int = 40
    min_rounds: int = 8
    narrow: float = 0.006  # relative full width of the interval that is good enough
    acceptable: float = 0.02  # relative full width that will do once the noise has settled
    noise_change: float = 0.05  # relative change of the noise, from half of the samples to all, that counts as settled
    max_s: float = 15.0  # wall time for one candidate, once it has the minimum of samples

    def decide(self, rounds: Rounds, located: Callable[[], Location], elapsed_s: float) -> Optional[str]:
        """None to go on, else why to stop: 'settled' or 'time cap'. May be asked after every round.

        Args:
            located: gives the location of these rounds; QUICK_RESAMPLES will do. It is asked only when the rounds have
                grown by 40 %, so that statistics stay under 1 % of the runs' time.
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
    """Relative half-width of the lower half of the samples: spread that a heavy upper tail does not touch."""
    low, middle = np.percentile(_flatten(rounds)[0], [5, 50])
    return float(1 - low / middle)


def _undrifted(samples: Samples, drift: Optional[Sequence[float]]) -> Samples:
    """Samples over the drift of their round; rounds far off are left out while a quarter of the samples stays."""
    if drift is None or not len(drift):
        return samples
    (values, index), factors = samples, np.asarray(drift, dtype=float)
    near = (np.abs(np.log(factors)) <= math.log1p(MOST_DRIFT))[index]
    kept = near if near.sum() >= max(1, len(values) // 4) else np.ones(len(values), dtype=bool)
    return (values / factors[index])[kept], index[kept]


def undrifted(rounds: Rounds, drift: Optional[Sequence[float]] = None) -> Tuple[float, ...]:
    """The samples as `locate` sees them: bad readings and rounds far off left out, drift taken out."""
    return tuple(_undrifted(_flatten(rounds), drift)[0].tolist())


def tail_fraction(rounds: Rounds, drift: Sequence[float], location: Location) -> float:
    """Share of the samples more than a quarter slower than the location, drift taken out: runs that something disturbed
    which left others of their round alone.
    """
    return float(np.mean(np.array(undrifted(rounds, drift)) > 1.25 * location.value))


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
    """Block of each sample, from 0: successive rounds, since disturbances outlast one; in one round, samples."""
    rounds = np.unique(index, return_inverse=True)[1]
    if rounds.max() == 0:
        return np.arange(len(index))
    return np.asarray(rounds // block_length(int(rounds.max()) + 1))


def block_length(rounds: int) -> int:
    """How many successive rounds a bootstrap draws together: the cube root of their number, as is usual."""
    return max(1, int(round(rounds ** (1 / 3))))


def _lowest_mode(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Centre of the lowest mode for each row of weights (rows, samples) over the sorted values."""
    mass = np.cumsum(weights, axis=1)  # (rows, samples)
    quantiles = (EDGE_QUANTILE, START_QUANTILE, 0.5)
    edge, start, median = (values[_first_reaching(mass, q * mass[:, -1:])] for q in quantiles)
    single = _single_mode(values, mass, median)
    padded = np.hstack([np.zeros((len(mass), 1), dtype=mass.dtype), mass])
    row = np.arange(len(mass))
    below = padded[row, np.searchsorted(values, edge, side="left")]
    centre = np.where(single, median, start)
    for _ in range(CLIMB_STEPS):
        inside = padded[row, np.searchsorted(values, 2 * centre - edge, side="right")]
        moved = np.where(single, median, values[_first_reaching(mass, (0.5 * (below + inside))[:, None])])
        if np.array_equal(moved, centre):
            break
        centre = moved
    return np.asarray(centre)


def _single_mode(values: np.ndarray, mass: np.ndarray, median: np.ndarray) -> np.ndarray:
    """Which rows are one tight mode: narrow, and about as wide above the median as below. Its best centre is that."""
    low, high = (values[_first_reaching(mass, q * mass[:, -1:])] for q in (0.05, 0.95))
    up, down = high - median, median - low
    return np.asarray((high - low < TIGHT * median) & (up < 2 * down) & (down < 2 * up))


def _first_reaching(mass: np.ndarray, target: np.ndarray) -> np.ndarray:
    """For each row, the first sample at which the cumulative mass reaches the target (rows, 1)."""
    return np.asarray(np.minimum((mass < target).sum(axis=1), mass.shape[1] - 1))


def with_interval(values: np.ndarray, centre: float, resampled: np.ndarray, blocks: int) -> Location:
    """The 95 % interval around the centre; never narrower than the clock's tick, wider where there were few blocks.

    Args:
        values: the samples, ascending. A single one shows no noise, so that a wide interval is assumed for it.
        resampled: centres of the bootstrap's draws from so many blocks.
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
