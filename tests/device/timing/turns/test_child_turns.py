"""Children that take turns: rounds, waiting until one sleeps, ratios and doubts."""

import sys

import pytest

from pomt_trt.core import child_process
from pomt_trt.core.statistics.stats import Location, StoppingRule
from pomt_trt.device.timing.turns import child_turns


def timing(name, low, value, high, doubt=""):
    return child_turns.Timing(name, value, (low, high), value, value, 0.0, ((value,),), "settled", doubt, {})


def test_a_ratio_carries_both_intervals_and_any_doubt():
    found = child_turns.ratio(timing("slow", 19.8, 20.0, 20.4), timing("fast", 9.9, 10.0, 10.1))
    assert found.value == 2.0 and found.doubt == ""
    assert found.ci == pytest.approx((2.0 * 0.9858, 2.0 * 1.0224), abs=1e-3)
    assert child_turns.ratio(timing("a", 1, 1, 1), timing("b", 1, 1, 1, "too wide")).doubt == "too wide"
    assert child_turns.ratio(timing("a", 0, 1, 2), timing("b", 0, 1, 2)).ci[0] >= 0


def test_what_is_noisy_or_beside_a_busy_neighbour_is_not_quotable():
    calm, found = {"others": 0.02, "steal": 0.0}, Location(10.0, 9.8, 10.2)
    assert child_turns._doubt("eager", found, calm) == ""
    assert child_turns._doubt("eager", found._replace(low=9.1, high=10.1), calm) == "interval of eager is 10 %"
    assert "other processes used 38 % of the CPU" in child_turns._doubt("eager", found, dict(calm, others=0.38))
    assert "the hypervisor took 9 % of the CPU" in child_turns._doubt("eager", found, dict(calm, steal=0.09))


def test_members_begin_rounds_in_turn_and_drift_is_what_they_share():
    order, speed = [], [1.0]

    def member(name, level_ms):
        def burst(runs):
            order.append(name)
            speed[0] *= 1.0005
            return [level_ms * speed[0]] * runs

        return child_turns.Member(name, burst)

    rule = StoppingRule(max_s=30.0)
    timings, contention = child_turns.time_in_turn([member("a", 30.0), member("b", 60.0)], rule)
    assert order[2:8] == ["a", "b", "b", "a", "a", "b"] and set(contention) == {"steal", "others"}
    assert timings["b"].latency_ms / timings["a"].latency_ms == pytest.approx(2.0, rel=0.002)
    assert timings["a"].stopped == "settled" and timings["a"].rest_ms < 50


SPINNING = """
import os, sys, threading
from pomt_trt.core.timing_protocol import Prepared, serve

def spin():
    while not os.path.exists(sys.argv[1]):
        pass

def run():  # one thread at a time: of two that want Python's lock there are moments in which neither is awake
    if threading.active_count() == 1:
        threading.Thread(target=spin).start()

serve(lambda: Prepared(run, {}))
"""


def test_waits_until_the_one_before_sleeps(tmp_path):
    enough, looks = tmp_path / "enough", []

    def clock():
        looks.append(enough.exists())
        if len(looks) == 20:
            enough.touch()
        return len(looks) * 1e-6

    command = [sys.executable, "-c", SPINNING, str(enough)]
    with child_process.Child("spinning", command, child_process.environment("default")) as child:
        child.burst(1)
        member = child_turns.Member("spinning", child.burst, child.pid, clock=clock)
        member.rest()
        member.rest()
    waited_s, slept_already_s = member.rests_s
    assert waited_s >= 19e-6 and slept_already_s == pytest.approx(2e-6)  # two looks at the clock
