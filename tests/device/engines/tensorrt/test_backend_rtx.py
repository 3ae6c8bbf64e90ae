"""TensorRT-RTX on its stand-in: engines that run on several GPUs, and the kernels that are compiled on each.

This shows our bookkeeping and nothing about TensorRT-RTX; tests/rtx asks the real one.
"""

import os
import sys

import numpy as np
import pytest

from pomt_trt.core.errors import CorruptArtifact, MissingDependency, UsageError, WrongDevice
from pomt_trt.core.storage import store
from pomt_trt.device.board import board
from pomt_trt.device.deploy import deployed
from pomt_trt.device.engines import ahead, engine
from pomt_trt.device.engines.tensorrt import bindings, runner
from tests import fakes, simulator
from tests.device import golden
from tests.simulator.board import RTX_4090

pytest.importorskip("onnxruntime", reason="the stand-in runs graphs by it")
pytestmark = pytest.mark.usefixtures("no_libcudart")
TURING = RTX_4090._replace(name="NVIDIA GeForce RTX 2080", compute_capability=(7, 5))
BLACKWELL = RTX_4090._replace(name="NVIDIA GeForce RTX 5090", compute_capability=(12, 0))


def installed(device=None, faults=""):
    return simulator.installed(simulator.RTX, device, faults)


def built(source, folder, gpu=None, **options):
    device = ahead.device("tensorrt-rtx", gpu) if gpu else board.device_spec("tensorrt-rtx")
    path = os.path.join(folder, "r004.engine")
    options = engine.BuildOptions(gpu=gpu, **options)
    return engine.build(os.path.join(source, "r004-b1.onnx"), path, device, "r004", options)


def run(record, folder):
    with engine.open_engine(record, folder) as opened:
        opened.run(np.ones(record.input_shape, np.float32))
        return opened.kernels()


def cached(tmp_path):
    folder = tmp_path / "cache" / "pomt-trt"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def test_without_a_gpu_an_engine_is_built_but_neither_inspected_nor_timed(source, folder):
    with installed(faults="no-device"):
        record = built(source, folder, "portable", timing_cache=os.path.join(folder, "timing.cache"))
    assert record.details["built_for"] == "portable" and record.details["ahead_of_time"]
    assert not {"layers", "fused_attention", "clocks", "timing_cache"} & set(record.details)
    assert os.listdir(folder) == ["r004.engine"]


def test_an_engine_is_built_for_the_gpu_that_was_named(source, folder):
    for gpu, named in (("portable", []), ("7.5", ["SM75"]), ("12.1", ["SM121"])):
        with installed():
            built(source, folder, gpu)
        with open(os.path.join(folder, "r004.engine"), "rb") as file:
            assert simulator.plan_header(file.read())["compute_capabilities"] == named


def test_what_cannot_be_built_without_a_gpu_never_reaches_the_parser(source, folder):
    with installed(faults="no-device"):
        with pytest.raises(UsageError, match="plugins cannot be built ahead of time"):
            built(source, folder, "portable", plugin=object())
        with pytest.raises(UsageError, match="bf16 is not for --gpu 7.5"):
            built(source, folder, "7.5", precision="bf16")
    assert not os.path.exists(folder)


def test_a_portable_engine_runs_on_another_gpu_and_one_for_a_gpu_does_not(source, folder):
    with installed():
        record = built(source, folder)
    with installed(BLACKWELL):
        run(record, folder)
    with installed(TURING), pytest.raises(WrongDevice, match="for other GPUs than the one here.*--rebuild"):
        run(record, folder)
    with installed(TURING):
        record = built(source, folder)  # for it alone: portable engines begin at 8.0
        assert record.details["built_for"] == "7.5"
        run(record, folder)
    with installed(), pytest.raises(WrongDevice, match="other GPUs"):
        run(record, folder)


def test_an_engine_of_another_version_is_refused_before_it_is_loaded(source, folder):
    with installed():
        record = built(source, folder)
        older = record._replace(device=record.device._replace(engine_version="1.6.0.1"))
        with pytest.raises(WrongDevice, match="tensorrt-rtx 1.6.0.1.*this is tensorrt-rtx 1.7.1.116"):
            run(older, folder)


