"""The child process on real graphs: one request in, records and events out."""

import json
import os
import subprocess

import pytest

from pomt_trt.core.child_process import command
from pomt_trt.core.records import Engine, Failure, LatencyProfile
from pomt_trt.core.storage import store
from pomt_trt.device.board import board
from pomt_trt.device.engines import engine
from pomt_trt.device.timing import worker_protocol
from pomt_trt.device.timing.turns import engine_group
from tests import paths
from tests.device.conftest import FORM, candidate

pytest.importorskip("onnxruntime", reason="builds and times ONNX Runtime engines")
ROOT = paths.ROOT
QUICK_S = 0.1  # of timing, for one candidate


def request_for(made, removed, timed=True):
    """A request for these candidates of Graphs; R = 0 is the reference."""

    def job(count):
        name, family = candidate(count).id, made.family
        return worker_protocol.Job(name, made.work.graph(FORM, name), family.graph_sha256[name], family.weights_sha256)

    device = board.device_spec("onnxruntime")
    return worker_protocol.Request(
        device=device,
        engines=made.work.engines(device.id),
        latency=made.work.latencies(device.id) if timed else None,
        jobs=tuple(job(count) for count in removed),
        reference=job(0),
        settings=worker_protocol.Settings(threads=1, max_s=QUICK_S),
    )


def paced(request):
    """The same request with runs that begin at a camera's pace."""
    return request._replace(settings=request.settings._replace(pace_fps=200.0))


def started():
    """A real worker, with pipes for all that it reads and writes."""
    return subprocess.Popen(
        command("pomt_trt.device.timing.worker"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ, PYTHONPATH=ROOT),
    )


def run(request, status=0):
    """Events that a real worker reports, timing apart; its stderr must be empty."""
    child = started()
    out, err = child.communicate(json.dumps(store.to_json(request)).encode())
    assert (child.returncode, err.decode()) == (status, "")
    events = [json.loads(line) for line in out.decode().splitlines()]
    assert events.pop(0) == {"ready": {}}
    assert status or events.pop() == {"answer": None}
    return [event for event in events if event.get("event") != "timing"]


def told(events):
    return [(event["event"], event["id"]) for event in events]


def engine_in(request, name):
    return store.read_record(os.path.join(request.engines, name + ".json"), Engine).record


def latency_in(request, name):
    return store.read_record(os.path.join(request.latency, name + ".json"), LatencyProfile)


def test_a_group_is_built_and_timed_with_its_reference_first(graphs):
    request = request_for(graphs({0: "r000", 4: "r004", 8: "r004"}), (0, 4, 8))
    events = run(request)
    built = [(event, name) for name in ("r000", "r004", "r008") for event in ("building", "built")]
    assert told(events) == built + [("profiled", name) for name in ("r000", "r004", "r008")]
    for name in ("r000", "r004", "r008"):
        record, found = engine_in(request, name), latency_in(request, name)
        engine.check_files(record, request.engines)
        assert found.record.engine_sha256 == record.sha256 and found.record.latency_ms > 0
        assert found.record.candidate_id == name and (found.record.tie == 1.0) is (name == "r000")
        assert {"steal", "others", "involuntary_per_s", "drift"} <= set(found.record.contention)


def test_a_later_group_is_tied_to_the_references_profile_which_stays(graphs):
    made = graphs({0: "r000", 4: "r004"})
    run(request_for(made, (0,)))
    request = request_for(made, (4,))
    before = latency_in(request, "r000")
    assert told(run(request)) == [("building", "r004"), ("built", "r004"), ("profiled", "r004")]
    assert latency_in(request, "r000") == before
    assert latency_in(request, "r004").record.tie != 1.0


def test_a_request_without_timing_only_builds(graphs):
    request = request_for(graphs({0: "r000", 4: "r004"}), (4,), timed=False)
    assert told(run(request)) == [(e, n) for n in ("r000", "r004") for e in ("building", "built")]


def test_a_broken_graph_is_a_failure_with_its_reason_and_the_rest_goes_on(graphs):
    request = request_for(graphs({0: "r000", 4: None, 8: "r004"}), (0, 4, 8))
    events = run(request)
    assert ("failed", "r004") in told(events) and ("profiled", "r008") in told(events)
    failure = store.read_record(os.path.join(request.engines, "r004.failed.json"), Failure).record
    assert (failure.candidate_id, failure.stage) == ("r004", "build") and "cannot build" in failure.reason
    assert not os.path.exists(os.path.join(request.engines, "r004.json"))


