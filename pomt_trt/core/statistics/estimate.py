"""The latency of one member of a group by its own times, for members that are compared with one another alone.

    L[e] = location of T[e, r] / drift[r]        (core/statistics/stats and drift)

Engines of a device are compared across groups instead, see core/statistics/across_groups.
"""

from typing import Mapping, NamedTuple, Tuple

from pomt_trt.core.statistics import stats
from pomt_trt.core.statistics.drift import Rounds, slow_drift
from pomt_trt.core.statistics.stats import QUICK_RESAMPLES, Location

Group = Mapping[str, Rounds]  # member's name -> its rounds from the first one on; those who settled have fewer


class Estimate(NamedTuple):
    """What the rounds of a group say of one member."""

    latency: Location
    drift: Tuple[float, ...]  # of its rounds


def estimate(name: str, group: Group, resamples: int = stats.RESAMPLES) -> Estimate:
    """The estimate of one member. Raises: UnstableMeasurement if no sample of it is usable."""
    rounds = group[name]
    drift = slow_drift(list(group.values()))[: len(rounds)]
    return Estimate(stats.locate(rounds, drift, resamples=resamples), drift)


def quick(name: str, group: Group) -> Location:
    """A location whose interval only decides whether to go on. Raises: as `estimate`."""
    return estimate(name, group, QUICK_RESAMPLES).latency
