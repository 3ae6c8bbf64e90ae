"""Progress on a terminal and in a log."""

import io

from pomt_trt.core import progress as module
from pomt_trt.core.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_one_line_that_is_drawn_over():
    stream = Terminal()
    with Progress("accuracy", 4, stream) as bar:
        bar.step("r004 with a long note")
        bar.step("r008", count=2)
    text = stream.getvalue()
    assert text.count("\n") == 1 and text.endswith("\n")
    drawn = text.rstrip("\n").split("\r")[1:]
    assert "0/4" in drawn[0] and "1/4" in drawn[1] and "3/4" in drawn[2]
    assert "#" * 18 + "." * 6 in drawn[2]
    assert len(drawn[2]) >= len(drawn[1].rstrip())  # covers the longer line before it


def test_what_remains_is_told_by_the_pace_so_far(monkeypatch, clock):
    monkeypatch.setattr(module.time, "monotonic", clock)
    stream = Terminal()
    bar = Progress("profile", 4, stream)
    clock.pass_ms(6000)
    bar.step("r004")
    assert "1/4 6 s, 18 s left r004" in stream.getvalue()


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(monkeypatch, clock):
    monkeypatch.setattr(module.time, "monotonic", clock)
    stream = io.StringIO()
    with Progress("accuracy", 30, stream) as bar:
        for _ in range(30):
            clock.pass_ms(1000)
            bar.step()
    lines = stream.getvalue().splitlines()
    assert [line.split()[2] for line in lines] == ["10/30", "20/30", "30/30"]
    assert "\r" not in stream.getvalue()


def test_the_end_is_said_once_in_a_log():
    stream = io.StringIO()
    with Progress("profile", 1, stream) as bar:
        bar.step("r000")
        bar.show("closing")
        bar.show("closing")
    assert len(stream.getvalue().splitlines()) == 1


def test_a_message_stays_above_the_bar():
    stream = Terminal()
    with Progress("profile", 2, stream) as bar:
        bar.step("r004 and what it is doing just now")
        bar.message("r008 cannot be built")
    lines = stream.getvalue().split("\n")
    assert lines[0].split("\r")[-1].rstrip() == "r008 cannot be built"
    assert len(lines[0].split("\r")[-1]) >= len(lines[0].split("\r")[-2])


def test_nothing_to_do_is_no_division_by_nought():
    stream = Terminal()
    with Progress("accuracy", 0, stream) as bar:
        bar.at(0, "nothing")
    assert "0/1" in stream.getvalue()


def test_more_steps_than_announced_stay_a_bar():
    stream = Terminal()
    with Progress("accuracy", 2, stream) as bar:
        bar.at(5)
    assert "[" + "#" * 24 + "] 5/2" in stream.getvalue()
