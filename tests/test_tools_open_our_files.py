"""Every ONNX graph of a finished work folder and of its bundle opens in the tools that users have, and runs alike."""

import os
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="compiles a model, which belongs to the workstation")

from scripts.checks import onnx_tools  # noqa: E402
from tests import compiled  # noqa: E402

FORMS = [("onnxruntime", "fp16"), ("jetpack-7.2", "bf16"), ("jetpack-4.6.1", "fp32")]  # besides op17-fp32


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A compiled work folder, with R = 0 and R = 9 in other forms too."""
    folder = compiled.copied(tmp_path_factory.mktemp("tools"))
    for target, precision in FORMS:
        command = ["export"] + compiled.experiment() + ["--tokens", "8:8:1", "--work", folder]
        assert compiled.called(*command, "--target", target, "--precision", precision)[0] == 0
    return Path(folder)


def test_no_tool_refuses_a_graph_or_computes_something_else(work):
    graphs = onnx_tools.graphs_below(work)
    folders = {path.parent.name for path in graphs}
    assert folders >= {"op17-fp32", "op17-fp16", "op17-bf16", "op13-fp32"} and len(folders) == 5  # and the bundle
    found = onnx_tools.openings(graphs)
    assert len(found) == len(graphs) * len(onnx_tools.TOOLS) and len(onnx_tools.TOOLS) == 8
    assert [one for one in found if not one.worked] == []


@pytest.fixture
def linked(work, tmp_path):
    """R = 0's graph and weights.bin, which has a second name, as in a folder of 0.2."""
    for name in ("r000.onnx", "weights.bin"):
        shutil.copy(str(work / "onnx" / "op17-fp32" / name), str(tmp_path / name))
    os.link(str(tmp_path / "weights.bin"), str(tmp_path / "second name"))
    return tmp_path


def test_weights_with_a_second_name_are_told_as_refused_by_the_tools_that_refuse_them(linked):
    found = onnx_tools.openings(onnx_tools.graphs_below(linked))
    refused = {one.tool for one in found if not one.worked}
    assert {"onnx.load", "onnx.checker, full", "polygraphy inspect", "onnxslim"} <= refused
    assert "multiple hard links" in onnx_tools.table(found, linked)


def test_a_graph_that_computes_something_else_in_one_tool_is_told(linked, monkeypatch):
    os.unlink(str(linked / "second name"))
    honest = onnx_tools.TOOLS["OpenVINO"]
    monkeypatch.setitem(onnx_tools.TOOLS, "OpenVINO", lambda path, images: honest(path, images) * 1.001)
    wrong = [one for one in onnx_tools.openings(onnx_tools.graphs_below(linked)) if not one.worked]
    assert [one.tool for one in wrong] == ["OpenVINO"] and "logits differ from ONNX Runtime's" in wrong[0].refusal
