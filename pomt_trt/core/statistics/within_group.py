"""Within a group: how the engines that took turns in one process compare, from the rounds that nothing disturbed.

With m[e, r] = log of the median time in the burst of engine e in round r, and level[r] of core/statistics/drift:

    y[e] = median over the used rounds r of (m[e, r] - level[r])

Why minus the level: all engines of a round see the same machine, whatever its speed. Why the median: it ignores
disturbances that hit single bursts. Used are the undisturbed rounds; where there are fewer than LEAST_ROUNDS, all are,
and the group is not clean.

The variance of y[e] is that of a bootstrap over circular blocks of successive rounds. Why blocks: a disturbance lasts
longer than a round. Source of the circular blocks: Politis and Romano, 1992.
"""

import math
import statistics
from typing import Dict, List, NamedTuple, Sequence

import numpy as np

from pomt_trt.core.errors import UnstableMeasurement
from pomt_trt.core.statistics.drift import FAST_QUANTILE, Rounds, levels
from pomt_trt.core.statistics.estimate import Group
from pomt_trt.core.statistics.stats import MOST_DRIFT, QUICK_RESAMPLES, RESAMPLES, Location, block_length

LEAST_ROUNDS = 4  # undisturbed ones that a group needs
LEAST_SD = 0.0005  # relative: a clock with coarse ticks hides noise
BOOTSTRAP = 1.2  # times too large is the bootstrapped variance of a median of 8 to 60 normal values
UNSEEN_SD = 0.025  # relative: of a single round, which shows no noise


class GroupLogs(NamedTuple):
    """What one group says of its members, whose names are the keys."""

    logs: Dict[str, float]  # y[e]: the log of the latency, but for a constant that all members share
    variances: Dict[str, float]
    clean: bool = True  # False: it had too few undisturbed rounds


def group_logs(group: Group, disturbed: Sequence[bool] = (), resamples: int = RESAMPLES) -> GroupLogs:
    """y and its variance for each member that has a usable time.

    Args:
        disturbed: by round, whether other processes or the hypervisor took CPU time; missing values are False.
    Raises: UnstableMeasurement if no member has a usable time.
    """
    used = counted(group, disturbed)
    table = {name: _relative(name, rounds, used) for name, rounds in group.items()}
    table = {name: row for name, row in table.items() if len(row)}
    if not table:
        raise UnstableMeasurement(
            "none of {} rounds has a usable time. Check the clock, then profile again.".format(len(used.level))
        )
    rng = np.random.RandomState(0)
    logs = {name: float(np.median(row)) for name, row in table.items()}
    return GroupLogs(logs, {name: _variance(row, rng, resamples) for name, row in table.items()}, used.clean)


def quick(name: str, group: Group) -> Location:
    """exp(y) of one member, in the unit of the group's level; its interval only decides whether to go on.

    Raises: UnstableMeasurement if the member has no usable time.
    """
    found = group_logs(group, resamples=QUICK_RESAMPLES)
    if name not in found.logs:
        raise UnstableMeasurement("{} has no usable time. Check the clock, then profile again.".format(name))
    value, half = math.exp(found.logs[name]), 1.96 * math.sqrt(found.variances[name])
    return Location(value, value * math.exp(-half), value * math.exp(half))


class Counted(NamedTuple):
    """Which rounds of a group count."""

    rows: Dict[str, List[int]]  # by member; of one that settled while no round counted, all of its own
    level: np.ndarray  # level[r] of every round
    clean: bool

    def rounds(self, name: str, rounds: Rounds) -> List[Sequence[float]]:
        """The rounds of a member that count."""
        return [rounds[row] for row in self.rows[name]]


def counted(group: Group, disturbed: Sequence[bool] = ()) -> Counted:
    """The rounds that count.

    A round is also disturbed if the machine was slower by more than MOST_DRIFT than in its fast state: engines of
    different size then no longer slow down by one factor. Such rounds stay where less than a quarter would be left.

    Args:
        disturbed: by round; missing values are False.
    """
    level = levels(list(group.values()))
    count = len(level)
    quiet = ~np.array([*disturbed[:count], *[False] * (count - len(disturbed))], dtype=bool)
    clean = quiet.sum() >= max(1, min(LEAST_ROUNDS, count))
    usable = _near_fast(level, quiet) if clean else np.ones(count, dtype=bool)
    rows = {name: np.flatnonzero(usable[: len(rounds)]).tolist() for name, rounds in group.items()}
    return Counted({name: found or list(range(len(group[name]))) for name, found in rows.items()}, level, bool(clean))


def _near_fast(level: np.ndarray, quiet: np.ndarray) -> np.ndarray:
    fast = np.percentile(level[quiet], 100 * FAST_QUANTILE)
    near = quiet & (level - fast <= math.log1p(MOST_DRIFT))
    return near if near.sum() >= max(LEAST_ROUNDS, quiet.sum() / 4) else quiet


def _relative(name: str, rounds: Rounds, used: Counted) -> np.ndarray:
    """m[e, r] - level[r] over the rounds that count and in which the member has a usable time."""
    rows = [[time for time in burst if 0 < time < math.inf] for burst in used.rounds(name, rounds)]
    logs = np.array([math.log(statistics.median(row)) if row else math.nan for row in rows])
    logs = logs - used.level[used.rows[name]]
    return np.asarray(logs[np.isfinite(logs)])


def _variance(logs: np.ndarray, rng: np.random.RandomState, resamples: int) -> float:
    """Of the median. A bootstrap of b blocks has (b - 1) / b of the variance, and one of a median is too wide."""
    if len(logs) == 1:
        return UNSEEN_SD**2
    length = block_length(len(logs))
    blocks = -(-len(logs) // length)
    starts = rng.randint(len(logs), size=(resamples, blocks))
    drawn = (starts[:, :, None] + np.arange(length)).reshape(resamples, -1) % len(logs)
    spread = float(np.var(np.median(logs[drawn], axis=1)))
    return max(LEAST_SD**2, spread * blocks / max(1, blocks - 1) / BOOTSTRAP)
