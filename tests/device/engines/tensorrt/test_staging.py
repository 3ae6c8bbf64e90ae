"""Staging on the stand-in, whose copies take as long as it is told: nothing here says what a board's take."""

import os

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="the stand-in runs graphs by it")

from pomt_trt.device.board import board
from pomt_trt.device.engines import contract, engine
from pomt_trt.device.engines.tensorrt import staging
from tests import fakes, simulator


@pytest.fixture
def opened(source, folder):
    """opened(release, faults) -> what a runner on that board says of its memory; its answers are checked."""

    def run(release, faults="", device=None, **details):
        with simulator.installed(release, device) as machine:
            graph, path = os.path.join(source, "r004-b1.onnx"), os.path.join(folder, "r004.engine")
            record = engine.build(graph, path, board.device_spec("tensorrt"), "r004", contract.BuildOptions())
            record = record._replace(details=dict(record.details, **details))
            machine.faults.update(part.split("=") for part in faults.split(",") if part)
            with engine.open_engine(record, folder) as runner:
                image = np.random.RandomState(0).rand(1, 1, 8, 8).astype(np.float32)
                logits = image.reshape(1, 64) @ fakes.quadrant_weights("r004")
                np.testing.assert_allclose(runner.run(image), logits, rtol=1e-5)
                told = runner.modes()["memory"]
        assert machine.memory.used_bytes == 0
        return told

    return run


@pytest.mark.parametrize(
    "faults, faster, slower",
    [("slow-page-locked=2", "pageable", "page-locked"), ("slow-pageable=2", "page-locked", "pageable")],
)
def test_a_tx2_takes_the_memory_that_is_faster_and_says_both_times(opened, faults, faster, slower):
    told = opened("8.2", faults)
    assert told.startswith(faster + " staging: its copies take 0.")
    slow_ms = float(told.split("through {} memory ".format(slower))[1].split()[0])
    assert slow_ms > 4.0  # two copies


@pytest.mark.parametrize("release", ["8.5", "10.3.0"])
def test_boards_whose_gpu_sees_the_processors_caches_take_page_locked_memory_unmeasured(opened, release):
    assert opened(release, "slow-page-locked=2") == "page-locked staging"


def test_what_is_asked_is_the_capability_and_not_the_release(opened):
    nano = simulator.ORIN._replace(compute_capability=(5, 3))
    assert opened("10.3.0", "slow-page-locked=2", nano).startswith("pageable staging: ")


def test_both_are_timed_in_turn():
    """So that a board that speeds up meanwhile favours neither."""
    order = []

    class Session:
        compute_capability = (6, 2)

        def pageable(self, buffer):
            return buffer._replace(page_locked=None)

        def copy_in(self, buffer):
            order.append(buffer.page_locked)

        def copy_out(self, buffer):
            pass

    buffer = staging.Buffer(np.zeros(1, np.float32), "locked", None)
    staging.chosen(Session(), (buffer, buffer), lambda: None)
    assert order == ["locked", None] * staging.TIMES


@pytest.mark.parametrize("release", ["8.2", "10.3.0"])
@pytest.mark.parametrize("asked", [staging.PAGE_LOCKED, staging.PAGEABLE])
def test_either_can_be_asked_for_and_is_taken_unmeasured(opened, release, asked):
    faults = "slow-pageable=2" if asked == staging.PAGEABLE else "slow-page-locked=2"
    assert opened(release, faults, staging=asked) == asked + " staging"