def test_a_damaged_engine_is_told_from_a_driver_that_is_too_old(source, folder):
    with installed():
        record = built(source, folder)
        path = os.path.join(folder, record.file)
        with open(path, "rb") as file:
            whole = file.read()
        store.write_bytes(path, whole[:-1])
        cut = record._replace(bytes=len(whole) - 1, sha256=store.sha256_of(path))
        with pytest.raises(CorruptArtifact, match="is no engine of this library, or is damaged"):
            run(cut, folder)
        store.write_bytes(path, whole)
    with installed() as machine:
        here = board.device_spec("tensorrt-rtx")
        assert here == record.device
        with engine.open_engine(record, folder):
            machine.faults["no-device"] = ""  # the driver goes away under us, as after an upgrade
        trt = sys.modules["tensorrt_rtx"]
        runtime = trt.Runtime(bindings.log_of(trt))
        with pytest.raises(MissingDependency, match="cudaError 35.*Update NVIDIA's driver"):
            runner.check_validity(trt, runtime, whole, path)


def test_kernels_are_compiled_once_and_kept_in_the_users_cache(source, folder, tmp_path):
    with installed():
        record = built(source, folder)
        first = run(record, folder)
        (kept,) = cached(tmp_path)
        assert kept.read_bytes() == first and kept.name == record.sha256[:32] + ".kernels"
        before = os.stat(str(kept)).st_mtime_ns
        assert run(record, folder) == first
        assert os.stat(str(kept)).st_mtime_ns == before  # nothing new, nothing written
    assert oct(os.stat(str(kept.parent)).st_mode)[-3:] == "700"


@pytest.mark.parametrize("damage", [lambda data: data[:20], lambda data: b"foreign", lambda data: data[::-1]])
def test_a_damaged_or_foreign_kernel_file_is_made_anew_and_that_is_said(source, folder, tmp_path, caplog, damage):
    with installed():
        record = built(source, folder)
        right = run(record, folder)
        (kept,) = cached(tmp_path)
        kept.write_bytes(damage(right))
        assert run(record, folder) == right == kept.read_bytes()
    assert "is not used: it is damaged, or of another GPU" in caplog.text


def test_kernels_of_another_gpu_are_not_taken(source, folder, tmp_path, caplog):
    with installed():
        record = built(source, folder)
        run(record, folder)
    with installed(BLACKWELL):
        run(record, folder)
    assert "of another GPU" in caplog.text


def test_a_cache_that_cannot_be_written_costs_a_warning_only(source, folder, tmp_path, caplog):
    (tmp_path / "cache").write_bytes(b"a file in the place of the folder")
    with installed():
        run(built(source, folder), folder)
    assert "compiled kernels are not kept" in caplog.text


def test_an_engine_says_where_it_was_chosen_when_it_runs_elsewhere(source, folder):
    with installed():
        record = built(source, folder)
        assert engine.built_elsewhere(record) is None
    with installed(BLACKWELL):
        told = engine.built_elsewhere(record)
    assert told[0] == "r004" and "4090" in told[1] and "5090" in told[2]
    assert engine.built_elsewhere(fakes.made_up_engine()) is None


def test_libraries_of_another_version_than_the_bindings_are_refused(monkeypatch):
    monkeypatch.setattr(bindings, "native_version", lambda name: "1.6.0")
    told = "bindings of tensorrt_rtx are version 1.7.1, and the native library that they load is version 1.6.0"
    with installed(), pytest.raises(MissingDependency, match=told):
        bindings.package("tensorrt-rtx")


def test_a_bundle_says_where_its_choice_was_made(tmp_path, caplog):
    with installed():
        bundle = golden.tensorrt_bundle(tmp_path, board.device_spec("tensorrt-rtx"))
        deployed.open_predictor(bundle).close()
    assert "was chosen" not in caplog.text
    with installed(BLACKWELL):
        deployed.open_predictor(bundle).close()
    assert "r004 was chosen on NVIDIA GeForce RTX 4090" in caplog.text and "5090" in caplog.text
