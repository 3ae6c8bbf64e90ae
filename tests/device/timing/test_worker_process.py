"""The worker process as its parent sees it: kept between requests, replaced when it died. Timing: test_worker."""

import os
import signal

import pytest

from pomt_trt.core.errors import PomtError
from pomt_trt.core.progress import Silent
from pomt_trt.device.board import board
from pomt_trt.device.timing.engine_records import Action, EngineRecords, Settings
from pomt_trt.device.timing.profiling import _request
from pomt_trt.device.timing.worker_process import Worker

pytest.importorskip("onnxruntime", reason="builds and times ONNX Runtime engines")
SETTINGS = Settings(threads=1, max_s=0.05)


@pytest.fixture
def request_for(graphs):
    """A request for some candidates of an experiment with R = 0, 4 and 8."""
    made = graphs({0: "r000", 4: "r004", 8: "r004"})
    device = board.device_spec("onnxruntime")

    def request(*names):
        chosen = [c for c in made.family.candidates if c.id in names]
        return _request(EngineRecords(made.work, made.family, device, SETTINGS), chosen, [], Action.TIME)

    request.work, request.device = made.work, device
    return request


def test_one_process_serves_one_request_after_the_other(request_for):
    with Worker() as worker:
        assert worker.do(request_for("r000"), Silent()).exit_code == 0
        first = worker._child.pid
        assert worker.do(request_for("r004"), Silent()).done == ("r004",)
        assert worker._child.pid == first
    assert os.path.isfile(request_for.work.latency(request_for.device.id, "r004"))


def test_a_process_that_died_is_told_and_replaced(request_for):
    with Worker() as worker:
        worker.do(request_for("r000"), Silent())
        os.kill(worker._child.pid, signal.SIGKILL)
        assert worker.do(request_for("r004"), Silent()).exit_code == -signal.SIGKILL
        assert worker.do(request_for("r004"), Silent()).exit_code == 0


def test_a_worker_that_was_asked_nothing_starts_no_process():
    with Worker() as worker:
        assert worker._child is None


def test_after_an_explained_error_the_process_is_gone(request_for):
    request = request_for("r000")
    with Worker() as worker:
        with pytest.raises(PomtError, match="is not the file that was exported"):
            worker.do(request._replace(reference=request.reference._replace(onnx_sha256="0" * 64)), Silent())
        assert worker._child is None
