"""Replay: the adaptive search over a recorded curve, beside the exhaustive choice."""

import json
import math
import os

import numpy as np
import pytest

from pomt_trt.core.choice.rules import Goal
from pomt_trt.core.errors import ConstraintUnmet
from pomt_trt.core.search.curve import curve_from_json, read_curve
from pomt_trt.core.search.replay import Recorded, replay, result_json, result_lines
from tests import paths

FIELDS = {"id", "tokens_before", "tokens_after", "removed", "latency_ms", "latency_ci_ms", "accuracy", "accuracy_ci"}


def recorded(samples=30, noise=0.004, edges=(128, 96), lowest=60, seed=0, counts=None):
    """A staircase from 197 tokens down, as a parsed CURVE.json."""
    rng = np.random.RandomState(seed)
    points = []
    for tokens in counts or range(197, lowest, -1):
        level = 8.0 * 0.85 ** sum(tokens <= edge for edge in edges) + 0.004 * tokens
        runs = (level * (1 + noise * rng.randn(samples))).tolist()
        points.append({"tokens": tokens, "latency_ms": runs, "accuracy": 0.8 - 0.05 * (1 - tokens / 197.0) ** 2})
    return {"batch_size": 1, "points": points}


@pytest.mark.parametrize("rule", ["step", "utility"])
def test_finds_the_exhaustive_choice_with_few_builds(rule):
    result = replay(curve_from_json(recorded()), Goal(rule, max_accuracy_drop=0.01))
    assert result.builds <= 0.2 * result.counts
    assert abs(result.regret) < 0.01
    if rule == "step":
        assert result.selection.chosen.id == result.exhaustive.chosen.id == "r069"


def test_json_is_as_documented():
    result = result_json(replay(curve_from_json(recorded()), Goal("step")))
    assert isinstance(result["builds"], int) and isinstance(result["regret"], float)
    assert FIELDS <= set(result["chosen"]) and FIELDS <= set(result["exhaustive"])
    json.dumps(result, allow_nan=False)


def test_lines_say_builds_choice_and_regret():
    lines = "\n".join(result_lines(replay(curve_from_json(recorded()), Goal("step"), max_builds=5)))
    assert "5 of 137" in lines and "regret" in lines and "budget" in lines and "could still win" in lines


def test_serves_no_more_samples_than_the_stopping_rule_asks_for():
    curve = curve_from_json(recorded(samples=400, noise=0.002, lowest=190))
    machine = Recorded(curve)
    (first,) = machine.serve("build", (197,))
    assert machine.served[197] < 400 and first.more
    (again,) = machine.serve("time", (197,))
    assert machine.served[197] == 400 and not again.more


def test_failed_points_are_searched_around():
    value = recorded()
    for point in value["points"]:
        if point["tokens"] in (128, 150, 61):
            point["latency_ms"] = []
    result = replay(curve_from_json(value), Goal("step", max_accuracy_drop=0.02))
    assert result.selection.chosen.tokens_after not in (128, 150, 61)


@pytest.mark.parametrize(
    "value",
    [
        recorded(counts=[197]),
        recorded(counts=[197, 196]),
        recorded(samples=1),
        recorded(noise=0.0, edges=()),
        recorded(counts=list(range(60, 198, 4)) + [197]),
    ],
    ids=["one point", "two points", "one sample each", "no noise", "gaps, unsorted"],
)
@pytest.mark.parametrize("rule", ["step", "utility", "fastest-within", "best-within"])
def test_odd_curves_are_replayed(value, rule):
    result = replay(curve_from_json(value), Goal(rule))
    assert 1 <= result.builds <= result.counts
    assert math.isfinite(result.regret)


def test_all_equal_chooses_r0():
    value = recorded()
    for point in value["points"]:
        point["latency_ms"], point["accuracy"] = [5.0] * 10, 0.8
    result = replay(curve_from_json(value), Goal("step"))
    assert result.selection.chosen.removed == result.exhaustive.chosen.removed == 0
    assert result.selection.steps == ()


def test_unmet_latency_is_an_error():
    with pytest.raises(ConstraintUnmet):
        replay(curve_from_json(recorded()), Goal("utility", max_latency_ms=0.1))


CURVES = os.path.join(paths.TESTS, "data", "curves")


RECORDED = sorted(name[: -len(".json.gz")] for name in os.listdir(CURVES) if name.endswith(".json.gz"))
RECORDED.remove("xeon6_digits_contended")  # has steps that are not there


@pytest.mark.parametrize("name", RECORDED)
@pytest.mark.parametrize("rule, drop", [("utility", None), ("utility", 0.02), ("fastest-within", 0.05), ("step", 0.05)])
def test_on_recorded_real_curves_little_is_built_and_next_to_nothing_lost(name, rule, drop):
    result = replay(read_curve(os.path.join(CURVES, name + ".json.gz")), Goal(rule, max_accuracy_drop=drop))
    assert result.counts >= 148 and result.builds <= 0.35 * result.counts
    assert result.regret < 0.03


ON_DEMAND = 0.008  # slack of accuracies on 450 images


@pytest.mark.parametrize("rule", ["step", "utility", "fastest-within"])
@pytest.mark.parametrize("error, slack", [(0.0, None), (0.02, None), (0.02, ON_DEMAND)])
@pytest.mark.parametrize("name", ["xeon6_digits_quiet", "xeon6_digits_contended"])
def test_the_valley_at_144_tokens_is_found_with_few_builds_though_145_to_162_lose_too_much(name, rule, error, slack):
    curve = read_curve(os.path.join(CURVES, name + ".json.gz"))
    accuracy = {point.tokens: point.accuracy for point in curve.points}
    assert all(accuracy[197] - accuracy[tokens] > 0.01 for tokens in range(145, 163))
    result = replay(curve, Goal(rule, max_accuracy_drop=0.01), error=error, accuracy_slack=slack)
    assert result.selection.chosen.tokens_after == result.exhaustive.chosen.tokens_after == 144
    assert result.builds <= 0.15 * result.counts


def test_an_error_that_a_group_shares_widens_all_intervals_but_that_of_r0():
    curve = curve_from_json(recorded(samples=12, noise=0.001))
    (zero, other), (_, wide) = (Recorded(curve, e).serve("build", (197, 150)) for e in (0.0, 0.02))
    assert wide.latency_ms == other.latency_ms
    assert wide.latency_ci_ms[1] >= 1.02 * wide.latency_ms > 1.01 * wide.latency_ms > other.latency_ci_ms[1]
    assert Recorded(curve, 0.02).serve("build", (197,)) == [zero]
