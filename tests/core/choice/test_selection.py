"""The four rules, their constraints, ties and reasons; independent of the order of the rows."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomt_trt.core.choice.rules import RULES, Goal
from pomt_trt.core.choice.selection import AccuracySource, select, utility
from pomt_trt.core.errors import ConstraintUnmet, InputError, UsageError
from pomt_trt.core.records import Row, Step


def row(removed, latency_ms, accuracy, **others):
    """A measured candidate of a 197-token model."""
    measured = Row("r{:03d}".format(removed), 197, 197 - removed, removed, latency_ms, accuracy=accuracy)
    return measured._replace(**dict({"status": "measured"}, **others))


def step(removed):
    return Step(197 - removed, 198 - removed, 1.0, (0.9, 1.1), 1e-6)


ROWS = [row(0, 10.0, 0.80), row(20, 9.0, 0.799), row(40, 7.0, 0.795), row(60, 6.9, 0.791), row(90, 4.0, 0.700)]


def chosen(rows=None, rule="step", steps=(), **others):
    return choose(rows, rule, steps, **others).chosen.id


def choose(rows=None, rule="step", steps=(), **others):
    goal = Goal(rule, **{"max_accuracy_drop": 0.01, **others})
    accuracy = AccuracySource("top1", "host-fp32")
    return select(ROWS if rows is None else rows, goal, steps, device_id="d", accuracy=accuracy)


def test_step_rule_takes_the_smallest_loss_per_gain():
    assert chosen(steps=[step(20), step(40)]) == "r020"  # .001 / 1 against .005 / 3
    rows = ROWS[:1] + [row(20, 9.0, 0.797)] + ROWS[2:]
    assert chosen(rows, steps=[step(20), step(40)]) == "r040"


def test_step_rule_breaks_ties_of_overlapping_intervals_by_the_larger_gain():
    rows = [r._replace(accuracy_drop_ci=(-0.004, 0.012)) if r.removed else r for r in ROWS]
    selection = choose(rows, steps=[step(20), step(40)])
    assert selection.chosen.id == "r040"
    assert "tied within the intervals with r020" in selection.chosen.why
    assert "tied" in [r for r in selection.rows if r.id == "r020"][0].why


def test_step_rule_wants_the_least_gain_and_without_such_an_edge_takes_the_fastest():
    selection = choose(steps=[step(20)], min_gain=0.2)
    assert (selection.rule_used, selection.chosen.id) == ("fastest-within", "r060")
    assert "no edge of a significant step is both within the constraints and 20 % faster" in selection.notes[0]


def test_step_rule_without_steps_is_fastest_within_and_says_so():
    selection = choose(steps=[])
    assert (selection.rule, selection.rule_used, selection.chosen.id) == ("step", "fastest-within", "r060")
    assert "no step is significant" in " ".join(selection.notes)


def test_edges_beyond_the_accuracy_constraint_are_not_chosen():
    selection = choose(steps=[step(90)])
    assert selection.chosen.id == "r060"
    assert "accuracy drop 10.00 points exceeds 1.00" in selection.rows[-1].why


def test_utility_is_the_papers_over_all_candidates():
    assert chosen(rule="utility", max_accuracy_drop=None) == "r090"
    assert chosen(rule="utility", max_accuracy_drop=None, alpha=0.0) == "r000"
    selection = choose(rule="utility")
    assert selection.unreduced.utility == pytest.approx(0.5)
    assert selection.chosen.utility == pytest.approx(utility(6.9, 0.791, 10.0, 0.80, 0.5))


def test_fastest_within_the_accuracy_constraint():
    assert chosen(rule="fastest-within") == "r060"
    assert chosen(rule="fastest-within", max_accuracy_drop=None) == "r090"


def test_a_drop_of_exactly_the_constraint_is_allowed():
    rows = [row(0, 10.0, 0.81), row(40, 7.0, 0.80)]
    assert chosen(rows, rule="fastest-within", max_accuracy_drop=0.01) == "r040"


def test_best_within_the_latency_constraint():
    assert chosen(rule="best-within", max_latency_ms=8.0) == "r040"
    assert chosen(rule="best-within") == "r000"


def test_r0_wins_where_nothing_beats_it():
    slower = [row(0, 10.0, 0.80), row(10, 11.0, 0.79)]
    for rule in RULES:
        assert chosen(slower, rule, [step(10)]) == "r000"


def test_equal_candidates_go_to_more_tokens():
    rows = [row(0, 10.0, 0.8), row(10, 10.0, 0.8), row(20, 8.0, 0.8), row(30, 8.0, 0.8)]
    assert chosen(rows, "utility") == chosen(rows, "fastest-within") == "r020"
    assert chosen(rows[:2], "utility") == "r000"


def test_a_tie_within_the_intervals_is_named():
    rows = ROWS[:2] + [r._replace(latency_ci_ms=(6.8, 7.1)) for r in ROWS[2:4]]
    selection = choose(rows, "fastest-within")
    assert selection.chosen.id == "r060" and "not to be told from r040" in selection.chosen.why


def test_unmet_latency_is_an_error_with_both_values_and_advice():
    with pytest.raises(ConstraintUnmet, match=r"3 ms .* R = 0 takes 10 ms.*\(r060\) 6.9 ms. Raise --max-latency"):
        choose(rule="utility", max_latency_ms=3.0)


def test_r0_beyond_the_latency_constraint_yields_to_one_that_meets_it():
    selection = choose(steps=[step(20)], max_latency_ms=8.0)
    assert selection.chosen.id == "r060" and selection.rule_used == "fastest-within"


def test_candidates_without_numbers_are_listed_and_never_chosen():
    rows = ROWS + [
        row(50, None, None, status="not-built"),
        row(51, None, None, status="failed", why="out of memory"),
        row(52, None, 0.9, status="over-budget"),
        row(53, 1.0, None),
    ]
    selection = choose(rows, "fastest-within")
    why = {r.id: r.why for r in selection.rows}
    assert selection.chosen.id == "r060"
    assert "could not change the choice" in why["r050"] and why["r051"] == "out of memory"
    assert "budget" in why["r052"] and "accuracy was not estimated" in why["r053"]
    assert all(why.values())


def test_upper_end_of_the_drop_is_reported_beside_the_choice():
    rows = [r._replace(accuracy_drop_ci=(0.0, 0.02)) if r.removed else r for r in ROWS]
    assert "as large as 2.00 points" in " ".join(choose(rows, "fastest-within").notes)


def test_missing_r0_unknown_rule_and_alpha_are_refused():
    with pytest.raises(InputError, match="R = 0 .* Profile it first"):
        choose(ROWS[1:])
    with pytest.raises(UsageError, match="no rule 'best'. Choose"):
        choose(rule="best")
    with pytest.raises(UsageError, match="alpha is 2"):
        choose(alpha=2)


def test_accuracy_zero_of_the_unreduced_model_is_no_division_by_zero():
    assert chosen([row(0, 10.0, 0.0), row(9, 9.0, 0.0)], "utility") == "r009"


numbers = st.tuples(st.integers(10, 100), st.integers(50, 100), st.booleans())


@given(st.lists(numbers, min_size=1, max_size=8), st.sampled_from(RULES), st.randoms())
@settings(max_examples=150, deadline=None)
def test_choice_does_not_depend_on_the_order_of_the_rows(values, rule, random):
    rows = [row(10 * i, ms / 10.0, points / 100.0) for i, (ms, points, _) in enumerate(values)]
    steps = [step(10 * i) for i, (_, _, edge) in enumerate(values) if edge and i]
    shuffled, shuffled_steps = rows[:], steps[:]
    random.shuffle(shuffled)
    random.shuffle(shuffled_steps)
    assert choose(rows, rule, steps) == choose(shuffled, rule, shuffled_steps)


@given(st.lists(numbers, min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
def test_pareto_rows_are_exactly_those_not_beaten(values):
    rows = [row(10 * i, ms / 10.0, points / 100.0) for i, (ms, points, _) in enumerate(values)]
    selection = choose(rows, "best-within")
    for r in rows:
        beaten = any(
            o.latency_ms <= r.latency_ms
            and o.accuracy >= r.accuracy
            and (o.latency_ms, o.accuracy, -o.tokens_after) != (r.latency_ms, r.accuracy, -r.tokens_after)
            and (o.latency_ms < r.latency_ms or o.accuracy > r.accuracy or o.removed < r.removed)
            for o in rows
        )
        assert (r.id in selection.pareto) != beaten


@pytest.mark.parametrize(
    "verdict, remedy",
    [("floating", "jetson/with_clocks"), ("throttled", "cooling"), ("contended", "a quieter machine")],
)
def test_a_latency_that_is_not_stable_comes_with_what_mends_it(verdict, remedy):
    rows = [one._replace(verdict=verdict) for one in ROWS]
    remark = next(note for note in choose(rows).notes if verdict in note)
    assert "profile again" in remark and remedy in remark


def test_what_cannot_change_the_choice_casts_no_doubt():
    rows = [one._replace(verdict="stable", latency_ci_ms=(one.latency_ms, one.latency_ms)) for one in ROWS]
    chosen = choose(rows, "fastest-within").chosen
    slower = [one._replace(verdict="contended") if one.latency_ms > chosen.latency_ms else one for one in rows]
    notes = choose([one for one in slower if one.removed] + [rows[0]], "fastest-within").notes
    assert not [note for note in notes if "profile again" in note]


def test_an_uncertain_r0_makes_milliseconds_uncertain_and_not_gains():
    rows = [one._replace(verdict="stable") for one in ROWS]
    zero = rows[0]._replace(verdict="contended", latency_ci_ms=(3.0, 17.0))
    (note,) = [note for note in choose([zero, *rows[1:]], "fastest-within").notes if "milliseconds" in note]
    assert "gains are not" in note and "R = 0 took 3 to 17 ms" in note


def test_a_stable_latency_is_not_remarked_on():
    assert not [note for note in choose([one._replace(verdict="stable") for one in ROWS]).notes if "profile" in note]


def searched(removed, latency_ms, accuracy):
    tokens = (197, 197 - removed // 2, 197 - removed)
    return row(removed, latency_ms, accuracy, id="s{:06d}".format(removed), schedule=tokens)


def test_a_searched_schedule_competes_under_every_rule():
    rows = ROWS + [searched(60, 5.0, 0.795)]
    assert chosen(rows, "fastest-within") == chosen(rows, "utility") == "s000060"
    assert chosen(rows, "best-within", max_latency_ms=6.0) == "s000060"
    assert chosen(rows, "step", steps=[step(40)]) == "s000060"  # .005 / 5 against .005 / 3
    assert [r.schedule for r in choose(rows, "step", steps=[step(40)]).rows if r.schedule] == [(197, 167, 137)]


def test_without_steps_a_searched_schedule_stands_on_none():
    selection = choose(ROWS + [searched(60, 5.0, 0.795)])
    assert (selection.rule_used, selection.chosen.id) == ("fastest-within", "s000060")


def test_a_searched_schedule_with_the_count_of_an_edge_leaves_the_edge_where_it_is():
    rows = ROWS + [searched(40, 9.9, 0.799)]
    selection = choose(rows, steps=[step(40)])
    assert selection.chosen.id == "r040"
    assert "not 5 % faster" in next(r for r in selection.rows if r.schedule).why


@given(st.permutations(ROWS + [searched(40, 6.0, 0.795), searched(60, 5.0, 0.793)]), st.sampled_from(RULES))
def test_searched_schedules_leave_the_order_of_rows_without_meaning(rows, rule):
    assert choose(rows, rule, steps=[step(40)]) == choose(sorted(rows), rule, steps=[step(40)])


def test_step_rule_ties_an_edge_with_the_best_up_to_the_upper_end_of_its_interval():
    rows = [r._replace(accuracy_drop_ci=(0.0, 0.002)) if r.removed == 20 else r for r in ROWS]
    assert chosen(rows, steps=[step(20), step(40)]) == "r040"  # .005 / 3 lies between .001 / 1 and .002 / 1


def test_a_latency_that_equals_the_limit_meets_it():
    assert chosen(rule="best-within", max_latency_ms=7.0) == "r040"
