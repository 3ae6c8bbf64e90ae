"""The two estimates of a group's latencies, and what a group without references is compared with."""

import pytest

from pomt_trt.core.statistics.estimate import Absolute, Relative

SLOW = 1.2  # times slower than when the reference had its latency
GROUP = {name: [[SLOW * ms] * 2] * 20 for name, ms in (("r000", 5.0), ("a", 4.0))}


def test_an_absolute_estimate_is_the_location_of_the_members_own_times():
    found = Absolute().of("a", GROUP)
    assert found.latency == found.own and found.scale == 1.0
    assert found.latency.value == pytest.approx(SLOW * 4) and found.drift == (1.0,) * 20


def test_a_relative_estimate_is_scaled_by_the_references():
    found = Relative({"r000": 5.0}).of("a", GROUP)
    assert found.latency.value == pytest.approx(4) and found.own.value == pytest.approx(SLOW * 4)
    assert found.scale == pytest.approx(1 / SLOW)


def test_without_references_the_first_member_is_absolute_and_the_others_are_relative_to_it():
    estimate = Relative()
    assert estimate.of("r000", GROUP) == Absolute().of("r000", GROUP)
    assert estimate.of("a", GROUP).latency.value == pytest.approx(SLOW * 4)


def test_a_quick_location_without_references_has_the_first_members_latency_as_its_unit():
    level = [1 + 0.01 * (number * 7 % 5) for number in range(20)]
    noisy = {"r000": [[5.0]] * 20, "a": [[4.0 * each, 4.0] for each in level]}
    quick, relative = Relative().quick("a", noisy), Relative({"r000": 1.0}).quick("a", noisy)
    assert quick == relative and 0 < quick.relative_width < 0.05


def test_a_member_that_is_settled_has_the_drift_of_its_own_rounds():
    group = dict(GROUP, a=GROUP["a"][:8])
    assert len(Relative({"r000": 5.0}).of("a", group).drift) == 8
