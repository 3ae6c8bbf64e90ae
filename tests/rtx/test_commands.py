"""The commands with TensorRT-RTX itself on a machine without a GPU: engines ahead of time, and what is refused."""

import json
import os
import re
import shutil

import pytest

pytest.importorskip("torch", reason="exports a model, which belongs to the workstation")

from pomt_trt.core.errors import BuildFailed, MissingDependency  # noqa: E402
from pomt_trt.device.engines import ahead, contract, engine, registry  # noqa: E402
from pomt_trt.device.engines.tensorrt import bindings, cuda  # noqa: E402
from tests import compiled  # noqa: E402
from tests.rtx import corpus  # noqa: E402

RTX = ["--engine", "tensorrt-rtx"]


def has_gpu():
    try:
        cuda.gpu()
    except MissingDependency:
        return False
    return True


pytestmark = pytest.mark.skipif(has_gpu(), reason="there is a GPU here: engines are built for it")


@pytest.fixture(scope="module")
def exported(trt, tmp_path_factory):
    """A work folder with graphs for TensorRT-RTX in fp16 and bf16, and of plugins."""
    work = str(tmp_path_factory.mktemp("rtx") / "work")
    for flags in (["--precision", "fp16"], ["--precision", "bf16"], ["--precision", "fp32", "--plugin", "on"]):
        target = ["--work", work, "--target", "tensorrt-rtx", "--tokens", "16:16:1"]
        code, _, err = compiled.called("export", *compiled.experiment(), *target, *flags)
        assert code == 0, err
    return work


@pytest.fixture
def work(exported, tmp_path):
    shutil.copytree(exported, str(tmp_path / "work"))
    return str(tmp_path / "work")


def folders(work):
    place = os.path.join(work, "engines")
    return sorted(os.listdir(place)) if os.path.isdir(place) else []


def test_engines_are_built_without_a_gpu_and_recorded_as_such(work, capsys, caplog):
    code, out, err = compiled.call(capsys, "build", work, *RTX, "--precision", "fp16")
    assert code == 0, err
    assert re.findall(r"r\d+  \d+ tokens  built", out) == ["r000  17 tokens  built", "r001  16 tokens  built"]
    assert "no GPU can be used here" in err + caplog.text
    (folder,) = folders(work)
    assert re.fullmatch(r"tensorrt-rtx-1\.7\.1\.\d+-for-portable-fp16", folder)
    with open(os.path.join(work, "engines", folder, "r001.json")) as file:
        record = json.load(file)["value"]
    assert record["details"]["ahead_of_time"] and record["details"]["built_for"] == "portable"
    assert record["details"]["strongly_typed"] and "gate" not in record["details"]
    assert record["bytes"] == os.path.getsize(os.path.join(work, "engines", folder, "r001.engine")) > 100000
    before = compiled.files(work)
    assert compiled.call(capsys, "build", work, *RTX, "--precision", "fp16")[0] == 0
    assert compiled.files(work) == before  # nothing is built twice


def test_each_gpu_has_a_folder_of_its_own(work, capsys):
    for gpu in ("7.5", "12.0"):
        flags = ["--precision", "fp16", "--gpu", gpu, "--only", "r001"]
        assert compiled.call(capsys, "build", work, *RTX, *flags)[0] == 0
    assert [name.split("-for-")[1] for name in folders(work)] == ["12.0-fp16", "7.5-fp16"]


@pytest.mark.parametrize(
    "flags, code, told",
    [
        (["--gpu", "8.7"], 2, "Orin runs TensorRT of JetPack"),
        (["--gpu", "11.0"], 2, "Thor runs TensorRT of JetPack"),
        (["--gpu", "7.5", "--precision", "bf16"], 2, "bf16 is not for --gpu 7.5"),
        (["--plugin", "on", "--plugin-library", __file__], 2, "plugins cannot be built ahead of time"),
        (["--plugin", "on", "--precision", "fp32"], 4, "need libpomt_plugins.so"),
    ],
)
def test_what_cannot_be_built_is_refused_and_nothing_is_left(work, capsys, flags, code, told):
    found = compiled.call(capsys, "build", work, *RTX, *flags)
    assert found[0] == code and told in found[2], found
    assert not [name for name in folders(work) if os.listdir(os.path.join(work, "engines", name))]


@pytest.mark.parametrize("command", ["profile", "select", "bundle"])
def test_what_needs_a_gpu_says_what_is_missing(work, capsys, command):
    code, _, err = compiled.call(capsys, command, work, *RTX, "--precision", "fp16")
    assert code == 4 and ("pycuda" in err or "CUDA" in err)
    assert "pomt-trt build WORK --engine tensorrt-rtx" in err


def test_a_compile_without_a_gpu_says_how_to_build_without_one(trt, tmp_path, capsys):
    command = compiled.compile_command(tmp_path / "work", *RTX, "--target", "tensorrt-rtx")
    code, _, err = compiled.call(capsys, *command)
    assert code == 4 and "To build engines without a GPU" in err


def test_the_doctor_says_what_of_it_is_there(trt, capsys):
    found = json.loads(compiled.call(capsys, "doctor", "--json")[1])["tensorrt-rtx"]
    assert found["state"] == "ok" and "1.7.1" in found["value"] and "builds engines ahead of time" in found["value"]


def test_the_native_library_in_this_process_is_of_the_bindings_version(trt):
    assert bindings.native_version("tensorrt_rtx") == ".".join(trt.__version__.split(".")[:3])
    assert registry.installed("tensorrt-rtx") == trt.__version__


@pytest.mark.parametrize(
    "graph, told",
    [
        ("a made up operator", "node 1 .MadeUp 'madeup'.*Plugin not found.*--target jetpack-... or tensorrt-rtx"),
        ("ranking 4000", "3840.*at most 3840 tokens: take a smaller --img-size"),
        ("a dynamic batch", "input x is .* of shape .-1, 16., and must be float32 of a fixed shape"),
        ("int64 input", "must be float32 of a fixed shape.*Graphs must have no INT64 inputs"),
        ("fp32 plus fp16", "node 0 .Add 'add'.*must have same input types"),
        ("weights file missing", "Failed to import initializer.*weights beside the graph are missing or cut short"),
        ("a file that is no onnx", "at least one output.*is no ONNX graph"),
    ],
)
def test_a_graph_that_it_does_not_take_is_explained(trt, tmp_path, graph, told):
    device = ahead.device("tensorrt-rtx", "portable")
    path, options = corpus.GRAPHS[graph](str(tmp_path)), contract.BuildOptions(gpu="portable")
    with pytest.raises(BuildFailed, match="TensorRT-RTX 1.7.1.* cannot build .*" + told):
        engine.build(path, str(tmp_path / "r000.engine"), device, "r000", options)
    assert not os.path.exists(str(tmp_path / "r000.engine"))
