"""Real engines of ONNX Runtime: built, opened, run; and refused where they are not what was built, or not here."""

import errno
import os

import numpy as np
import pytest

from pomt_trt.core.cpus import Cpus
from pomt_trt.core.errors import BuildFailed, CorruptArtifact, UsageError, WorkFolderUnusable, WrongDevice
from pomt_trt.core.storage import store
from pomt_trt.device.board import board
from pomt_trt.device.engines import contract, engine, onnxruntime, registry
from tests import fakes

runtime = pytest.importorskip("onnxruntime", reason="builds ONNX Runtime engines")
OPTIONS = contract.BuildOptions(threads=1)


def built(source, folder, name="r004", batch=1):
    graph = os.path.join(source, "{}-b{}.onnx".format(name, batch))
    path = os.path.join(folder, name + ".engine")
    return engine.build(graph, path, board.device_spec("onnxruntime"), name, OPTIONS)


def overwritten(path, data):
    os.unlink(path)
    with open(path, "wb") as file:
        file.write(data)


def logits(record, folder, **options):
    batch = np.random.RandomState(0).rand(*record.input_shape).astype(np.float32)
    with engine.open_engine(record, folder, **options) as runner:
        assert runner.input_shape == record.input_shape
        return batch, runner.run(batch)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", ["r000", "r004"])
def test_an_engine_computes_what_its_graph_says(source, folder, name, batch):
    record = built(source, folder, name, batch)
    image, found = logits(record, folder)
    np.testing.assert_allclose(found, image.reshape(batch, 64) @ fakes.quadrant_weights(name), rtol=1e-5)
    assert found.dtype == np.float32 and record.input_shape == (batch, 1, 8, 8)


def test_an_engine_runs_with_fewer_threads_where_the_process_may_use_fewer(source, folder, monkeypatch, caplog):
    record = built(source, folder)._replace(threads=4)
    seen, opened = [], onnxruntime.open_file

    def remembering(path, record, threads, waiting, shared_pool):
        seen.append(threads)
        return opened(path, record, threads, waiting, shared_pool)

    monkeypatch.setattr(onnxruntime, "open_file", remembering)
    for quota, expected in ((1.0, 1), (8.0, 4)):
        monkeypatch.setattr(engine.cpus, "usable", lambda found=Cpus(8, 8, quota): found)
        logits(record, folder)
        assert seen[-1] == expected
    logits(record, folder, threads=2)
    assert seen == [1, 4, 2]
    assert caplog.messages == ["the engine was built for 4 threads and runs with 1 here: the cgroup CPU quota is 1"]


def test_the_record_names_files_device_and_options(source, folder):
    record = built(source, folder)
    path = os.path.join(folder, record.file)
    assert (record.candidate_id, record.file, record.threads) == ("r004", "r004.engine", 1)
    assert (record.sha256, record.bytes) == (store.sha256_of(path), os.path.getsize(path))
    assert record.weights_sha256 == store.sha256_of(os.path.join(folder, "weights.bin"))
    assert record.device == board.device_spec("onnxruntime") and record.build_s > 0


def test_engines_share_one_copy_of_the_graphs_weights_and_nothing_else_is_left(source, folder):
    built(source, folder, "r000")
    built(source, folder, "r004")
    assert sorted(os.listdir(folder)) == ["r000.engine", "r004.engine", "weights.bin"]
    assert os.stat(os.path.join(folder, "weights.bin")).st_nlink == 1


def test_an_engine_built_again_is_the_same_file(source, folder):
    assert built(source, folder).sha256 == built(source, folder).sha256


@pytest.mark.parametrize("threads, waiting", [(1, "default"), (2, "passive"), (None, "default")])
def test_an_engine_runs_with_any_threads_and_waiting(source, folder, threads, waiting):
    record = built(source, folder)
    image, found = logits(record, folder, threads=threads, waiting=waiting)
    np.testing.assert_allclose(found, image.reshape(1, 64) @ fakes.quadrant_weights("r004"), rtol=1e-5)


@pytest.mark.parametrize("data", [b"", b"this is no ONNX", None], ids=["empty", "garbage", "cut"])
def test_a_broken_graph_is_no_engine_and_the_reason_is_told(source, folder, data):
    graph = os.path.join(source, "r004-b1.onnx")
    if data is None:
        with open(graph, "rb") as file:
            data = file.read()[:100]
    overwritten(graph, data)
    with pytest.raises(BuildFailed, match="ONNX Runtime .* cannot build .*r004-b1.onnx: .*Export it again"):
        built(source, folder)
    assert os.listdir(folder) == ["weights.bin"]


