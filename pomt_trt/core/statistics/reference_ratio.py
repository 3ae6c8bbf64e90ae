"""The reference ratio: latency of an engine relative to reference engines of known latency, timed in the same rounds.

With m[e, r] = log of the median time in the burst of engine e in round r, and level[r] of core/statistics/drift:

    own[e] = median over r of (m[e, r] - level[r])
    scale  = median over references k of (own[k] - log L[k])
    L[e]   = exp(own[e] - scale)

Why a ratio: what slows the machine in a round, or from one group to the next, slows the references too. Why the median
over rounds: it ignores disturbances that hit single bursts. Why several references: their median outvotes one that was
off when its latency was measured, or is off now.
"""

import math
import statistics
from typing import NamedTuple, Sequence

import numpy as np

from pomt_trt.core.errors import UnstableMeasurement
from pomt_trt.core.statistics.drift import Rounds, levels
from pomt_trt.core.statistics.stats import RESAMPLES, Location, block_length, with_interval


class Reference(NamedTuple):
    """An engine of known latency, timed again in the same rounds."""

    rounds: Rounds
    latency: float  # L[k], in the unit of all


def locate_by_references(
    rounds: Rounds, references: Sequence[Reference], group: Sequence[Rounds], resamples: int = RESAMPLES, seed: int = 0
) -> Location:
    """L[e] with its 95 % interval.

    The interval is a bootstrap. Each resample draws circular blocks of successive rounds, the same for all engines, and
    draws among the references. So it holds the noise of the rounds, and how much the references disagree. It does not
    hold an error that all references share.

    Args:
        rounds: of engine e, from the first round on. The others may have more rounds; those are ignored.
        references: at least one.
        group: rounds of all engines, references included: they give level[r].
    Raises: UnstableMeasurement if no round has a usable time of e and of every reference.
    Source of the circular blocks: Politis and Romano, 1992.
    """
    logs = _above_level(rounds, references, group)
    used = logs.shape[1]
    length = block_length(used)
    blocks = -(-used // length)
    rng = np.random.RandomState(seed)
    starts = rng.randint(used, size=(resamples, blocks))
    drawn = (starts[:, :, None] + np.arange(length)).reshape(resamples, -1) % used
    medians = np.median(logs[:, drawn], axis=2)  # (1 + references, resamples)
    picked = rng.randint(len(references), size=(len(references), resamples))
    scales = np.median(medians[1 + picked, np.arange(resamples)], axis=0)
    own = np.median(logs, axis=1)
    centre = float(np.exp(own[0] - np.median(own[1:])))
    values = np.exp(np.sort(logs[0] - own[0])) * centre
    return with_interval(values, centre, np.exp(medians[0] - scales), blocks)


def _above_level(rounds: Rounds, references: Sequence[Reference], group: Sequence[Rounds]) -> np.ndarray:
    """(1 + references, rounds): m[e, r] - level[r], and m[k, r] - log L[k] - level[r]; rounds that all have."""
    count = len(rounds)
    rows = [_medians(rounds)] + [_medians(each.rounds[:count]) - np.log(each.latency) for each in references]
    logs = np.stack(rows) - levels([member[:count] for member in group])
    logs = logs[:, np.isfinite(logs).all(axis=0)]
    if not logs.size:
        raise UnstableMeasurement(
            "none of {} rounds has a time of each engine. Check the clock, then profile again.".format(count)
        )
    return np.asarray(logs)


def _medians(rounds: Rounds) -> np.ndarray:
    """m[e, r] over the usable times of each burst; NaN for a burst without one."""
    rows = ([time for time in burst if 0 < time < math.inf] for burst in rounds)
    return np.log([statistics.median(row) if row else math.nan for row in rows])
