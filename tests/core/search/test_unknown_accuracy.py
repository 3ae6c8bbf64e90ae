"""What the search assumes of what it did not measure: accuracies that do not fall evenly, valleys beside the best."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pomt_trt.core.choice.rules import Goal
from pomt_trt.core.search.replay import choose, drive
from pomt_trt.core.search.search import next_batch, next_in_order
from pomt_trt.core.search.search_state import Point, SearchState, valley_period
from tests.generators.served import GRID, accuracy_at, exact, remembering, searched, slope_with_valleys, stairs


def test_accuracy_is_asked_only_where_it_can_change_the_choice():
    goal = Goal("utility", max_accuracy_drop=0.01)
    state, _ = searched(stairs, goal, accuracy_on_demand=True)
    beforehand, _ = searched(stairs, goal)
    assert abs(choose(state).chosen.utility - choose(beforehand).chosen.utility) < 0.004
    assert len(state.accuracy) < 0.2 * len(GRID)


def test_the_step_rule_asks_for_the_accuracy_of_the_edges_it_could_choose():
    for curve in (stairs, slope_with_valleys):
        for drop in (0.01, None):
            goal = Goal("step", max_accuracy_drop=drop)
            state, _ = searched(curve, goal, accuracy_on_demand=True)
            beforehand, _ = searched(curve, goal)
            assert choose(state).chosen.id == choose(beforehand).chosen.id
            assert len(state.accuracy) < 0.25 * len(GRID)


def test_on_a_board_the_search_never_asks_for_accuracy():
    steps = []
    searched(stairs, Goal("step"), strategy=remembering(steps))
    assert all(step.kind == "build" for step in steps[:-1])


def test_accuracies_that_wander_around_the_constraint_are_looked_for_below_the_first_that_fails():
    accuracy = {t: 0.7885 if 144 < t < 192 else accuracy_at(t) - 0.02 * (t < 144) for t in GRID}
    accuracy[197] = 0.8
    start = SearchState(GRID, Goal("fastest-within", max_accuracy_drop=0.01), {}, {}, accuracy_on_demand=True)
    state, _ = drive(start._replace(accuracy_slack=0.004), exact(stairs), accuracy, next_batch)
    assert choose(state).chosen.tokens_after == 144


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.003, 0.006]), st.sampled_from(["utility", "fastest-within"]))
@settings(max_examples=40, deadline=None)
def test_accuracies_that_rise_by_no_more_than_the_slack_hide_no_better_count(seed, slack, rule):
    rng, goal = np.random.RandomState(seed), Goal(rule, max_accuracy_drop=0.01)
    accuracy = {t: accuracy_at(t) + slack * rng.rand() * (t < 197) for t in GRID}
    start = SearchState(GRID, goal, {}, {}, accuracy_on_demand=True, accuracy_slack=slack)
    state, done = drive(start, exact(stairs), accuracy, next_batch)
    whole, _ = drive(start, exact(stairs), accuracy, next_in_order)
    assert done.complete
    assert choose(state).chosen.utility >= choose(whole).chosen.utility - 0.004 - slack


def test_a_valley_beside_the_best_is_found_though_no_others_are_there():
    def curve(tokens):
        return stairs(tokens, edges=()) * (0.95 if tokens == 144 else 1.0)

    accuracy = {t: accuracy_at(t) - 0.02 * (t < 143) for t in GRID}
    for on_demand in (False, True):
        goal, known = Goal("step", max_accuracy_drop=0.015), {} if on_demand else accuracy
        start = SearchState(GRID, goal, {}, known, accuracy_on_demand=on_demand)
        state, _ = drive(start, exact(curve), accuracy, next_batch)
        assert choose(state).chosen.tokens_after == 144


def test_a_valley_is_believed_in_though_the_intervals_touch():
    def pair(depth, half):
        ms = {160: 1.0 - depth, 159: 1.0}
        return {t: Point(t, ms[t], (ms[t] * (1 - half), ms[t] * (1 + half)), (ms[t],)) for t in ms}

    start = SearchState(GRID, Goal("utility"), {}, {})
    assert valley_period(start._replace(points=pair(0.035, 0.019))) == 32
    assert valley_period(start._replace(points=pair(0.020, 0.019))) is None
    assert valley_period(start._replace(points=pair(0.010, 0.001))) is None


def test_the_end_says_what_was_assumed():
    _, done = searched(stairs, Goal("utility"))
    assert "multiples of 8, 16 and 32" in done.reason and "accuracy" not in done.reason
    _, done = searched(stairs, Goal("utility"), accuracy_on_demand=True, accuracy_slack=0.004)
    assert "0.40 points" in done.reason
