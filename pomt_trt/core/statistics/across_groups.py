"""Across groups: latencies relative to R = 0, from all groups of a device together. The model of measurement is here.

An engine is timed in one or several groups; R = 0 is in all of them, and a few others are in several. With y[e, g] and
its variance v[e, g] of core/statistics/within_group,

    y[e, g] = a[e] + s[g] + c[e, g],    c[e, g] ~ N(0, tau[g]^2),    a[R = 0] = 0

a[e] is the log of the latency of e relative to R = 0. s[g] is the speed of the machine in group g. c[e, g] is what
belongs to this engine in this group: where its memory lies, and a disturbance that slows engines of different size by
different factors. Without c the noise of a group would pass for exact, and a group that is off as a whole for a step.

a and s are fitted by least squares with the weights 1 / (v + tau[g]^2). tau[g] comes from the residuals of engines that
several groups share, with a scaled inverse chi-square prior of FREEDOM degrees around a value common to all groups:

    S[g] = sum over e of w (residual^2 - v (1 - leverage)),    n[g] = sum over e of w (1 - leverage)
    w = (tau[g]^2 / (tau[g]^2 + v))^2, so that a noisy member says little
    tau[g]^2 = (FREEDOM tau^2 + S[g]) / (FREEDOM + n[g]), but at least tau^2
    tau^2 = (FREEDOM PRIOR_SD^2 + sum over g of S[g]) / (FREEDOM + sum over g of n[g])

Why a prior: a group shares four engines with the others, which alone tell little. Why at least tau: a group whose few
shared engines agree by chance would outweigh all others. The last sum is over the clean groups
that are alike, S[g] <= OFF n[g] max(tau, PRIOR_SD)^2: single groups that are far off say nothing of the others.
"""

import math
from typing import Dict, List, Mapping, NamedTuple, Sequence, Tuple

import numpy as np

from pomt_trt.core.statistics.stats import Location
from pomt_trt.core.statistics.within_group import GroupLogs

FREEDOM = 4.0  # degrees of freedom that tau^2 has in tau[g]^2, and PRIOR_SD^2 in tau^2
PRIOR_SD = 0.005  # relative: c of digits in ONNX Runtime was 0.3 to 0.5 % in clean groups of new processes
DISTURBED_SD = 0.10  # the same for groups that are not clean: nothing is known of them
OFF = 9.0  # times the common variance
LEAST_SD = 0.001  # of tau
ITERATIONS = 12  # the estimates no longer change in the third digit


class Fit(NamedTuple):
    """a[e] of every engine with its covariance. Keys are the names of the members."""

    place: Dict[str, int]  # name -> row of `logs` and `covariance`
    logs: np.ndarray  # a[e]
    covariance: np.ndarray
    group_sds: Tuple[float, ...]  # tau[g], one a group
    freedom: float  # degrees of freedom of the intervals

    def ratio(self, name: str) -> Tuple[float, float]:
        """a[e], and the half-width of its 95 % interval."""
        at = self.place[name]
        return float(self.logs[at]), self._half(self.covariance[at, at])

    def location(self, name: str, unit_ms: float) -> Location:
        """The latency with its 95 % interval, where R = 0 takes unit_ms. Its error is that of the ratio alone."""
        log, half = self.ratio(name)
        return Location(*(unit_ms * math.exp(log + error) for error in (0.0, -half, half)))

    def variance_within(self, variance: float, sd: float) -> float:
        """Of y[e, g] - s[g] with c[e, g]; with it a normal interval is as wide as Student's."""
        return (variance + sd**2) * (quantile(self.freedom) / 1.959964) ** 2

    def _half(self, variance: float) -> float:
        return quantile(self.freedom) * math.sqrt(max(0.0, variance))


class _Table(NamedTuple):
    """The observations y[e, g], one a row. `known` ones belong to no group."""

    engine: np.ndarray  # row of a[e]
    group: np.ndarray  # number of the group; -1: known
    value: np.ndarray
    variance: np.ndarray


