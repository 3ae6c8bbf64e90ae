"""Latencies relative to R = 0 from several groups, on a simulated machine whose truth is known."""

import math
import os

import numpy as np
import pytest

from pomt_trt.core.statistics.across_groups import DISTURBED_SD, PRIOR_SD, fit, quantile
from pomt_trt.core.statistics.within_group import GroupLogs
from tests.generators.machine import UNIT, Machine, sweep
from tests.suite import sampled

COUNTS = range(UNIT, UNIT - 60, -1)


def smooth(tokens):
    return 2 + 0.02 * tokens


def coverage(machine, seeds, counts=COUNTS):
    """Share of the intervals of the ratio to R = 0 that hold the truth."""
    inside = []
    for seed in seeds:
        compiled = sweep(list(counts), smooth, machine, seed)
        found = fit(compiled.groups, UNIT)
        for count in list(counts)[1:]:
            log, half = found.ratio(count)
            inside.append(abs(log - compiled.truth[count] + compiled.truth[UNIT]) <= half)
    return np.mean(inside)


def group(clean=True, noise=1e-8, **logs):
    return GroupLogs(logs, dict.fromkeys(logs, noise), clean)


MACHINES = {
    "quiet": Machine(),
    "locked": Machine(noise=0.004, engine_in_group=0.003, walk=0.002),
    "noisy": Machine(noise=0.04, engine_in_group=0.012),
    "frequency steps": Machine(walk=0.10),
    "a hog that the counters show, for the first third": Machine(hogged=(0.0, 0.34)),
    "a hog that the counters show, for the middle third": Machine(hogged=(0.34, 0.67)),
    "every tenth group off by 5 to 30 %": Machine(off=0.1),
}


@pytest.mark.parametrize("name", sampled(MACHINES, ["quiet", "a hog that the counters show, for the first third"]))
def test_intervals_hold_the_truth_as_often_as_they_say(name):
    assert 0.92 <= coverage(MACHINES[name], range(40)) <= 0.99


@pytest.mark.long
def test_intervals_of_many_compiles_hold_the_truth_in_93_to_97_of_100():
    compiles = int(os.environ.get("POMT_COMPILES", 350))  # the documents quote 2000
    shares = [coverage(machine, range(compiles // len(MACHINES))) for machine in MACHINES.values()]
    print(dict(zip(MACHINES, shares)), np.mean(shares))
    assert 0.93 <= np.mean(shares) <= 0.97, shares


def test_a_group_that_is_off_as_a_whole_moves_nothing():
    groups = [group(r=0.0, a=-0.1, b=-0.2), group(r=0.7, a=0.6, c=0.4), group(r=0.0, b=-0.2, c=-0.3)]
    found = fit(groups, "r")
    assert [found.ratio(name)[0] for name in "rabc"] == pytest.approx([0.0, -0.1, -0.2, -0.3])
    assert found.ratio("r") == (0.0, 0.0)


def test_a_disturbed_group_is_outvoted_by_clean_ones_and_alone_is_uncertain():
    groups = [group(False, r=0.0, a=-0.5, z=-0.5), group(r=0.0, a=-0.1, b=-0.2), group(r=0.0, a=-0.1, b=-0.2)]
    found = fit(groups, "r")
    assert found.ratio("a")[0] == pytest.approx(-0.1, abs=0.02) and found.ratio("a")[1] < 0.04
    assert found.ratio("z")[1] > DISTURBED_SD


def test_one_group_alone_has_the_noise_that_is_known_from_elsewhere():
    _, half = fit([group(r=0.0, a=-0.1)], "r").ratio("a")
    assert half == pytest.approx(quantile(8) * math.sqrt(2) * PRIOR_SD, rel=0.01)


def test_an_engine_timed_in_more_groups_is_known_better():
    groups = [group(r=0.0, a=-0.1, b=-0.2), group(r=0.0, a=-0.1)]
    found = fit(groups, "r")
    assert found.ratio("a")[1] < found.ratio("b")[1]


def test_of_two_groups_that_disagree_the_one_that_others_support_is_believed():
    supported = group(r=0.0, a=-0.1, b=-0.2, c=-0.3, d=-0.4)
    off = group(r=0.0, d=-0.5, e=-0.6)
    found = fit([supported, group(r=0.0, a=-0.1, b=-0.2, c=-0.3), off], "r")
    assert found.ratio("d")[0] == pytest.approx(-0.4, abs=0.01)
    assert found.group_sds[2] > 3 * found.group_sds[0] and found.ratio("e")[1] > 0.05


def test_a_noisy_member_says_little_of_its_groups_error():
    quiet = [group(r=0.0, a=-0.1, b=-0.2), group(r=0.0, a=-0.1, b=-0.2)]
    noisy = GroupLogs({"r": 0.0, "a": -0.1, "b": -0.2, "c": -0.9}, {"r": 1e-6, "a": 1e-6, "b": 1e-6, "c": 0.25})
    other = GroupLogs({"r": 0.0, "c": -0.3}, {"r": 1e-6, "c": 1e-6})
    found = fit([*quiet, noisy, other], "r")
    assert max(found.group_sds) < 0.006 and found.ratio("c")[0] == pytest.approx(-0.3, abs=0.01)


def test_engines_that_agree_make_the_noise_between_groups_smaller():
    rng = np.random.RandomState(0)
    names = "abcdefgh"

    def groups(sd, number=12):
        return [group(r=0.0, **{name: -0.1 + sd * rng.randn() for name in names}) for _ in range(number)]

    assert np.median(fit(groups(0.001), "r").group_sds) < 0.004 < np.median(fit(groups(0.01), "r").group_sds)


def test_latencies_without_rounds_count_as_known():
    found = fit([group(r=0.0, a=-0.1)], "r", {"old": (-0.3, 0.01**2)})
    assert found.ratio("old") == (pytest.approx(-0.3), pytest.approx(quantile(8) * 0.01, rel=0.01))
    assert found.location("old", 10.0).value == pytest.approx(10 * math.exp(-0.3))


@pytest.mark.parametrize("freedom, expected", [(4, 2.776), (8, 2.306), (16, 2.120), (1e9, 1.960)])
def test_quantiles_are_those_of_students_t(freedom, expected):
    assert quantile(freedom) == pytest.approx(expected, rel=0.005)
