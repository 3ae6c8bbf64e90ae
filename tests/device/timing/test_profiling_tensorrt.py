"""Profiling with TensorRT's stand-in in real child processes: gate, killed builds, foreign caches, rebuilds.

This shows our bookkeeping and nothing about TensorRT.
"""

import contextlib
import io
import os

import numpy as np
import pytest

from pomt_trt.core.errors import BuildFailed, CorruptArtifact, MissingDependency
from pomt_trt.core.progress import Progress
from pomt_trt.core.records import Experiment, LatencyProfile, Request
from pomt_trt.core.search.search_state import kept_build
from pomt_trt.core.storage import store
from pomt_trt.device.checks import golden_check
from pomt_trt.device.deploy import preprocess
from pomt_trt.device.engines.engine import check_files
from pomt_trt.device.timing import profiling
from pomt_trt.device.timing.engine_records import Action, EngineRecords, Settings
from tests import fakes, simulator
from tests.suite import RELEASES

pytest.importorskip("onnxruntime", reason="the stand-in runs graphs by it")
SETTINGS = Settings(threads=1, max_s=0.05)


class Told(Progress):
    """Progress that remembers what it was told."""

    def __init__(self):
        super().__init__("profile", 100, io.StringIO())
        self.messages = []

    def message(self, text):
        self.messages.append(text)


@pytest.fixture
def made(graphs):
    """A work folder of two candidates with golden inputs and the logits expected of each."""
    found = graphs({0: "r000", 4: "r004"})
    model = fakes.quadrant_model()
    asked = Request("quadrants", None, None, False, None, None, None, "topk", 0, 1, None, 16, 0)
    store.write_record(found.work.experiment(), Experiment(asked, model, "labelled", "top1", 16))
    pixels = np.random.RandomState(0).randint(0, 256, (16, 8, 8, 1)).astype(np.uint8)
    images = preprocess.normalise(pixels, model.preprocessing).reshape(16, 64)
    with open(found.work.weights("op13-fp32"), "rb") as file:
        weights = np.frombuffer(file.read(), np.float32).reshape(2, 64, 4)
    logits = [images @ each for each in weights]
    np.savez(found.work.golden(), pixels=pixels, logits=logits[0])
    os.makedirs(os.path.dirname(found.work.accuracy_arrays("r004")))
    np.savez(found.work.accuracy_arrays("r004"), logits=logits[1], margins=np.full(16, 0.1, np.float32))
    return found


def records(made, device, settings=SETTINGS):
    """What the work folder holds now."""
    return EngineRecords(made.work, made.family, device, settings)


def profile(made, device, settings=SETTINGS, action=Action.TIME):
    told = Told()
    profiling.profile(records(made, device, settings), made.family.candidates, told, action)
    return told


@pytest.mark.parametrize("release", RELEASES)
def test_engines_are_built_pass_the_gate_and_are_timed(made, machine, release):
    device = machine(release)
    profile(made, device)
    for name, source in (("r000", "golden.npz"), ("r004", "r004.npz")):
        engine, latency = records(made, device).engine(name), records(made, device).latency(name)
        assert engine.details["gate"]["source"] == source and engine.details["gate"]["error"] < 1e-3
        assert latency.gpu_ms > 0 and latency.transfers_ms > 0
        assert "staging" in latency.modes["memory"]
        assert latency.waiting == "default" and "without pause" in latency.modes["waiting"]
    assert records(made, device).engine("r000").details["timing_cache"] == "new"
    assert records(made, device).engine("r004").details["timing_cache"] == "reused"
    assert not [name for name in os.listdir(made.work.engines(device.id)) if name.startswith(".part-")]


def test_the_figure_of_an_engine_that_computes_something_else_is_its_failure(made, machine):
    device = machine("10.3.0", "wrong-logits=0.1")
    with pytest.raises(BuildFailed, match="R = 0 cannot be built.*differ from golden.npz"):
        profile(made, device)
    failure = records(made, device).failure("r000")
    assert failure.stage == "gate" and "1.0e-01" in failure.reason and "1e-03 is allowed" in failure.reason
    assert not os.path.exists(os.path.join(made.work.engines(device.id), "r000.engine"))


def test_an_engine_of_nan_is_never_a_candidate(made, machine):
    device = machine("8.2", "nan-logits=r004")
    told = profile(made, device)
    assert (
        records(made, device).failure("r004").stage == "gate"
        and "not finite" in records(made, device).failure("r004").reason
    )
    assert records(made, device).engine("r004") is None and records(made, device).latency("r000") is not None
    assert "r004 cannot be built" in told.messages[0]


@pytest.mark.parametrize("release", ["8.2", "10.3.0"])
def test_a_build_that_runs_out_of_memory_costs_one_candidate(made, machine, release):
    device = machine(release, "out-of-memory=r004")
    profile(made, device)
    assert (
        records(made, device).failure("r004").stage == "build"
        and "SIGKILL" in records(made, device).failure("r004").reason
    )
    assert records(made, device).latency("r000") is not None


def test_a_foreign_timing_cache_is_said_and_the_builds_go_on(made, machine):
    device = machine("10.3.0", "foreign-cache")
    store.write_bytes(os.path.join(made.work.engines(device.id), "timing.cache"), b"of another device")
    profile(made, device)
    assert records(made, device).engine("r000").details["timing_cache"].startswith("discarded")
    assert records(made, device).latency("r004") is not None


