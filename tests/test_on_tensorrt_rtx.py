"""The whole way with TensorRT-RTX, in processes of their own over the stand-in: built without a GPU, chosen on one.

It shows our bookkeeping; tests/rtx asks TensorRT-RTX itself, as far as it answers without a GPU.
"""

import glob
import json
import os
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="exports a model, which belongs to the workstation")

from tests import compiled, simulator  # noqa: E402
from tests.test_on_tensorrt import run  # noqa: E402

RTX = ["--engine", "tensorrt-rtx"]


@pytest.fixture(scope="module")
def bundled(tmp_path_factory):
    """(work folder, bundle) of engines that were built without a GPU and timed on one."""
    root = tmp_path_factory.mktemp("rtx")
    work = str(root / "work")
    flags = ["--work", work, "--target", "tensorrt-rtx", "--precision", "fp16", "--tokens", "16:16:1"]
    with pytest.MonkeyPatch.context() as variables:
        variables.setenv("XDG_CACHE_HOME", str(root / "cache"))
        for command in (["export", *compiled.experiment(), *flags], ["accuracy", work]):
            code, _, err = compiled.called(*command)
            assert code == 0, err
        said = run(simulator.RTX, "pomt_trt", "build", work, *RTX, faults="no-device")
        assert "no GPU can be used here" in said
        for command in (["profile", work, "--max-seconds", "0.05"], ["select", work], ["bundle", work]):
            run(simulator.RTX, "pomt_trt", *command, *RTX)
    (bundle,) = glob.glob(os.path.join(work, "bundle-*"))
    return work, bundle


def manifest_of(bundle):
    with open(os.path.join(bundle, "bundle.json")) as file:
        return json.load(file)["bundle"]


def test_engines_of_a_bundle_are_those_that_were_built_without_a_gpu(bundled):
    work, bundle = bundled
    engine = manifest_of(bundle)["engine"]
    assert engine["device"]["id"].startswith("tensorrt-rtx-1.7.1.116-nvidia-geforce-rtx-4090")
    assert engine["details"]["ahead_of_time"] and engine["details"]["gate"]["error"] < 2e-2
    (built,) = glob.glob(os.path.join(work, "engines", "*-for-portable-fp16", engine["file"]))
    assert Path(built).read_bytes() == Path(bundle, engine["file"]).read_bytes()


def test_a_bundle_brings_its_kernels_and_predicts_with_them(bundled, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundle = bundled[1]
    manifest = manifest_of(bundle)
    kernels = manifest["engine"]["details"]["kernels"]
    assert manifest["files"][kernels["file"]]["sha256"] == kernels["sha256"]
    picture = glob.glob(os.path.join(compiled.source(), "data", "*", "*"))[0]
    said = run(simulator.RTX, "pomt_trt.infer", bundle, picture, "--json")
    assert len(json.loads(said.splitlines()[0])["predictions"]) == 5
    assert not os.path.exists(str(tmp_path / "cache" / "pomt-trt"))  # nothing was compiled beyond the bundle's own
    said = run(simulator.RTX, "pomt_trt.infer", bundle, picture, faults="no-device", code=4)
    assert "no CUDA-capable device" in said


def test_a_rebuilt_bundle_holds_the_new_engines_kernels(bundled, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundle = str(tmp_path / "bundle")
    shutil.copytree(bundled[1], bundle)
    picture = glob.glob(os.path.join(compiled.source(), "data", "*", "*"))[0]
    run(simulator.RTX, "pomt_trt.infer", bundle, picture, "--rebuild")
    manifest = manifest_of(bundle)
    engine = manifest["engine"]
    assert "ahead_of_time" not in engine["details"]
    assert manifest["files"][engine["details"]["kernels"]["file"]]["sha256"] == engine["details"]["kernels"]["sha256"]
