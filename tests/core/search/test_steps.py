"""Change points: found where they are, and nowhere else."""

import numpy as np
import pytest

from pomt_trt.core.search.search_state import Point
from pomt_trt.core.search.steps import find_steps, significant_steps


def curve(counts, edges=(), drop=0.06, slope=0.01, curvature=2e-5):
    """A falling latency in ms with relative drops at the edges."""
    latency = 3 + slope * counts + curvature * counts**2
    for edge in edges:
        latency = np.where(counts <= edge, latency * (1 - drop), latency)
    return latency


def measured(latency, noise, seed):
    """The curve as timed, and its 95 % intervals."""
    timed = latency * (1 + noise * np.random.RandomState(seed).randn(len(latency)))
    return timed, [(value * (1 - 1.96 * noise), value * (1 + 1.96 * noise)) for value in timed]


def edges_of(steps):
    return [step.edge_tokens for step in steps]


@pytest.mark.parametrize("stride", [1, 4])
def test_finds_each_step_at_its_exact_edge(stride):
    counts = np.arange(196, 40, -stride)
    truth = [160, 128, 64]
    latency, ci = measured(curve(counts, truth), 0.003, 0)
    steps = find_steps(counts, latency, ci)
    assert edges_of(steps) == truth
    assert [step.from_tokens for step in steps] == [edge + stride for edge in truth]


def test_drop_is_quoted_with_an_interval_that_holds_it():
    counts = np.arange(196, 40, -1)
    latency, ci = measured(curve(counts, [128]), 0.005, 1)
    (step,) = find_steps(counts, latency, ci)
    true_drop = 0.06 * curve(counts)[counts == 128][0]
    assert step.drop_ci_ms[0] < true_drop < step.drop_ci_ms[1]
    assert step.p_value < 0.01


@pytest.mark.parametrize("noise", [0.002, 0.01, 0.02])
def test_reports_no_step_where_there_is_none(noise):
    counts = np.arange(196, 20, -1)
    false = sum(bool(find_steps(counts, *measured(curve(counts), noise, seed))) for seed in range(40))
    assert false <= 2


def test_intervals_that_are_too_narrow_are_not_believed():
    counts = np.arange(196, 20, -1)
    false = 0
    for seed in range(20):
        latency, _ = measured(curve(counts), 0.02, seed)
        false += bool(find_steps(counts, latency, [(value, value) for value in latency]))
    assert false <= 1


def test_order_of_the_points_does_not_matter():
    counts = np.arange(196, 40, -1)
    latency, ci = measured(curve(counts, [150, 100]), 0.004, 2)
    shuffled = np.random.RandomState(0).permutation(len(counts))
    assert find_steps(counts[shuffled], latency[shuffled], [ci[i] for i in shuffled]) == find_steps(counts, latency, ci)


def test_valleys_are_named_and_are_not_steps():
    counts = np.arange(196, 40, -1)
    latency = np.where(counts % 16 == 0, 0.93, 1.0) * curve(counts)
    steps = find_steps(counts, *measured(latency, 0.003, 3))
    assert edges_of(steps) == [192, 176, 160, 144, 128, 112, 96, 80, 64, 48]
    assert all(step.valley for step in steps)


def test_slow_outliers_make_no_steps():
    counts = np.arange(196, 40, -1)
    latency = curve(counts, [128])
    latency[[20, 50, 90]] *= [1.4, 2.4, 1.2]
    assert edges_of(find_steps(counts, *measured(latency, 0.003, 4))) == [128]


@pytest.mark.parametrize("spread, edges", [(0.001, [128]), (0.035, [])])
def test_a_step_that_builds_explain_is_none(spread, edges):
    counts = np.arange(192, 40, -8).tolist()
    latency, ci = measured(curve(np.array(counts), [128], drop=0.04), 0.002, 5)
    points = {t: Point(t, ms, pair, (ms,)) for t, ms, pair in zip(counts, latency, ci)}
    points[197] = Point(197, 10.0, (9.99, 10.01), (10.0, 10.0 * (1 + spread), 10.0 * (1 - spread)))
    assert edges_of(significant_steps(points, 197)) == edges


@pytest.mark.parametrize("counts", [[], [100], [100, 99]])
def test_too_few_points_have_no_steps(counts):
    assert find_steps(counts, [1.0] * len(counts), [None] * len(counts)) == ()


def test_flat_and_unusable_points_have_no_steps():
    assert find_steps(range(100, 50, -1), [2.0] * 50, [(2.0, 2.0)] * 50) == ()
    assert find_steps(range(100, 50, -1), [float("nan")] * 50, [None] * 50) == ()