def test_without_a_reference_nothing_else_is_built(graphs):
    request = request_for(graphs({0: None, 4: "r004"}), (0, 4))
    assert told(run(request)) == [("building", "r000"), ("failed", "r000")]


def test_what_is_built_already_is_left_as_it_is(graphs):
    request = request_for(graphs({0: "r000", 4: "r004"}), (0, 4), timed=False)
    run(request)
    before = engine_in(request, "r004")
    assert run(request) == [] and engine_in(request, "r004") == before


@pytest.mark.parametrize("name, data", [("r004.engine", b"{"), ("r004.json", b"{"), ("weights.bin", None)])
def test_what_is_missing_or_damaged_is_built_anew(graphs, name, data):
    request = request_for(graphs({0: "r000", 4: "r004"}), (4,), timed=False)
    run(request)
    path = os.path.join(request.engines, name)
    os.unlink(path)
    if data is not None:
        with open(path, "wb") as file:
            file.write(data)
    assert "built" in [event["event"] for event in run(request)]
    for name in ("r000", "r004"):
        engine.check_files(engine_in(request, name), request.engines)


@pytest.mark.parametrize("name", ["r004.onnx", "weights.bin"])
def test_a_graph_or_weights_cut_short_end_the_run_and_fail_no_candidate(graphs, name):
    made = graphs({0: "r000", 4: "r004"})
    run(request_for(made, (0,), timed=False))
    path = os.path.join(made.work.onnx(FORM), name)
    with open(path, "rb") as file:
        whole = file.read()
    with open(path, "wb") as file:
        file.write(whole[:100])
    request = request_for(made, (4,))
    (event,) = run(request, status=9)
    assert event["kind"] == "CorruptArtifact"
    assert "{} is not the file that was exported".format(name) in event["error"] and "Copy it again" in event["error"]
    assert not os.path.exists(os.path.join(request.engines, "r004.failed.json"))


def test_an_error_that_is_the_users_to_mend_is_reported_with_its_class(graphs):
    made = graphs({0: "r000"})
    request = request_for(made, (0,))
    os.makedirs(os.path.dirname(request.engines))
    open(request.engines, "w").close()  # a file where the folder belongs
    event = run(request, status=12)[-1]
    assert event["kind"] == "WorkFolderUnusable" and "a part of this path is a file" in event["error"]


def test_the_waiting_that_was_used_is_recorded_where_a_pool_cannot_be_shared(graphs):
    import onnxruntime

    request = request_for(graphs({0: "r000"}), (0,))
    run(request)
    found = latency_in(request, "r000")
    shared = hasattr(onnxruntime, "set_global_thread_pool_sizes")
    assert found.record.waiting == ("default" if shared else "passive") and found.inputs["waiting"] == "default"


def test_a_paced_profile_is_another_than_one_taken_back_to_back(graphs):
    request = request_for(graphs({0: "r000"}), (0,))
    run(request)
    before = latency_in(request, "r000")
    assert before.record.pace_fps is None and "missed" not in before.record.contention
    assert told(run(paced(request))) == [("profiled", "r000")]
    after = latency_in(request, "r000")
    assert after.record.pace_fps == 200.0 and 0 <= after.record.contention["missed"] <= 1
    assert (before.inputs["pace"], after.inputs["pace"]) == ("none", "200.0")
    assert all(len(row) == engine_group.PACED_RUNS for row in after.record.rounds_ms)


def test_a_paced_candidate_is_not_tied_to_a_reference_that_was_timed_back_to_back(graphs):
    made = graphs({0: "r000", 4: "r004"})
    run(request_for(made, (0,)))
    request = paced(request_for(made, (4,)))
    assert told(run(request))[2:] == [("profiled", "r000"), ("profiled", "r004")]
    reference = latency_in(request, "r000").record
    assert (reference.pace_fps, reference.tie) == (200.0, 1.0), "timed anew, and tied to nothing"
    assert latency_in(request, "r004").record.pace_fps == 200.0


def test_the_processors_time_is_recorded(graphs):
    request = request_for(graphs({0: "r000"}), (0,))
    run(request)
    found = latency_in(request, "r000").record
    assert 0 < found.cpu_ms < 20 * found.p99_ms


def test_a_parent_that_has_gone_ends_the_child_quietly(graphs):
    request = request_for(graphs({0: "slow"}), (0,))
    child = started()
    with child:
        child.stdin.write(json.dumps(store.to_json(request)).encode())
        child.stdin.close()
        assert b"ready" in child.stdout.readline()
        assert b"building" in child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 130