def test_a_graph_without_its_weights_or_without_itself_is_no_engine(source, folder):
    os.unlink(os.path.join(source, "weights.bin"))
    with pytest.raises(BuildFailed):
        built(source, folder)
    os.unlink(os.path.join(source, "r004-b1.onnx"))
    with pytest.raises(BuildFailed):
        built(source, folder)
    assert os.listdir(folder) == []


def test_a_full_disk_while_an_engine_is_written_is_not_the_graphs_fault(source, folder, monkeypatch):
    """ONNX Runtime writes the file itself and says 'Protobuf serialization failed'; only a probe knows better."""

    def failing(*arguments, **named):
        raise runtime.capi.onnxruntime_pybind11_state.InvalidProtobuf("Protobuf serialization failed.")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    os.makedirs(folder)
    store.copy(os.path.join(source, "weights.bin"), os.path.join(folder, "weights.bin"))
    monkeypatch.setattr(runtime, "InferenceSession", failing)
    with pytest.raises(BuildFailed):
        built(source, folder)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WorkFolderUnusable, match="the disk is full. Free some space and run the same command again"):
        built(source, folder)
    assert os.listdir(folder) == ["weights.bin"]


@pytest.mark.parametrize("field, value", [("engine_version", "0.1"), ("processor", "another processor")])
def test_an_engine_of_another_release_or_processor_is_refused_with_what_to_do(source, folder, field, value):
    record = built(source, folder)
    record = record._replace(device=record.device._replace(**{field: value}))
    told = "was built for .*{}.*; this is onnxruntime {} on .*Build it here: pomt-trt compile".format(
        value, runtime.__version__
    )
    with pytest.raises(WrongDevice, match=told):
        engine.open_engine(record, folder)


def test_an_engine_of_a_library_that_nobody_knows_is_refused(source, folder):
    record = built(source, folder)
    with pytest.raises(UsageError, match="engine 'openvino' is not known"):
        engine.open_engine(record._replace(device=record.device._replace(engine="openvino")), folder)


def test_a_missing_truncated_or_changed_engine_is_refused_with_what_to_do(source, folder):
    record = built(source, folder)
    path = os.path.join(folder, record.file)
    with open(path, "rb") as file:
        whole = file.read()
    for data in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        overwritten(path, data)
        with pytest.raises(CorruptArtifact, match="r004.engine is not the file that its record.*pomt-trt build WORK"):
            engine.open_engine(record, folder)
    os.unlink(path)
    with pytest.raises(CorruptArtifact, match="r004.engine is missing. Build it again: pomt-trt build WORK"):
        engine.open_engine(record, folder)


def test_missing_or_changed_weights_are_refused_with_what_to_do(source, folder):
    record = built(source, folder)
    overwritten(os.path.join(folder, "weights.bin"), bytes(2048))
    with pytest.raises(CorruptArtifact, match="weights.bin is missing or not the file that r004.engine was built with"):
        engine.open_engine(record, folder)
    os.unlink(os.path.join(folder, "weights.bin"))
    with pytest.raises(CorruptArtifact, match="weights.bin is missing.*pomt-trt build WORK"):
        engine.open_engine(record, folder)


def test_a_file_that_is_hashed_but_no_engine_is_corrupt(source, folder):
    record = built(source, folder)
    path = os.path.join(folder, record.file)
    overwritten(path, b"this is no ONNX")
    record = record._replace(sha256=store.sha256_of(path), bytes=15)
    with pytest.raises(CorruptArtifact, match="r004.engine cannot be loaded: .*Build it again"):
        engine.open_engine(record, folder)


def test_new_weights_beside_the_graphs_replace_those_beside_the_engines(source, folder):
    built(source, folder)
    overwritten(os.path.join(source, "weights.bin"), bytes(2048))
    record = built(source, folder)
    image, found = logits(record, folder)
    assert not found.any()


def test_a_pool_is_shared_only_where_the_release_can(monkeypatch):
    asked = []
    monkeypatch.setattr(onnxruntime, "shared_pools", [])
    monkeypatch.setattr(runtime, "set_global_thread_pool_sizes", lambda *sizes: asked.append(sizes), raising=False)
    assert registry.share_threads("onnxruntime", 3) and asked == [(3, 1)]
    assert registry.share_threads("onnxruntime", 3) and asked == [(3, 1)]  # once, for good
    monkeypatch.delattr(runtime, "set_global_thread_pool_sizes")
    assert not registry.share_threads("onnxruntime", 3)


def test_the_version_is_the_librarys_own():
    assert registry.version("onnxruntime") == onnxruntime.installed() == runtime.__version__
