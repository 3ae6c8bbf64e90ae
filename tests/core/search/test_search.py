"""The adaptive search: it ends, is pure, finds what the exhaustive one finds, and builds little for it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomt_trt.core.choice.rules import Goal
from pomt_trt.core.search.replay import choose, drive
from pomt_trt.core.search.search import Done, expected_builds, next_batch, next_in_order, progress, ranges
from pomt_trt.core.search.search_state import (
    GROUP,
    MOST,
    Batch,
    Bounds,
    Point,
    SearchState,
    build_effect,
    valley_period,
)
from tests.generators.served import GRID, accuracy_at, each, exact, remembering, searched, slope_with_valleys, stairs


@pytest.mark.parametrize("rule", ["utility", "step", "fastest-within"])
@pytest.mark.parametrize("drop", [0.01, None])
def test_finds_the_exhaustive_choice_with_few_builds(rule, drop):
    goal = Goal(rule, max_accuracy_drop=drop)
    state, done = searched(stairs, goal)
    whole, _ = searched(stairs, goal, strategy=next_in_order)
    assert done.complete and state.builds <= 0.2 * len(GRID)
    mine, best = choose(state).chosen, choose(whole).chosen
    assert mine.utility >= best.utility - 0.004
    if rule == "step":
        assert mine.id == best.id


def test_best_within_finds_the_most_accurate_count_that_is_fast_enough():
    goal = Goal("best-within", max_latency_ms=9.5)
    state, _ = searched(stairs, goal)
    assert choose(state).chosen.tokens_after == 176
    assert state.builds < 20


def test_valleys_are_found_at_multiples_and_chosen():
    for rule in ("utility", "step"):
        goal = Goal(rule, max_accuracy_drop=0.01)
        state, _ = searched(slope_with_valleys, goal)
        whole, _ = searched(slope_with_valleys, goal, strategy=next_in_order)
        assert valley_period(state) == 16
        assert choose(state).chosen.id == choose(whole).chosen.id
        assert state.builds < 0.35 * len(GRID)


@given(
    st.lists(st.integers(62, 195), min_size=0, max_size=5, unique=True),
    st.floats(0.03, 0.3),
    st.sampled_from([0.01, 0.03, None]),
)
@settings(max_examples=40, deadline=None)
def test_on_any_falling_curve_the_utility_is_within_the_tolerance_of_the_best(edges, drop, max_drop):
    goal = Goal("utility", max_accuracy_drop=max_drop)
    state, done = searched(lambda tokens: stairs(tokens, edges, drop), goal)
    whole, _ = searched(lambda tokens: stairs(tokens, edges, drop), goal, strategy=next_in_order)
    assert done.complete
    assert choose(state).chosen.utility >= choose(whole).chosen.utility - 0.004


@given(st.lists(st.floats(0.5, 50.0), min_size=2, max_size=25), st.sampled_from(["utility", "step", "best-within"]))
@settings(max_examples=60, deadline=None)
def test_ends_on_any_curve_and_never_asks_twice_for_the_same_build(latencies, rule):
    grid = tuple(range(20 + len(latencies), 20, -1))
    steps = []

    def strategy(state):
        step = next_batch(state)
        steps.append(step)
        assert len(steps) <= 4 * len(grid)
        return step

    curve = dict(zip(grid, latencies))
    searched(curve.__getitem__, Goal(rule), grid, strategy=strategy)
    batches = [step for step in steps if isinstance(step, Batch)]
    built = [tokens for batch in batches if batch.kind == "build" for tokens in batch.counts]
    assert len(built) == len(set(built))
    assert all(1 <= len(batch.counts) <= (GROUP if grid[0] in batch.counts else MOST) for batch in batches)


def test_is_a_pure_function_of_the_state():
    state, _ = searched(stairs, Goal("step"), max_builds=7)
    state = state._replace(max_builds=None)
    shuffled = state._replace(points=dict(sorted(state.points.items())))
    assert next_batch(state) == next_batch(state) == next_batch(shuffled)


@pytest.mark.parametrize("batches", [1, 2, 3])
def test_resumes_after_any_batch_with_the_same_end(batches):
    def interrupted(state):
        steps.append(next_batch(state))
        return steps[-1] if len(steps) <= batches else Done("interrupted")

    steps, accuracy = [], {tokens: accuracy_at(tokens) for tokens in GRID}
    whole, _ = searched(stairs, Goal("step"))
    part, _ = searched(stairs, Goal("step"), strategy=interrupted)
    resumed, _ = drive(part, exact(stairs), accuracy, next_batch)
    assert len(part.points) < len(whole.points) and resumed.points == whole.points


def test_a_failed_build_is_recorded_and_searched_around():
    for failing in ((128,), (61, 62, 63), (196,), (160,)):
        for rule in ("utility", "step"):
            state, done = searched(stairs, Goal(rule, max_accuracy_drop=0.02), failing=failing)
            assert done.complete
            assert choose(state).chosen.tokens_after not in failing


def test_r0_that_cannot_be_built_ends_the_search():
    _, done = searched(stairs, Goal("step"), failing=(197,))
    assert not done.complete and "R = 0 could not be built" in done.reason


def test_a_budget_of_one_build_chooses_r0_and_says_what_it_does_not_know():
    state, done = searched(stairs, Goal("utility"), max_builds=1)
    assert state.builds == 1 and choose(state, within_budget=False).chosen.removed == 0
    assert "build budget" in done.reason and done.unknown == ((196, 61),)


def test_a_spent_budget_names_the_ranges_that_could_still_win():
    _, done = searched(stairs, Goal("utility"), max_builds=5)
    assert not done.complete and done.unknown
    assert all(high >= low for high, low in done.unknown)


def test_out_of_time_ends_the_search():
    state, _ = searched(stairs, Goal("utility"), max_builds=3)
    done = next_batch(state._replace(max_builds=None, stopped="the time budget is spent"))
    assert isinstance(done, Done) and not done.complete
    assert done.reason == "the time budget is spent" and done.unknown


def test_a_rebuild_that_fails_counts_and_ends():
    accuracy = {tokens: accuracy_at(tokens) for tokens in GRID}

    @each
    def serve(kind, tokens):
        ms = stairs(tokens)
        builds[tokens] = builds.get(tokens, ()) + ((ms,) if kind == "build" else (math.inf,))
        return Point(tokens, ms, (ms * 0.999, ms * 1.001), builds[tokens])

    builds = {}
    state, done = drive(SearchState(GRID, Goal("step"), {}, accuracy, builds_vary=True), serve, {}, next_batch)
    assert isinstance(done, Done) and choose(state).chosen.latency_ms < 10


def noisy_builds(seed, bad=()):
    """Engines that differ by 1 % from build to build; the first build of `bad` counts is twice as slow."""
    built = {}

    @each
    def serve(kind, tokens):
        engines = built.setdefault(tokens, [])
        rng = np.random.RandomState([seed, tokens, len(engines)])
        slow = 2.0 if tokens in bad and not engines else 1.0
        engines.append(stairs(tokens) * slow * (1 + 0.01 * rng.randn()))
        ms = min(engines)
        return Point(tokens, ms, (ms * 0.999, ms * 1.001), tuple(engines))

    return serve


def test_builds_that_vary_are_calibrated_and_bad_ones_rebuilt():
    accuracy = {tokens: accuracy_at(tokens) for tokens in GRID}
    goal = Goal("utility", max_accuracy_drop=0.01)
    start = SearchState(GRID, goal, {}, accuracy, builds_vary=True)
    lowest = min(t for t in GRID if accuracy[197] - accuracy[t] <= 0.01)
    state, _ = drive(start, noisy_builds(0, bad=(128, 144, lowest)), {}, next_batch)
    assert len(state.points[197].builds_ms) >= 3
    assert 0.002 < build_effect(state.points) < 0.03
    best = min(stairs(t) for t in GRID if accuracy[197] - accuracy[t] <= 0.01)
    assert stairs(choose(state).chosen.tokens_after) <= best * 1.01


def test_noise_that_decides_is_met_with_more_samples():
    @each
    def serve(kind, tokens):
        served[tokens] = served.get(tokens, 0) + 1
        ms, half = stairs(tokens), 0.02 / served[tokens]
        return Point(tokens, ms, (ms * (1 - half), ms * (1 + half)), (ms,), served[tokens] < 4)

    served = {}
    accuracy = {tokens: accuracy_at(tokens) for tokens in GRID}
    state, _ = drive(SearchState(GRID, Goal("utility"), {}, accuracy), serve, {}, next_batch)
    assert served[choose(state).chosen.tokens_after] == 4


def test_bounds_hold_on_falling_curves():
    state, _ = searched(stairs, Goal("utility"), max_builds=8)
    bounds = Bounds(state)
    assert all(bounds.least_latency(t) <= stairs(t) for t in GRID if t not in state.points)


def test_exhaustive_search_has_the_same_interface():
    state, done = searched(stairs, Goal("step"), strategy=next_in_order, accuracy_on_demand=True)
    assert done.complete and set(state.points) == set(state.accuracy) == set(GRID)
    _, done = searched(stairs, Goal("step"), strategy=next_in_order, max_builds=4)
    assert not done.complete


def test_progress_says_what_is_done_expected_and_narrowed():
    state, _ = searched(stairs, Goal("step"), max_builds=6)
    request = next_batch(state._replace(max_builds=None))
    line = progress(state, request)
    assert line.startswith("6 built, about ") and str(request.counts[0]) in line
    assert 1 <= expected_builds(state) <= 60


def test_ranges_join_neighbours_in_the_grid():
    assert ranges((10, 8, 6, 4, 2), [8, 6, 2]) == ((8, 6), (2, 2))


@pytest.mark.parametrize("grid", [(197,), (197, 196), (197, 150, 3)])
def test_tiny_grids_are_searched(grid):
    for rule in ("step", "utility", "fastest-within", "best-within"):
        state, done = searched(stairs, Goal(rule), grid)
        assert done.complete and choose(state).chosen.tokens_after in grid


def test_equal_latencies_choose_r0():
    for rule in ("step", "utility", "fastest-within", "best-within"):
        state, _ = searched(lambda tokens: 5.0, Goal(rule))
        assert choose(state).chosen.removed == 0


def test_the_chosen_edge_is_known_to_the_count_even_where_counts_above_it_lose_more():
    accuracy = {t: accuracy_at(t) - 0.002 * (t == 177) for t in GRID}
    curve = exact(lambda tokens: stairs(tokens, edges=(177,)))
    state, _ = drive(SearchState(GRID, Goal("step"), {}, accuracy), curve, {}, next_batch)
    assert choose(state).chosen.tokens_after == 177


def test_a_measurement_of_many_counts_is_asked_for_at_once():
    steps = []
    state, _ = searched(stairs, Goal("step"), strategy=remembering(steps))
    assert len([step for step in steps if isinstance(step, Batch)]) <= 0.6 * state.builds
