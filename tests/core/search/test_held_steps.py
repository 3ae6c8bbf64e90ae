"""Steps that hold within a group: false ones at the ends of groups that are off, and true ones beside them."""

import math

import pytest

from pomt_trt.core.search.held_steps import held_steps, sides, unproved_steps
from pomt_trt.core.search.search_state import Point
from pomt_trt.core.search.steps import significant_steps
from pomt_trt.core.statistics.across_groups import fit
from tests.generators.machine import UNIT, Machine, sweep

COUNTS = list(range(UNIT, UNIT - 90, -1))


def stepped(drop, edge=150):
    return lambda tokens: (2 + 0.015 * tokens) * (1 - drop if tokens <= edge else 1)


def measured(compiled):
    """Points of the curve and clean groups, as the session has them."""
    found = fit(compiled.groups, UNIT)
    points = {}
    for count in compiled.truth:
        at = found.location(count, 10.0)
        points[count] = Point(count, at.value, (at.low, at.high), (at.value,))
    clean = [
        {t: (log, found.variance_within(group.variances[t], sd)) for t, log in group.logs.items() if t != UNIT}
        for group, sd in zip(compiled.groups, found.group_sds)
        if group.clean
    ]
    return points, clean


def edges(steps):
    return [step.edge_tokens for step in steps]


def off_from(count, by):
    """A smooth curve whose counts below `count` were all timed in groups that are off by a factor."""
    points = {t: (2 + 0.015 * t) * (by if t < count else 1) for t in COUNTS}
    return {t: Point(t, ms, (0.997 * ms, 1.003 * ms), (ms,)) for t, ms in points.items()}


def beside(points, *counts):
    """A clean group of these counts, without the error of the curve."""
    return {t: (math.log(2 + 0.015 * t), 0.004**2) for t in counts}


def test_a_step_that_no_group_holds_is_found_and_not_reported():
    points = off_from(150, 0.8)
    assert edges(significant_steps(points, UNIT)) == [149]
    within = [beside(points, 170, 160, 150), beside(points, 149, 140, 130)]
    assert held_steps(points, UNIT, within) == () and edges(unproved_steps(points, UNIT, within)) == [149]


def test_a_group_with_both_sides_shows_that_there_is_none():
    points = off_from(150, 0.8)
    across = [beside(points, 152, 151, 150, 149, 148, 147)]
    assert held_steps(points, UNIT, across) == () == unproved_steps(points, UNIT, across)


def test_a_recorded_curve_has_no_groups_in_which_steps_could_hold():
    assert edges(held_steps(off_from(150, 0.8), UNIT, None)) == [149]


@pytest.mark.parametrize("drop", [0.05, 0.08])
def test_a_step_of_the_truth_holds_in_the_group_that_has_both_sides(drop):
    found = [edges(held_steps(*_with(measured(sweep(COUNTS, stepped(drop), Machine(), seed))))) for seed in range(10)]
    assert sum(150 in each for each in found) >= 9, found


@pytest.mark.parametrize(
    "machine",
    [Machine(), Machine(hogged=(0.0, 0.4)), Machine(off=0.2)],
    ids=["quiet", "a hog for the first part", "every fifth group off"],
)
def test_a_smooth_curve_has_no_step_whatever_the_machine_does(machine):
    false = [bool(held_steps(*_with(measured(sweep(COUNTS, stepped(0), machine, seed))))) for seed in range(25)]
    assert sum(false) == 0


def _with(parts):
    points, groups = parts
    return points, UNIT, groups


def test_sides_are_the_nearest_counts_and_of_a_valley_its_neighbour_alone():
    (step,) = significant_steps(off_from(150, 0.8), UNIT)
    assert sides(step, COUNTS) == ([150, 151, 152], [149, 148, 147])
    assert sides(step._replace(valley=True), COUNTS) == ([150], [149])


def test_a_curve_of_one_count_has_no_step():
    assert held_steps({UNIT: Point(UNIT, 3.0, (2.9, 3.1), (3.0,))}, UNIT, []) == ()
