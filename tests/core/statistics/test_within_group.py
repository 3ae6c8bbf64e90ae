"""What one group says of its members, on made-up rounds."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomt_trt.core.errors import UnstableMeasurement
from pomt_trt.core.statistics.within_group import LEAST_ROUNDS, UNSEEN_SD, counted, group_logs, quick

LEVELS = {"r000": 5.0, "a": 4.0, "b": 3.0}


def rounds_of(slowness, noise=0.005, seed=0):
    """Three members; in each round the machine is `slowness` times slower."""
    rng = np.random.RandomState(seed)
    shape = (len(slowness), 3)
    slow = np.asarray(slowness)[:, None]
    return {name: (ms * slow * (1 + noise * rng.randn(*shape))).tolist() for name, ms in LEVELS.items()}


def counting(group, disturbed=(), name="a"):
    return counted(group, disturbed).rows[name]


def log_ratio(found, one="a", other="r000"):
    return found.logs[one] - found.logs[other]


@given(st.lists(st.floats(0.5, 2.0), min_size=12, max_size=30))
@settings(max_examples=30, deadline=None)
def test_changes_of_speed_that_all_share_cancel(slowness):
    assert log_ratio(group_logs(rounds_of(slowness))) == pytest.approx(math.log(4 / 5), abs=0.01)


def test_the_variance_is_that_of_the_value_or_somewhat_larger():
    values, variances = [], []
    for seed in range(120):
        found = group_logs(rounds_of([1.0] * 20, noise=0.02, seed=seed))
        values.append(log_ratio(found))
        variances.append(found.variances["a"] + found.variances["r000"])
    assert 0.8 < np.mean(variances) / np.var(values) < 2


def test_disturbed_rounds_do_not_count():
    group = rounds_of([1.0] * 20)
    group["a"][:10] = [[40.0] * 3] * 10
    found = group_logs(group, [True] * 10 + [False] * 10)
    assert found.clean and log_ratio(found) == pytest.approx(math.log(4 / 5), abs=0.01)
    assert counting(group, [True] * 10) == list(range(10, 20))


def test_a_group_with_too_few_undisturbed_rounds_is_not_clean_and_uses_all():
    group, quiet = rounds_of([1.0] * 20), LEAST_ROUNDS - 1
    found = group_logs(group, [True] * (20 - quiet) + [False] * quiet)
    assert not found.clean and counting(group, [True] * 20) == list(range(20))


def test_a_round_in_which_the_machine_was_far_slower_does_not_count():
    assert counting(rounds_of([1.0] * 10 + [1.6] * 4 + [1.1] * 6)) == [*range(10), *range(14, 20)]


def test_a_machine_that_is_mostly_slow_keeps_its_slow_rounds():
    assert len(counting(rounds_of([1.0] + [2.0] * 19))) > 10


def test_a_member_that_settled_while_no_round_counted_is_told_by_those():
    group = rounds_of([2.0] * 8 + [1.0] * 12)
    group["a"] = group["a"][:8]
    assert counting(group, name="r000") == list(range(8, 20)) and counting(group) == list(range(8))
    assert log_ratio(group_logs(group)) == pytest.approx(math.log(4 / 5), abs=0.01)


def test_a_member_that_settled_early_is_told_by_its_own_rounds():
    group = rounds_of([1.0] * 10 + [1.3] * 10)
    group["a"] = group["a"][:10]
    assert log_ratio(group_logs(group)) == pytest.approx(math.log(4 / 5), abs=0.01)


def test_one_round_alone_shows_no_noise():
    assert group_logs({"r000": [[5.0, 5.0]]}).variances == {"r000": UNSEEN_SD**2}


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_times_that_are_none_are_left_out_and_a_member_of_nothing_else_is_missing(bad):
    group = dict(rounds_of([1.0] * 12), broken=[[bad, bad]] * 12)
    group["a"][3] = [bad, bad, bad]
    found = group_logs(group)
    assert set(found.logs) == set(LEVELS) and log_ratio(found) == pytest.approx(math.log(4 / 5), abs=0.01)
    with pytest.raises(UnstableMeasurement, match="broken has no usable time"):
        quick("broken", group)


def test_without_any_usable_time_the_clock_is_blamed():
    with pytest.raises(UnstableMeasurement, match="none of 2 rounds has a usable time. Check the clock"):
        group_logs({"r000": [[-1.0], [math.nan]]})
