"""Which rounds other programs disturbed, by counters that are made up."""

import pytest

from pomt_trt.device.board.board import Reading
from pomt_trt.device.timing.turns.round_watch import RoundWatch


def watch(*steps):
    """A watch of a machine of two cores, whose counters grow by these steps."""
    readings, at = [Reading(0, 0, 0, 0, 0, 0.0)], [0, 0, 0, 0, 0, 0.0]
    for step in steps:
        grown = dict({"cpu_ticks": 40, "busy_ticks": 20, "own_ticks": 20, "wall_s": 0.2}, **step)
        at = [value + grown.get(name, 0) for name, value in zip(Reading._fields, at)]
        readings.append(Reading(*at))
    return RoundWatch(iter(readings).__next__)


@pytest.mark.parametrize(
    "step, disturbed",
    [
        ({}, False),
        ({"busy_ticks": 38, "own_ticks": 20}, True),  # others 45 %, and nothing is left
        ({"busy_ticks": 38, "own_ticks": 35}, False),  # 7.5 %
        ({"busy_ticks": 28, "own_ticks": 20}, False),  # 20 %, but as much is left: they run on other cores
        ({"steal_ticks": 3}, True),
        ({"steal_ticks": 1}, False),  # 2.5 %, but one tick tells nothing
        ({"cpu_ticks": 10, "busy_ticks": 9, "own_ticks": 7}, False),  # others 20 %, but of two ticks
        ({"involuntary": 30}, True),
        ({"involuntary": 4, "wall_s": 0.02}, False),  # 200 a second, but four
    ],
)
def test_a_round_is_disturbed_by_what_takes_enough_time(step, disturbed):
    assert watch(step)() is disturbed


def test_each_round_is_judged_by_itself_and_remembered():
    looks = watch({}, {"busy_ticks": 40}, {})
    assert [looks(), looks(), looks()] == looks.disturbed == [False, True, False]
    assert looks.contention()["others"] == pytest.approx(20 / 120)


def test_a_clock_that_stands_still_disturbs_nothing():
    assert watch({"cpu_ticks": 0, "busy_ticks": 0, "own_ticks": 0, "wall_s": 0.0})() is False
