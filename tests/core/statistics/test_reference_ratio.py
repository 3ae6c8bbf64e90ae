"""Latency relative to references, on made-up numbers: a machine that changes speed, wrong references, intervals."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomt_trt.core.errors import UnstableMeasurement
from pomt_trt.core.statistics.reference_ratio import Reference, locate_by_references
from pomt_trt.core.statistics.stats import QUICK_RESAMPLES, locate

LATENCIES = (12.0, 9.0, 8.0, 7.0)  # of the references, in ms


def timed(rng, level, slowness, noise=0.005, runs=2):
    """Rounds of an engine; in each the machine is `slowness` times slower."""
    return (level * np.asarray(slowness)[:, None] * (1 + noise * rng.randn(len(slowness), runs))).tolist()


def located(rng, slowness, level=10.0, **noise):
    """The location of an engine of `level` ms beside four references."""
    references = [Reference(timed(rng, latency, slowness, **noise), latency) for latency in LATENCIES]
    rounds = timed(rng, level, slowness, **noise)
    return locate_by_references(rounds, references, [rounds] + [each.rounds for each in references])


def test_a_machine_that_is_slower_than_before_makes_nothing_slower():
    found = located(np.random.RandomState(0), np.full(50, 1.3))
    assert found.value == pytest.approx(10, rel=0.004)
    assert found.low <= 10 <= found.high and found.relative_width < 0.01


@pytest.mark.parametrize("fast", [0.1, 0.5, 0.9])
def test_a_machine_of_two_speeds_that_change_by_the_round_makes_nothing_slower(fast):
    rng = np.random.RandomState(1)
    found = located(rng, np.where(rng.rand(60) < fast, 1.0, 1.3))
    assert found.value == pytest.approx(10, rel=0.005) and found.relative_width < 0.015


def test_changes_of_speed_that_all_share_widen_no_interval():
    rng = np.random.RandomState(2)
    slowness = np.exp(0.2 * rng.randn(60))
    assert located(rng, slowness).relative_width < 0.1 * locate(timed(rng, 10.0, slowness)).relative_width


def test_interval_covers_the_truth_about_as_often_as_it_says():
    inside = 0
    for seed in range(100):
        rng = np.random.RandomState(seed)
        found = located(rng, np.where(rng.rand(40) < 0.5, 1.0, 1.25), noise=0.02)
        inside += found.low <= 10 <= found.high
    assert 88 <= inside


def test_one_wrong_reference_is_outvoted():
    rng, slowness = np.random.RandomState(3), np.full(40, 1.1)
    references = [Reference(timed(rng, latency, slowness), latency) for latency in LATENCIES]
    references[0] = Reference(timed(rng, 1.5 * LATENCIES[0], slowness), LATENCIES[0])
    rounds = timed(rng, 10.0, slowness)
    found = locate_by_references(rounds, references, [rounds] + [each.rounds for each in references])
    assert found.value == pytest.approx(10, rel=0.006)


def test_references_that_disagree_widen_the_interval():
    rng, slowness = np.random.RandomState(8), np.ones(40)
    off = (1.03, 0.97, 1.0, 0.99)  # what each was found to be, over what it is
    references = [Reference(timed(rng, latency, slowness), latency * factor) for latency, factor in zip(LATENCIES, off)]
    rounds = timed(rng, 10.0, slowness)
    found = locate_by_references(rounds, references, [rounds] + [each.rounds for each in references])
    assert found.low <= 10 <= found.high
    assert found.relative_width > 4 * located(np.random.RandomState(8), slowness).relative_width


def test_disturbances_that_hit_anyone_are_no_matter():
    rng = np.random.RandomState(4)

    def hit(level):
        rounds = np.array(timed(rng, level, np.ones(80), runs=4))
        return (rounds + rng.exponential(4.0, rounds.shape) * (rng.rand(*rounds.shape) < 0.3)).tolist()

    references, rounds = [Reference(hit(latency), latency) for latency in LATENCIES], hit(10.0)
    found = locate_by_references(rounds, references, [rounds] + [each.rounds for each in references])
    assert found.value == pytest.approx(10, rel=0.02)


def test_only_rounds_that_all_ran_in_count():
    reference = Reference([[5.0, 5.0]] * 20 + [[50.0, 50.0]] * 20, 5.0)
    rounds = [[3.0]] * 20
    assert locate_by_references(rounds, [reference], [reference.rounds, rounds]).value == pytest.approx(3.0)


def test_a_clock_that_steps_back_costs_the_round():
    rng, slowness = np.random.RandomState(5), np.ones(30)
    reference, rounds = Reference(timed(rng, 5.0, slowness), 5.0), timed(rng, 10.0, slowness)
    reference.rounds[4], rounds[7] = [-3.0, math.nan], [0.0, -1.0]
    assert locate_by_references(rounds, [reference], [reference.rounds, rounds]).value == pytest.approx(10, rel=0.01)


def test_no_usable_round_is_refused_with_advice():
    with pytest.raises(UnstableMeasurement, match="none of 4 rounds has a time of each engine. Check the clock"):
        locate_by_references([[3.0, 3.0]] * 4, [Reference([[math.nan]] * 4, 5.0)], [[[3.0, 3.0]] * 4])


def test_one_round_is_quoted_with_a_wide_interval():
    found = locate_by_references([[2.0, 2.0]], [Reference([[5.0]], 5.0)], [[[2.0, 2.0]], [[5.0]]])
    assert found.value == pytest.approx(2.0) and found.relative_width == pytest.approx(0.1)


def test_quantised_clock_never_gives_an_interval_of_nothing():
    rounds = [[2.0, 2.0]] * 40 + [[2.1, 2.1]]
    reference = Reference([[5.0]] * 41, 5.0)
    found = locate_by_references(rounds, [reference], [rounds, reference.rounds, reference.rounds])
    assert found.relative_width > 0.04


def test_same_numbers_give_the_same_location():
    assert located(np.random.RandomState(6), np.ones(20)) == located(np.random.RandomState(6), np.ones(20))


@given(st.lists(st.tuples(st.floats(0.1, 1e3), st.floats(0.1, 1e3)), min_size=1, max_size=30), st.floats(0.01, 100))
@settings(max_examples=60, deadline=None)
def test_location_lies_in_its_interval_and_scales_with_the_reference(pairs, factor):
    rounds, other = [[a] for a, _ in pairs], [[b] for _, b in pairs]
    found = locate_by_references(rounds, [Reference(other, 5.0)], [rounds, other])
    assert found.low <= found.value <= found.high
    scaled = locate_by_references(rounds, [Reference(other, 5.0 * factor)], [rounds, other])
    assert np.allclose(np.array(found) * factor, np.array(scaled), rtol=1e-6)


def test_it_takes_less_than_a_hundredth_of_the_time_of_the_runs():
    rng, slowness = np.random.RandomState(7), np.ones(40)
    references = [Reference(timed(rng, latency, slowness), latency) for latency in LATENCIES]
    rounds = timed(rng, 10.0, slowness)
    group, start = [rounds] + [each.rounds for each in references], time.process_time()
    for number in (8, 12, 16, 23, 32, 40):  # when a stopping rule looks
        locate_by_references(rounds[:number], references, group, QUICK_RESAMPLES)
    assert time.process_time() - start < 0.01 * sum(3 / 2 * sum(map(sum, member)) for member in group) / 1e3
