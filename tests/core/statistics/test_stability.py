"""What a profile is called, and why."""

import pytest

from pomt_trt.core.statistics.stability import Bounds, verdict


@pytest.mark.parametrize(
    "word, clean, seen",
    [
        ("stable", True, {}),
        ("stable", True, {"over_current": {}, "clock_ratio": 1.0}),
        ("throttled", True, {"clock_ratio": 0.7}),
        ("throttled", False, {"over_current": {"oc3": 1}}),
        ("contended", False, {"clock_ratio": None}),
    ],
)
def test_a_verdict_names_the_cause(word, clean, seen):
    assert verdict(0.01, clean, seen) == word


def test_an_interval_that_is_too_wide_is_contended():
    widest = Bounds().relative_width
    assert (verdict(0.99 * widest), verdict(1.01 * widest)) == ("stable", "contended")
