"""Latency of what was timed in the same rounds as engines of known latency, with its interval.

Makes a Location from numbers alone, on any machine. Leaves out a first group, where nothing is known
(core/statistics/stats).

What moves the machine from one round to the next, and from one group to the next, moves all that run in these rounds,
so a ratio to what is known is told far better than a latency by itself. All members say how slow a round was; over it,
the median of a member's rounds rests among disturbances that hit all alike; and the median of those known outvotes one
that was off when it became known, or is off now.
"""

import math
import statistics
from typing import NamedTuple, Sequence

import numpy as np

from pomt_trt.core.errors import UnstableMeasurement
from pomt_trt.core.statistics.drift import Rounds, levels
from pomt_trt.core.statistics.stats import RESAMPLES, Location, block_length, with_interval


class Known(NamedTuple):
    """Something whose latency is known, timed again in the same rounds."""

    rounds: Rounds
    latency: float  # in the unit of all


def locate_tied(
    rounds: Rounds, known: Sequence[Known], group: Sequence[Rounds], resamples: int = RESAMPLES, seed: int = 0
) -> Location:
    """Latency in the state of the machine in which the known ones had theirs, with its 95 % interval.

    Args:
        rounds: one row a round, from the first on; any unit. The others may have more; only these count.
        known: at least one. By how much they disagree is in the interval; an error that all of them have is not, since
            whatever is tied to them shares it.
        group: rounds of all members, known and unknown, which tell how slow the machine was in each.
        seed: of the bootstrap, which draws blocks of successive rounds, the same for all, and among those known.
    Raises: UnstableMeasurement where no round has a usable time of this and of each known one.
    Source of the circular blocks: Politis and Romano, 1992.
    """
    found = _over_machine(rounds, known, group)
    used = found.shape[1]
    length = block_length(used)
    blocks = -(-used // length)
    rng = np.random.RandomState(seed)
    starts = rng.randint(used, size=(resamples, blocks))
    drawn = (starts[:, :, None] + np.arange(length)).reshape(resamples, -1) % used
    medians = np.median(found[:, drawn], axis=2)  # (1 + known, resamples)
    others = medians[1 + rng.randint(len(known), size=(len(known), resamples)), np.arange(resamples)]
    middles = np.median(found, axis=1)
    centre = float(np.exp(middles[0] - np.median(middles[1:])))
    values = np.exp(np.sort(found[0] - middles[0])) * centre
    return with_interval(values, centre, np.exp(medians[0] - np.median(others, axis=0)), blocks)


def _over_machine(rounds: Rounds, known: Sequence[Known], group: Sequence[Rounds]) -> np.ndarray:
    """(1 + known, rounds): logarithms of this one's times, and of the known ones' over their latencies; all over how
    slow the machine was.
    """
    count = len(rounds)
    rows = [_middles(rounds)] + [_middles(each.rounds[:count]) - np.log(each.latency) for each in known]
    found = np.stack(rows) - levels([member[:count] for member in group])
    found = found[:, np.isfinite(found).all(axis=0)]
    if not found.size:
        raise UnstableMeasurement(
            "none of {} rounds has a time of each engine. Check the clock, then profile again.".format(count)
        )
    return np.asarray(found)


def _middles(rounds: Rounds) -> np.ndarray:
    """Logarithm of the median of each round's usable times; NaN where there is none."""
    rows = ([time for time in row if 0 < time < math.inf] for row in rounds)
    return np.log([statistics.median(row) if row else math.nan for row in rows])
