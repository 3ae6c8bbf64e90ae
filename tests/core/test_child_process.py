"""A child that serves requests, and what its parent says when it does not."""

import json
import os
import sys
import time

import pytest

from pomt_trt.core import child_process
from pomt_trt.core.errors import InputError, PomtError
from pomt_trt.core.timing_protocol import PASSIVE

CHILD = """
import sys
from pomt_trt.core.errors import InputError
from pomt_trt.core.timing_protocol import Prepared, serve
def prepare():
    print("a library says hello on stdout")
    {}
    return Prepared(run, {{"what": "nothing much"}})
def run():
    {}
sys.exit(serve(prepare))
"""


def child(prepare="pass", run="pass", **limits):
    command = [sys.executable, "-c", CHILD.format(prepare, run)]
    return child_process.Child("the child", command, child_process.environment("default"), **limits)


def speaking(text, **limits):
    """A child that writes an expression of text whatever it is asked, and then waits."""
    program = "import sys; sys.stdout.write({}); sys.stdout.flush(); sys.stdin.read()".format(text)
    return child_process.Child("the child", [sys.executable, "-c", program], **limits)


def test_asks_a_real_process_and_ends_it():
    with child(run="import time; time.sleep(0.02)") as asked:
        assert asked.about == {"what": "nothing much"}  # the line on stdout went elsewhere
        samples = asked.burst(2) + asked.burst(1)
        assert len(samples) == 3 and all(20 <= sample < 20000 for sample in samples)
    with pytest.raises(OSError):
        os.kill(asked.pid, 0)


def test_an_error_of_the_child_is_raised_as_what_it_is():
    with pytest.raises(InputError, match="the child: no such model. Name another"):
        child(prepare="raise InputError('no such model. Name another.')")


def test_a_child_that_dies_says_its_last_words_and_how_to_see_more():
    with child(run="raise ValueError('out of luck')") as asked:
        with pytest.raises(PomtError, match="ended with exit code 1: ValueError: out of luck. Run it") as raised:
            asked.burst(1)
    assert sys.executable in str(raised.value)


def test_a_child_that_is_killed_names_the_signal():
    with child(run="import os; os.kill(os.getpid(), 9)") as asked:
        with pytest.raises(PomtError, match=r"ended with signal 9 \(9: out of memory, perhaps\): a library says hello"):
            asked.burst(1)
    with child() as asked:
        os.kill(asked.pid, 9)
        asked._process.wait()  # so that the request itself meets a closed pipe
        with pytest.raises(PomtError, match="ended with signal 9"):
            asked.burst(1)


def test_a_child_that_hangs_is_stopped():
    began = time.monotonic()
    with pytest.raises(PomtError, match="has not answered for 1 s and was stopped. Free memory"):
        child(prepare="import time; time.sleep(600)", ready_s=1)
    with child(run="import time; time.sleep(600)", answer_s=0.5) as asked:
        with pytest.raises(PomtError, match="and was stopped"):
            asked.burst(1)
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("said", ["hello\n", "[]\n", "null\n", '"error"\n', '{"ready": 3}\n', "{}\n", "\xff\xfe\n"])
def test_nonsense_instead_of_ready_is_refused(said):
    with pytest.raises(PomtError, match="expected a JSON object with 'ready'. Run it by itself"):
        speaking(repr(said))


def test_an_endless_line_is_refused():
    with pytest.raises(PomtError, match="expected a JSON object"):
        speaking("'x' * {}".format(2 * child_process.LONGEST_LINE_BYTES))


@pytest.mark.parametrize("said", ["[1.5]", "[1.5, null]", '["a", "b"]', "[1.0, 2.0, 3.0]"])
def test_other_times_than_asked_for_are_refused(said):
    with speaking(repr('{"ready": {}}\n{"answer": ' + said + "}\n")) as asked:
        with pytest.raises(PomtError, match="expected a list of 2 numbers"):
            asked.burst(2)


def test_an_unknown_kind_of_error_is_still_explained():
    for kind in ("NoSuchError", "subprocess", "__name__"):
        with pytest.raises(PomtError, match="the child: it broke"):
            speaking(repr(json.dumps({"error": "it broke", "kind": kind}) + "\n"))


def test_the_environment_says_how_idle_threads_wait(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    passive, default = child_process.environment("passive"), child_process.environment("default")
    assert {name: passive[name] for name in PASSIVE} == PASSIVE
    assert not set(PASSIVE) & set(default) and default["PATH"] == os.environ["PATH"]


def test_events_are_heard_until_the_answer_comes():
    lines = ['{"ready": {}}', '{"event": "building", "id": "r056"}', '{"event": "built"}', '{"answer": null}']
    heard = []
    with speaking(repr("\n".join(lines) + "\n")) as asked:
        assert asked.ask({}, heard.append) is None
    assert [event["event"] for event in heard] == ["building", "built"]


def test_an_event_where_none_may_be_is_refused():
    with speaking(repr('{"ready": {}}\n{"event": "building"}\n')) as asked:
        with pytest.raises(PomtError, match="expected a JSON object with 'answer'"):
            asked.burst(1)
