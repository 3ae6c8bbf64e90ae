"""A selection in words."""

from pomt_trt.cli import tables
from pomt_trt.core.records import AccuracyEstimate, Row, Selection, Step

UNREDUCED = Row("r000", 17, 17, 0, 2.0, (1.9, 2.1), 0.96, (0.9, 1.0), 0.0, (0, 0), 1.0, "measured", "stable", "R = 0")
CHOSEN = Row(
    "r004", 17, 13, 4, 1.5, (1.4, 1.6), 0.95, (0.9, 1), 0.01, (-0.01, 0.03), 1.1, "measured", "contended", "won"
)
FAILED = Row("r008", 17, 9, 8, status="failed", why="no kernel for it")
ROWS = (UNREDUCED, CHOSEN, FAILED)
STEP = Step(13, 14, 0.4, (0.3, 0.5), 1e-5, True)


def selected(rows=ROWS, chosen=CHOSEN, **changes):
    pareto, notes = ("r000", "r004"), ("a note",)
    about = ("step", "step", "a-board", "top1", "host-fp32", {})
    return Selection(*about, UNREDUCED, chosen, (STEP,), rows, pareto, notes)._replace(**changes)


def line_of(text, word):
    return next(line for line in text.splitlines() if word in line)


def test_the_table_marks_the_chosen_row_and_the_pareto_set():
    text = tables.selection(selected())
    chosen, unreduced, failed = (line_of(text, why) for why in ("won", "R = 0", "no kernel"))
    assert chosen.split()[:4] == ["->", "13", "4", "1.500"] and "25.0%" in chosen and "+1.00" in chosen
    assert unreduced.startswith("* ") and "0.0%" in unreduced
    assert failed.split()[:3] == ["9", "8", "?"]


def test_an_unstable_measurement_is_named_beside_its_interval():
    text = tables.selection(selected())
    assert "1.400 .. 1.600 (contended)" in text and "1.900 .. 2.100 (" not in text


def test_the_verdict_says_rule_gain_loss_notes_and_device():
    text = tables.selection(selected())
    assert "Chosen by the rule step: R = 4, 13 tokens after the cut (r004)." in text
    assert "1.500 ms instead of 2.000 ms: 25.0% less." in text
    assert "top-1: 95.00%, +1.00 points lost (95 % interval -1.00 to +3.00)." in text
    assert "  a note\n" in text and text.endswith("Device: a-board.")


def test_the_unreduced_model_wins_without_gain_or_loss():
    text = tables.selection(selected(chosen=UNREDUCED))
    assert "R = 0, the unreduced model, 17 tokens" in text and "less." not in text and "lost" not in text


def test_agreement_is_called_so():
    text = tables.selection(selected(accuracy_kind="agreement"))
    assert "agreement" in text.splitlines()[0] and "agreement with R = 0: 95.00%" in text and "top-1" not in text


def test_steps_and_valleys_are_listed_and_their_absence_is_said():
    assert "valley at 13 tokens (from 14): 0.400 ms less, 0.300 .. 0.500 ms, p = 1.0e-05" in tables.selection(
        selected()
    )
    assert "No step in the latency curve is significant." in tables.selection(selected(steps=()))


def test_a_long_table_keeps_what_matters_and_says_how_much_it_leaves_out():
    others = tuple(Row("r1{:02d}".format(i), 200, 100 - i, 100 + i, 3.0, status="measured") for i in range(50))
    text = tables.selection(selected(rows=ROWS + others))
    assert "(50 more candidates are in the selection's JSON)" in text
    assert all(word in text for word in ("won", "R = 0", "no kernel"))


def test_rows_say_the_latency_and_its_pace_or_the_reason():
    lines = tables.rows(ROWS).splitlines()
    assert lines[0] == "r000  17 tokens  2.000 ms 1.900 .. 2.100  stable"
    assert lines[2] == "r008  9 tokens  no kernel for it  failed"
    paced = tables.rows(ROWS, 30.0).splitlines()
    assert paced == [lines[0] + ", paced at 30 FPS", lines[1] + ", paced at 30 FPS", lines[2]]


def test_an_evaluation_stands_beside_what_the_host_expected():
    engine = AccuracyEstimate("r004", "top1", 16, 0.75, (0.5, 0.9), 0.25, (0.1, 0.4), 0.1, "engine")
    unreduced = engine._replace(candidate_id="r000", accuracy=1.0, drop=0.0)
    text = tables.evaluation(engine, unreduced, CHOSEN, False)
    assert "16 images, top-1" in text and "engine r004  75.00%" in text and "engine r000  100.00%" in text
    assert "+25.00 points" in text and "the host estimated 95.00%: NOT as expected" in text
    assert "the host's estimate cannot be compared" in tables.evaluation(engine, unreduced, CHOSEN, None)


def test_a_searched_schedule_is_named_in_the_table_and_shown_block_by_block():
    row = CHOSEN._replace(id="s3fa9c1", schedule=(17, 15, 15, 13), why="won")
    text = tables.selection(selected(rows=(UNREDUCED, CHOSEN._replace(why="lost"), row), chosen=row))
    assert line_of(text, "won").split()[:3] == ["->", "13", "s3fa9c1"]
    assert "Searched schedules, tokens entering each block and leaving the last:" in text
    assert "  s3fa9c1  17 15 15 13" in text.splitlines()
    assert "13 tokens after the last block (s3fa9c1)" in text
    assert "Searched" not in tables.selection(selected())
