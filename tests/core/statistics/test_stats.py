"""Location, percentiles and stopping rule, on made-up numbers."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomt_trt.core.errors import UnstableMeasurement
from pomt_trt.core.statistics.drift import slow_drift
from pomt_trt.core.statistics.stats import (
    QUICK_RESAMPLES,
    StoppingRule,
    locate,
    percentiles,
    undrifted,
)


def locked(rng, rounds, noise=0.01):
    """One tight mode around 10 ms, five runs a round."""
    return 10 * (1 + noise * rng.randn(rounds, 5))


def single(levels):
    """Rounds of one run each."""
    return [[level] for level in levels]


def quickly(rounds):
    """What a stopping rule asks for."""
    return lambda: locate(rounds, resamples=QUICK_RESAMPLES)


def shared(rng, rounds, disturbed):
    """A clean lower mode at 10 ms; some runs lose a time slice, some are slowed at random."""
    runs = locked(rng, rounds)
    hit = rng.rand(rounds, 5) < disturbed
    runs[hit] += rng.exponential(3.0, hit.sum()) + 4.0 * (rng.rand(hit.sum()) < 0.5)
    return runs


def test_location_of_one_tight_mode_is_its_median():
    rounds = locked(np.random.RandomState(0), 100)
    assert abs(locate(rounds.tolist()).value - np.median(rounds)) < 0.02


@pytest.mark.parametrize("disturbed", [0.0, 0.3, 0.6, 0.75])
def test_location_of_a_shared_machine_is_its_clean_mode(disturbed):
    values = [locate(shared(np.random.RandomState(seed), 100, disturbed).tolist()).value for seed in range(10)]
    assert max(abs(value - 10) for value in values) < 0.1


def test_interval_covers_the_truth_about_as_often_as_it_says():
    inside = 0
    for seed in range(60):
        location = locate(shared(np.random.RandomState(seed), 60, 0.3).tolist(), seed=seed)
        inside += location.low <= 10 <= location.high
    assert inside >= 52


def test_interval_narrows_with_more_rounds():
    rng = np.random.RandomState(1)
    assert locate(locked(rng, 400).tolist()).relative_width < 0.5 * locate(locked(rng, 20).tolist()).relative_width


def test_drift_is_taken_out():
    rng = np.random.RandomState(2)
    warm = np.linspace(1.0, 1.3, 200)
    rounds = locked(rng, 200, 0.003) * warm[:, None]
    location = locate(rounds.tolist(), slow_drift([single(warm * (1 + 0.01 * rng.randn(200)))]))
    assert abs(location.value - 10.6) < 0.06  # in the machine's fast state: at the 20th percentile of its slowness
    assert location.relative_width < 0.015


def test_rounds_far_off_are_left_out():
    rng = np.random.RandomState(10)
    rounds = locked(rng, 200)
    drift = np.where(np.arange(200) % 100 < 40, 2.5, 1.0)  # the reference was disturbed, this candidate was not
    assert abs(locate(rounds.tolist(), drift.tolist()).value - 10) < 0.1
    assert min(undrifted(rounds.tolist(), drift.tolist())) > 9
    mostly = np.where(np.arange(200) % 100 < 60, 2.5, 1.0)  # now disturbed itself, and more often than not
    rounds = (rounds * mostly[:, None]).tolist()
    assert abs(locate(rounds, slow_drift([single(mostly / 2.5)])).value - 10) < 0.1
    assert len(undrifted([[1.0, 2.0], [3.0]])) == 3


def test_same_numbers_give_the_same_location():
    rounds = shared(np.random.RandomState(4), 30, 0.4).tolist()
    assert locate(rounds, seed=7) == locate(rounds, seed=7)


@given(st.lists(st.lists(st.floats(1e-3, 1e4), min_size=1, max_size=6), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_location_lies_in_its_interval_and_among_the_samples(rounds):
    location = locate(rounds)
    samples = [sample for row in rounds for sample in row]
    assert location.low <= location.value <= location.high
    assert min(samples) <= location.value <= max(samples)


@given(st.floats(0.01, 100))
@settings(max_examples=20, deadline=None)
def test_location_scales_with_the_unit(factor):
    rounds = shared(np.random.RandomState(5), 20, 0.3)
    one, other = locate(rounds.tolist()), locate((rounds * factor).tolist())
    assert np.allclose(np.array(one) * factor, np.array(other), rtol=1e-6)


def test_a_clock_that_steps_back_spoils_nothing():
    rounds = locked(np.random.RandomState(6), 40).tolist()
    spoilt = [row[:] for row in rounds]
    spoilt[3][2], spoilt[9][0], spoilt[20][1] = -5.0, float("nan"), 0.0
    assert abs(locate(spoilt).value / locate(rounds).value - 1) < 0.002


def test_nothing_but_bad_readings_is_refused_with_advice():
    with pytest.raises(UnstableMeasurement, match="none of 2 samples .* Check the clock"):
        locate([[-1.0], [float("nan")]])


def test_one_sample_is_quoted_with_a_wide_interval():
    location = locate([[2.0]])
    assert location.value == 2.0 and location.relative_width == pytest.approx(0.1)


def test_quantised_clock_never_gives_an_interval_narrower_than_its_tick():
    location = locate([[2.0, 2.0, 2.0, 2.1]] * 50)
    assert location.value == 2.0 and location.high - location.low >= 0.1 - 1e-9


def test_percentiles_are_those_of_trtexec():
    assert percentiles([[float(i)] for i in range(1, 101)]) == (50.0, 90.0, 95.0, 99.0)
    assert percentiles([[3.0]]) == (3.0, 3.0, 3.0, 3.0)


def test_sampling_goes_on_before_the_minimum_and_stops_when_settled():
    rounds = locked(np.random.RandomState(7), 400, 0.005).tolist()
    rule = StoppingRule()
    stops = [n for n in range(1, 401) if rule.decide(rounds[:n], quickly(rounds[:n]), 0.0)]
    assert rule.decide(rounds[:7], quickly(rounds[:7]), 0.0) is None
    assert 8 <= stops[0] < 200
    assert rule.decide(rounds[: stops[0]], quickly(rounds[: stops[0]]), 0.0) == "settled"


def test_sampling_stops_at_the_time_cap_however_noisy():
    rounds = (10 * np.exp(np.random.RandomState(8).randn(20, 5))).tolist()
    assert StoppingRule().decide(rounds, quickly(rounds), 14.9) is None
    assert StoppingRule().decide(rounds, quickly(rounds), 15.0) == "time cap"
    assert StoppingRule().decide([], quickly([]), 15.0) is None  # the minimum of samples is waited for ...
    assert StoppingRule().decide([], quickly([]), 60.0) == "time cap"  # ... but not forever


def test_deciding_costs_under_one_percent_of_the_runs():
    rounds = shared(np.random.RandomState(9), 200, 0.4).tolist()
    rule, start = StoppingRule(narrow=0.0, noise_change=0.0), time.process_time()
    for n in range(1, 201):
        rule.decide(rounds[:n], quickly(rounds[:n]), 0.0)
    assert time.process_time() - start < 0.01 * sum(map(sum, rounds)) / 1e3
