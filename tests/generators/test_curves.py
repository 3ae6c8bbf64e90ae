"""The generator of curves keeps its promises, and the bench built on it runs and is reproducible."""

import numpy as np
import pytest

from scripts.benchmarks import search
from tests.generators import curves


@pytest.mark.parametrize("kind, least, most", [("gpu", 1, 6), ("cpu", 1, 6), ("valleys", 0, 2), ("stepless", 0, 0)])
def test_curves_have_as_many_steps_as_promised_and_none_that_is_doubtful(kind, least, most):
    for seed in range(30):
        curve = curves.truth(seed, kind)
        assert least <= len(curve.edges) <= most
        assert bool(curve.valleys) == (kind == "valleys")
        assert np.all(curve.latency_ms > 0) and np.all((curve.accuracy >= 0) & (curve.accuracy <= 1))
        assert curve.grid == tuple(sorted(curve.grid, reverse=True))


def test_each_edge_is_a_drop_of_three_percent_or_more():
    for seed in range(20):
        curve = curves.truth(seed, "cpu")
        latency = dict(zip(curve.grid, curve.latency_ms))
        assert curve.edges
        for edge in curve.edges:
            assert latency[edge] < 0.975 * latency[edge + 1]


def test_the_same_seed_gives_the_same_curve_and_timings():
    one, other = curves.truth(3, "gpu"), curves.truth(3, "gpu")
    assert one.edges == other.edges and np.array_equal(one.latency_ms, other.latency_ms)
    noise = curves.noise(3, "shared")
    assert np.array_equal(curves.timings(5.0, noise, 3, 128, 0), curves.timings(5.0, noise, 3, 128, 0))
    assert not np.array_equal(curves.timings(5.0, noise, 3, 128, 0), curves.timings(5.0, noise, 3, 128, 1))


def test_noise_is_that_of_the_machine_named():
    locked = curves.timings(10.0, curves.noise(1, "locked"), 1, 100, 0, rounds=200)
    shared = curves.timings(10.0, curves.noise(1, "shared"), 1, 100, 0, rounds=200)
    assert np.std(locked) < 0.25 and np.percentile(shared, 95) > 1.05 * np.median(locked)


def test_builds_differ_by_a_percent_or_two_and_some_are_bad():
    noise = curves.noise(2, "locked", builds=True)
    factors = np.array([curves.build_factor(noise, 2, tokens, 0) for tokens in range(600)])
    bad = factors > 1.08
    assert 0.02 < bad.mean() < 0.09 and factors.max() < 2.6
    assert 0.008 < np.std(factors[~bad]) < 0.025


def test_the_bench_prints_its_table(capsys):
    search.main(["--curves", "4", "--group", "steps"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[-2:]] == [["steps", "utility", "2"], ["steps", "step", "2"]]
