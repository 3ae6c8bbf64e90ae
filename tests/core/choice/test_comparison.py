"""Methods side by side: one R = 0, one Pareto set, eager in one unit, and what does not stand on the same ground."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomt_trt.core.choice.comparison import compared, pareto, table
from pomt_trt.core.choice.rules import Goal
from pomt_trt.core.choice.selection import AccuracySource, select
from pomt_trt.core.records import Contender, EagerLatencies, Row


def row(removed, latency_ms, accuracy, status="measured"):
    return Row("r{:03d}".format(removed), 197, 197 - removed, removed, latency_ms, accuracy=accuracy, status=status)


def selection(*rows, kind="top1"):
    goal = Goal("fastest-within", max_accuracy_drop=0.01)
    return select(rows, goal, (), device_id="d", accuracy=AccuracySource(kind, "host-fp32"))


def eager(doubt="", **latency_ms):
    return EagerLatencies("2.9", 2, "passive", latency_ms, {k: (v, v) for k, v in latency_ms.items()}, doubt)


POMT = selection(row(0, 10.0, 0.80), row(50, 8.0, 0.795), row(90, 6.0, 0.70))
TOPK = selection(row(0, 10.0, 0.80), row(50, 7.0, 0.76), row(90, 5.0, 0.72))


def test_the_pareto_set_is_that_of_all_methods():
    comparison = compared({"pomt": POMT, "topk": TOPK}, {}, {}, 1)
    assert comparison.pareto == ("topk r090", "topk r050", "pomt r050", "none r000")
    assert comparison.chosen == {"pomt": "r050", "topk": "r000"} and comparison.eager_pareto == ()
    assert len(comparison.contenders) == 4 and comparison.notes == ()


def test_what_was_not_measured_is_no_contender():
    failed = selection(row(0, 10.0, 0.8), row(50, None, 0.79, "failed"), row(60, 9.0, 0.79))
    assert [one.name for one in compared({"pomt": failed}, {}, {}, 1).contenders] == ["pomt r060"]


def test_eager_latencies_are_taken_relative_to_r_0_of_their_own_run():
    runs = {"pomt": eager(r000=40.0, r050=36.0), "topk": eager(r000=80.0, r050=64.0)}  # the second, at half the speed
    comparison = compared({"pomt": POMT, "topk": TOPK}, runs, {}, 1)
    by_name = {one.name: one for one in comparison.contenders}
    assert by_name["pomt r050"].eager_ms == 36.0 and by_name["topk r050"].eager_ms == 32.0
    assert by_name["topk r050"].eager_ci_ms == (32.0, 32.0) and by_name["topk r090"].eager_ms is None
    assert comparison.unreduced.eager_ms == 40.0
    assert comparison.eager_pareto == ("topk r050", "pomt r050", "none r000") and comparison.eager_torch == "2.9"


def test_an_r_0_that_was_timed_apart_is_told():
    slower = selection(row(0, 12.0, 0.80), row(50, 9.0, 0.795))
    assert "R = 0 of cropr took 12.000 ms" in compared({"pomt": POMT, "cropr": slower}, {}, {}, 1).notes[0]


def test_weights_of_its_own_are_told():
    other = selection(row(0, 10.0, 0.82), row(50, 8.0, 0.81))
    assert compared({"pomt": POMT, "cropr": other}, {}, {}, 1).notes == (
        "cropr has weights of its own: its R = 0 has accuracy 0.8200.",
    )


def test_a_doubtful_eager_run_is_told():
    comparison = compared({"pomt": POMT}, {"pomt": eager("interval of r000 is 9 %", r000=40.0)}, {}, 1)
    assert comparison.eager_doubt == {"pomt": "interval of r000 is 9 %"}
    assert "eager latencies of pomt: not to be quoted: interval of r000 is 9 %" in table(comparison).splitlines()


def test_the_table_shows_choices_fronts_and_what_is_missing():
    runs = {"pomt": eager(r000=40.0, r050=36.0)}
    text = table(compared({"pomt": POMT, "topk": TOPK}, runs, {"ltmp": "needs learned thresholds"}, 1))
    lines = text.splitlines()
    assert lines[1].split()[:3] == ["*e", "none", "r000"]
    chosen = next(line for line in lines if line.startswith("->"))
    assert chosen.split() == ["->*e", "pomt", "r050", "147", "8.000", "20.0%", "0.7950", "+0.50", "36.000", "10.0%"]
    assert "ltmp: not compared: needs learned thresholds" in lines
    assert not [line for line in lines if "pomt    r090" in line]  # neither chosen nor on a front


points = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 20)), min_size=1, max_size=12)


@given(points)
def test_nobody_on_the_front_is_beaten_and_everybody_else_is(numbers):
    everyone = [Contender("m", row(removed, float(ms), a / 20)) for removed, (ms, a) in enumerate(numbers)]
    front = pareto(everyone, lambda one: one.row.latency_ms)

    def beaten(one):
        ours = (one.row.latency_ms, -one.row.accuracy)
        return any(
            all(t <= o for t, o in zip((other.row.latency_ms, -other.row.accuracy), ours))
            and (other.row.latency_ms, -other.row.accuracy) != ours
            for other in everyone
        )

    values = {(one.row.latency_ms, one.row.accuracy) for one in everyone if one.name in front}
    assert values == {(one.row.latency_ms, one.row.accuracy) for one in everyone if not beaten(one)}
    latencies = [next(o.row.latency_ms for o in everyone if o.name == name) for name in front]
    assert latencies == sorted(latencies)


def test_without_accuracy_there_is_no_front():
    assert pareto([Contender("m", row(1, 5.0, None))], lambda one: one.row.latency_ms) == ()


@pytest.mark.parametrize("count", [0, 1])
def test_a_single_method_is_a_comparison_too(count):
    rows = [row(0, 10.0, 0.8)] + [row(50, 8.0, 0.795)] * count
    comparison = compared({"pomt": selection(*rows)}, {}, {}, 4)
    assert len(comparison.contenders) == count and comparison.batch_size == 4 and table(comparison)
