"""What is drift of the machine and what is noise of an engine's own, on made-up numbers."""

import math

import numpy as np
import pytest

from pomt_trt.core.statistics.drift import slow_drift
from pomt_trt.core.statistics.stats import locate


def single(levels):
    """Rounds of one run each."""
    return [[level] for level in levels]


def test_noise_of_one_member_is_not_taken_for_drift():
    rng = np.random.RandomState(3)
    assert max(slow_drift([single(1 + 0.03 * rng.randn(300))])) < 1.02
    assert max(slow_drift([single([5.0] * 50 + [6.0] * 50)])) == pytest.approx(1.2)
    assert slow_drift([]) == slow_drift([[]]) == () and slow_drift([single([math.nan, -1.0])]) == (1.0, 1.0)


def test_states_that_last_a_round_are_taken_out_where_many_members_show_them():
    rng = np.random.RandomState(11)
    state = np.where(rng.rand(40) < 0.4, 1.0, 1.3)  # another one each round
    own = np.linspace(20, 40, 12)
    group = own[:, None] * state * (1 + 0.03 * rng.randn(12, 40))
    drift = slow_drift([single(levels) for levels in group])
    assert np.abs(np.asarray(drift) / state - 1).max() < 0.06
    found = np.array([locate(single(levels), drift).value for levels in group])
    assert np.abs(found / own - 1).max() < 0.05


def test_a_member_that_is_settled_leaves_the_others_rounds_as_they_are():
    rng = np.random.RandomState(12)
    state = np.repeat([1.0, 1.2, 1.0], 20)
    members = ((1, 60), (3, 60), (2, 25))  # own level, rounds
    group = [single(own * state[:rounds] * (1 + 0.01 * rng.randn(rounds))) for own, rounds in members]
    assert np.abs(np.asarray(slow_drift(group)) / state - 1).max() < 0.05
    assert len(slow_drift(group)) == 60


def test_noise_of_many_members_is_not_taken_for_drift():
    rng = np.random.RandomState(13)
    assert max(slow_drift([single(levels) for levels in 1 + 0.03 * rng.randn(12, 100)])) < 1.03
