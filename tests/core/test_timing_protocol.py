"""A child that answers timing requests, and what its parent says when it does not."""

import io
import json
import os
import sys
import time

import pytest

from pomt_trt.core import timing_protocol
from pomt_trt.core.errors import InputError, PomtError

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
    return timing_protocol.Child("the child", command, timing_protocol.environment("default"), **limits)


def speaking(text, **limits):
    """A child that writes an expression of text whatever it is asked, and then waits."""
    program = "import sys; sys.stdout.write({}); sys.stdout.flush(); sys.stdin.read()".format(text)
    return timing_protocol.Child("the child", [sys.executable, "-c", program], **limits)


class FakeClock:
    """Every look at it takes 5 ms."""

    now_s = 0.0

    def __call__(self):
        self.now_s += 0.005
        return self.now_s


def test_a_visit_times_each_run_but_the_first():
    done = []
    samples = timing_protocol.visit(lambda: done.append(1), 3, FakeClock())
    assert len(done) == 4 and samples == pytest.approx([5.0, 5.0, 5.0])


def test_serves_until_the_requests_end():
    answers = io.StringIO()
    requests = io.StringIO('{"runs": 2}\n{"runs": 1}\n')
    code = timing_protocol.serve(lambda: timing_protocol.Prepared(lambda: None, {"engine": "none"}), requests, answers)
    ready, two, one = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert code == 0 and ready == {"ready": {"engine": "none"}}
    assert (len(two["samples_ms"]), len(one["samples_ms"])) == (2, 1)


def test_asks_a_real_process_and_ends_it():
    with child(run="import time; time.sleep(0.02)") as asked:
        assert asked.about == {"what": "nothing much"}  # the line on stdout went elsewhere
        samples = asked.ask(2) + asked.ask(1)
        assert len(samples) == 3 and all(20 <= sample < 20000 for sample in samples)
    with pytest.raises(OSError):
        os.kill(asked.pid, 0)


def test_an_error_of_the_child_is_raised_as_what_it_is():
    with pytest.raises(InputError, match="the child: no such model. Name another"):
        child(prepare="raise InputError('no such model. Name another.')")


def test_a_child_that_dies_says_its_last_words_and_how_to_see_more():
    with child(run="raise ValueError('out of luck')") as asked:
        with pytest.raises(PomtError, match="ended with exit code 1: ValueError: out of luck. Run it") as raised:
            asked.ask(1)
    assert sys.executable in str(raised.value)


def test_a_child_that_is_killed_names_the_signal():
    with child(run="import os; os.kill(os.getpid(), 9)") as asked:
        with pytest.raises(PomtError, match=r"ended with signal 9 \(9: out of memory, perhaps\): a library says hello"):
            asked.ask(1)
    with child() as asked:
        os.kill(asked.pid, 9)
        asked._process.wait()  # so that the request itself meets a closed pipe
        with pytest.raises(PomtError, match="ended with signal 9"):
            asked.ask(1)


def test_a_child_that_hangs_is_stopped():
    began = time.monotonic()
    with pytest.raises(PomtError, match="has not answered for 1 s and was stopped. Free memory"):
        child(prepare="import time; time.sleep(600)", ready_s=1)
    with child(run="import time; time.sleep(600)", answer_s=0.5) as asked:
        with pytest.raises(PomtError, match="and was stopped"):
            asked.ask(1)
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("said", ["hello\n", "[]\n", "null\n", '"error"\n', '{"ready": 3}\n', "{}\n", "\xff\xfe\n"])
def test_nonsense_instead_of_ready_is_refused(said):
    with pytest.raises(PomtError, match="expected a JSON object with 'ready'. Run it by itself"):
        speaking(repr(said))


def test_an_endless_line_is_refused():
    with pytest.raises(PomtError, match="expected a JSON object"):
        speaking("'x' * {}".format(2 * timing_protocol.LONGEST_ANSWER_BYTES))


@pytest.mark.parametrize("said", ["[1.5]", "[1.5, null]", '["a", "b"]', "[1.0, 2.0, 3.0]"])
def test_other_times_than_asked_for_are_refused(said):
    with speaking(repr('{"ready": {}}\n{"samples_ms": ' + said + "}\n")) as asked:
        with pytest.raises(PomtError, match="expected a list of 2 numbers"):
            asked.ask(2)


def test_an_unknown_kind_of_error_is_still_explained():
    for kind in ("NoSuchError", "subprocess", "__name__"):
        with pytest.raises(PomtError, match="the child: it broke"):
            speaking(repr(json.dumps({"error": "it broke", "kind": kind}) + "\n"))


def test_the_environment_says_how_idle_threads_wait(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    passive, default = timing_protocol.environment("passive"), timing_protocol.environment("default")
    assert {name: passive[name] for name in timing_protocol.PASSIVE} == timing_protocol.PASSIVE
    assert not set(timing_protocol.PASSIVE) & set(default) and default["PATH"] == os.environ["PATH"]
