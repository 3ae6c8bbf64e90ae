"""The latency of one member of a group by its own times."""

import pytest

from pomt_trt.core.statistics.estimate import estimate, quick

GROUP = {name: [[ms] * 2] * 20 for name, ms in (("r000", 6.0), ("a", 4.8))}


def test_an_estimate_is_the_location_of_the_members_own_times():
    found = estimate("a", GROUP)
    assert found.latency.value == quick("a", GROUP).value == pytest.approx(4.8) and found.drift == (1.0,) * 20


def test_a_member_that_is_settled_has_the_drift_of_its_own_rounds():
    assert len(estimate("a", dict(GROUP, a=GROUP["a"][:8])).drift) == 8
