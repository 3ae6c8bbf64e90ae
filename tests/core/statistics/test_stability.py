"""What a profile is called, and why."""

import pytest

from pomt_trt.core.statistics.stability import verdict


@pytest.mark.parametrize(
    "word, seen",
    [
        ("stable", {}),
        ("throttled", {"clock_ratio": 0.7, "steal": 0.5}),
        ("throttled", {"over_current": 1, "steal": 0.5}),
        ("stable", {"over_current": 0}),
        ("contended", {"steal": 0.1}),
        ("contended", {"involuntary_per_s": 200.0}),
        ("contended", {"tail": 0.4}),
        ("stable", {"steal": 0.0, "involuntary_per_s": 3.0, "tail": 0.02, "clock_ratio": 1.0}),
    ],
)
def test_verdict_names_the_cause(word, seen):
    assert verdict(0.01, 0.01, seen) == word


def test_verdict_of_drift_and_of_a_wide_interval():
    assert verdict(0.01, 0.2) == "drifting"
    assert verdict(0.2, 0.0) == "contended"
