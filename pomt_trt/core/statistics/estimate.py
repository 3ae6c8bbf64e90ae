"""The estimate: what the rounds of a group say of the latency of one member. The model of measurement stands here.

A member is an engine or a process that takes part in the rounds; a group is all of them. There are two estimators:

    absolute   L[e] = location of T[e, r] / drift[r]                    (core/statistics/stats and drift)
    relative   L[e] = exp(own[e] - scale), the scale from references    (core/statistics/reference_ratio)

Why two: the first group of a device has no references, and members that are compared with one another alone need none.
"""

from typing import Mapping, NamedTuple, Optional, Tuple

from pomt_trt.core.statistics import stats
from pomt_trt.core.statistics.drift import Rounds, slow_drift
from pomt_trt.core.statistics.reference_ratio import Reference, locate_by_references
from pomt_trt.core.statistics.stats import QUICK_RESAMPLES, Location

Group = Mapping[str, Rounds]  # member's name -> its rounds from the first one on, references first


class Estimate(NamedTuple):
    """What the rounds say of one member."""

    latency: Location
    own: Location  # of its times over drift, whatever the references say
    drift: Tuple[float, ...]  # of its rounds

    @property
    def scale(self) -> float:
        """latency over own: by how much these rounds must be scaled to compare with those of the references."""
        return self.latency.value / self.own.value


class Absolute:
    """Estimates every member by its own times."""

    def quick(self, name: str, group: Group) -> Location:
        """A location whose interval only decides whether to go on. Raises: as `of`."""
        return _absolute(name, group, QUICK_RESAMPLES).own

    def of(self, name: str, group: Group) -> Estimate:
        """The estimate of one member. Raises: UnstableMeasurement if no sample of it is usable."""
        return _absolute(name, group)


class Relative:
    """Estimates every member relative to references; in a group without references relative to its first member."""

    def __init__(self, references: Optional[Mapping[str, float]] = None) -> None:
        """
        Args:
            references: name -> known latency, in the unit of the rounds.
        """
        self._references = dict(references or {})

    def quick(self, name: str, group: Group) -> Location:
        """A location whose interval only decides whether to go on. Raises: as `of`.

        Relative to the first member, its unit is that member's latency: its relative width is the same.
        """
        first = next(iter(group))
        if not self._references and name == first:
            return Absolute().quick(name, group)
        return _relative(name, group, self._references or {first: 1.0}, QUICK_RESAMPLES)

    def of(self, name: str, group: Group) -> Estimate:
        """The estimate of one member. Raises: UnstableMeasurement if no sample, or no common round, is usable."""
        first, own = next(iter(group)), _absolute(name, group)
        if not self._references and name == first:
            return own
        references = self._references or {first: _absolute(first, group, QUICK_RESAMPLES).own.value}
        return own._replace(latency=_relative(name, group, references, stats.RESAMPLES))


def _absolute(name: str, group: Group, resamples: int = stats.RESAMPLES) -> Estimate:
    rounds = group[name]
    drift = slow_drift(list(group.values()))[: len(rounds)]
    own = stats.locate(rounds, drift, resamples=resamples)
    return Estimate(own, own, drift)


def _relative(name: str, group: Group, references: Mapping[str, float], resamples: int) -> Location:
    beside = [Reference(group[reference], latency) for reference, latency in references.items()]
    return locate_by_references(group[name], beside, list(group.values()), resamples)