def test_what_is_built_and_timed_is_left(made, machine):
    device = machine("8.5")
    profile(made, device)
    before = records(made, device).latency("r004")
    machine("8.5", "out-of-memory")
    profile(made, device)
    assert records(made, device).latency("r004") == before


def test_a_candidate_is_built_again_and_its_builds_are_remembered(made, machine):
    device = machine("10.3.0", "build-noise=0.2")
    profile(made, device)
    before = records(made, device).engine("r004")
    for count in (2, 3):
        profile(made, device, action=Action.REBUILD)
        for name in ("r000", "r004"):
            builds = records(made, device).builds_ms(name)
            assert len(builds) == count and kept_build(builds) == 0
            assert records(made, device).latency(name).latency_ms == builds[0]
    after = records(made, device).engine("r004")
    assert after.file == before.file and after.details["layers"] == "r004.layers.json"
    left = sorted(name for name in os.listdir(made.work.engines(device.id)) if "again" in name)
    assert left == []


def test_a_poor_first_build_is_replaced(made, machine):
    device = machine("10.3.0")
    profile(made, device)
    path = made.work.latency(device.id, "r004")
    stored = store.read_record(path, LatencyProfile)
    poor = stored.record._replace(latency_ms=100.0, latency_ci_ms=(99.0, 101.0))
    store.write_record(path, poor, stored.inputs)
    machine("10.3.0", "build-noise=0.01")  # so that the second engine is another file
    before = records(made, device).engine("r004")
    profile(made, device, action=Action.REBUILD)
    builds = records(made, device).builds_ms("r004")
    assert builds[0] < 100.0 and builds[1] == 100.0
    assert records(made, device).engine("r004").sha256 != before.sha256
    assert records(made, device).latency("r004").engine_sha256 == records(made, device).engine("r004").sha256


def test_a_rebuild_that_is_killed_or_fails_counts_and_leaves_the_engine(made, machine):
    device = machine("10.3.0")
    profile(made, device)
    for count, faults in enumerate(("out-of-memory=r004", "nan-logits=r004"), 2):
        machine("10.3.0", faults)
        profile(made, device, action=Action.REBUILD)
        builds = records(made, device).builds_ms("r004")
        assert len(builds) == count and builds[-1] == float("inf")
        assert records(made, device).failure("r004") is None and records(made, device).latency("r004") is not None


def test_golden_inputs_are_the_ones_that_export_wrote(made):
    assert golden_check.golden(made.work.golden()).pixels.dtype == np.uint8


def ahead_of_time(made, machine, gpu="portable"):
    """Builds without a GPU; the device that the engines were recorded under."""
    from pomt_trt.device.engines import ahead

    with contextlib.suppress(MissingDependency):
        machine(simulator.RTX, "no-device")
    device = ahead.device("tensorrt-rtx", gpu)
    profile(made, device, SETTINGS._replace(gpu=gpu), action=Action.BUILD)
    return device


def test_a_gpu_adopts_engines_that_were_built_without_one_and_gates_and_times_them(made, machine):
    elsewhere = ahead_of_time(made, machine)
    built = {name: os.path.join(made.work.engines(elsewhere.id), name + ".engine") for name in ("r000", "r004")}
    assert all(map(os.path.isfile, built.values())) and not os.path.exists(made.work.latencies(elsewhere.id))
    device = machine(simulator.RTX)
    profile(made, device, SETTINGS._replace(threads=2))
    for name, path in built.items():
        settings = SETTINGS._replace(threads=2)
        engine = records(made, device, settings).engine(name)
        assert engine.sha256 == store.sha256_of(path)  # that file, not a new one
        assert engine.device == device and engine.details["ahead_of_time"] and engine.details["gate"]["error"] < 1e-3
        assert engine.details["kernels"]["file"] == name + ".kernels"
        assert records(made, device, settings).latency(name).latency_ms > 0


def test_an_engine_of_another_graph_or_a_damaged_one_is_built_and_not_adopted(made, machine):
    elsewhere = ahead_of_time(made, machine)
    path = os.path.join(made.work.engines(elsewhere.id), "r000.engine")
    with open(path, "ab") as file:
        file.write(b"more")
    made.exported_again(4, "r000")
    os.remove(made.work.accuracy_arrays("r004"))
    device = machine(simulator.RTX)
    profile(made, device)
    for name in ("r000", "r004"):
        assert "ahead_of_time" not in records(made, device).engine(name).details
        assert records(made, device).latency(name) is not None


def test_an_engine_that_was_built_without_a_gpu_has_to_pass_the_gate_too(made, machine):
    ahead_of_time(made, machine)
    device = machine(simulator.RTX, "nan-logits=r004")
    profile(made, device)
    assert records(made, device).failure("r004").stage == "gate" and records(made, device).engine("r000") is not None


def test_kernels_that_are_not_those_of_the_record_make_an_engine_be_built_again(made, machine):
    device = machine(simulator.RTX)
    profile(made, device)
    with open(os.path.join(made.work.engines(device.id), "r004.kernels"), "wb") as file:
        file.write(b"damaged")
    with pytest.raises(CorruptArtifact, match="r004.kernels is missing or not the file"):
        check_files(records(made, device).engine("r004"), made.work.engines(device.id))
    profile(made, device, action=Action.RETIME)
    check_files(records(made, device).engine("r004"), made.work.engines(device.id))