def fit(groups: Sequence[GroupLogs], unit: str, known: Mapping[str, Tuple[float, float]] = {}) -> Fit:
    """The model of all groups.

    Args:
        unit: the name of R = 0, a member of every group.
        known: name -> (a[e], its variance) of engines whose rounds are no longer there.
    """
    names = dict.fromkeys([unit, *known], None)
    for group in groups:
        names.update(dict.fromkeys(group.logs, None))
    place = {name: i for i, name in enumerate(names)}
    table, clean = _table(groups, place, known), np.array([group.clean for group in groups], dtype=bool)
    common, degrees = PRIOR_SD**2, 0.0
    squares = np.where(clean, common, DISTURBED_SD**2)
    for _ in range(ITERATIONS):
        logs, covariance, left, leverage = _solve(table, squares, len(place))
        surplus, shares = _by_group(table, squares, left, leverage)
        squares = (FREEDOM * np.where(clean, common, DISTURBED_SD**2) + surplus) / (FREEDOM + shares)
        squares = np.maximum(common, squares)
        alike = clean & (surplus <= OFF * max(common, PRIOR_SD**2) * shares)
        degrees = float(shares[alike].sum())
        common = max(LEAST_SD**2, (FREEDOM * PRIOR_SD**2 + surplus[alike].sum()) / (FREEDOM + degrees))
    freedom = min(4 * FREEDOM, 2 * FREEDOM + degrees)
    return Fit(place, logs, covariance, tuple(np.sqrt(squares).tolist()), freedom)


def _table(groups: Sequence[GroupLogs], place: Dict[str, int], known: Mapping[str, Tuple[float, float]]) -> _Table:
    rows: List[Tuple[int, int, float, float]] = []
    rows += [(place[name], -1, log, variance) for name, (log, variance) in known.items()]
    for number, group in enumerate(groups):
        rows += [(place[name], number, log, group.variances[name]) for name, log in group.logs.items()]
    return _Table(*(np.array(column) for column in zip(*rows)))


def _solve(table: _Table, squares: np.ndarray, engines: int) -> Tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """a[e], its covariance, the residuals and the leverages; the unknowns are a[1:] and s."""
    in_group = table.group >= 0
    design = np.zeros((len(table.value), engines + len(squares)))
    design[np.arange(len(design)), table.engine] = 1.0
    design[np.flatnonzero(in_group), engines + table.group[in_group]] = 1.0
    design = design[:, 1:]
    weights = 1 / (table.variance + np.where(in_group, squares[table.group], 0.0))
    inverse = np.linalg.inv((design.T * weights) @ design)
    solution = inverse @ (design.T @ (weights * table.value))
    leverage = weights * np.einsum("ij,jk,ik->i", design, inverse, design)
    logs, covariance = np.zeros(engines), np.zeros((engines, engines))
    logs[1:], covariance[1:, 1:] = solution[: engines - 1], inverse[: engines - 1, : engines - 1]
    return logs, covariance, table.value - design @ solution, leverage


def _by_group(
    table: _Table, squares: np.ndarray, left: np.ndarray, leverage: np.ndarray
) -> Tuple[np.ndarray, np.ndarray]:
    """S[g] and n[g]."""
    kept, own = table.group >= 0, squares[table.group]
    told = (own / (own + table.variance)) ** 2
    excess, shares = told * (left**2 - table.variance * (1 - leverage)), told * (1 - leverage)

    def summed(values: np.ndarray) -> np.ndarray:
        return np.asarray(np.bincount(table.group[kept], weights=values[kept], minlength=len(squares)))

    return summed(excess), summed(shares)


def quantile(freedom: float) -> float:
    """The 97.5th percentile of Student's t, to 0.5 % from 4 degrees of freedom on.

    Source: Cornish and Fisher's expansion, Abramowitz and Stegun 26.7.5.
    """
    z = 1.959964
    g1, g2 = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    g3 = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + g1 / freedom + g2 / freedom**2 + g3 / freedom**3
