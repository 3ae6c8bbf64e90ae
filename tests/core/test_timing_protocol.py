"""The child's end of the protocol: bursts, answers and events."""

import io
import itertools
import json

import pytest

from pomt_trt.core.errors import BuildFailed
from pomt_trt.core.timing_protocol import Prepared, burst, serve


def test_a_burst_times_each_run_but_the_first():
    done, clock = [], itertools.count(100.0, 0.005)  # each look at it takes 5 ms
    samples = burst(lambda: done.append(1), 3, lambda: next(clock))
    assert len(done) == 4 and samples == pytest.approx([5.0, 5.0, 5.0])


def test_serves_until_the_requests_end():
    answers = io.StringIO()
    requests = io.StringIO('{"runs": 2}\n{"runs": 1}\n')
    code = serve(lambda: Prepared(lambda: None, {"engine": "none"}), requests, answers)
    ready, two, one = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert code == 0 and ready == {"ready": {"engine": "none"}}
    assert (len(two["answer"]), len(one["answer"])) == (2, 1)


class Failing:
    """Tells an event, and then fails."""

    about = {}

    def answer(self, request, report):
        report("building", id=request["id"])
        raise BuildFailed("no engine")


def test_events_and_the_class_of_an_error_are_sent():
    answers = io.StringIO()
    assert serve(Failing, io.StringIO('{"id": "r056"}\n{"id": "r098"}\n'), answers) == BuildFailed.exit_code
    assert [json.loads(line) for line in answers.getvalue().splitlines()] == [
        {"ready": {}},
        {"event": "building", "id": "r056"},
        {"error": "no engine", "kind": "BuildFailed"},
    ]
