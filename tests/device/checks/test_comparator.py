"""Comparing through the real Polygraphy: its OnnxrtRunner, and our runners wrapped as its own.

Of TensorRT this shows our bookkeeping only: its engines are the stand-in's.
"""

import json
import os

import numpy as np
import pytest

pytest.importorskip("polygraphy", reason="compares through Polygraphy, which needs Python 3.8")
pytest.importorskip("onnxruntime", reason="runs ONNX Runtime engines")

from pomt_trt import cli
from pomt_trt.core.metrics import parity
from pomt_trt.device.checks import comparator, golden_check, verify
from pomt_trt.device.engines import contract, engine, onnxruntime
from tests import fakes
from tests.device import golden

IMAGES = np.random.RandomState(0).rand(10, 1, 8, 8).astype(np.float32)


@pytest.fixture(params=[1, 4])
def compared(request):
    """Compares a runner of `spoil`ed logits with ONNX Runtime and itself, through Polygraphy or not."""
    graph = os.path.join(fakes.GRAPHS, "r004-b{}.onnx".format(request.param))

    def compare(how, spoil=lambda logits: logits):
        class Spoilt(onnxruntime.OrtRunner):
            def run(self, batch):
                return spoil(super().run(batch))

        def opened():
            return onnxruntime.session(graph, 1, "passive", False)

        with Spoilt(opened(), (request.param, 1, 8, 8)) as runner:
            known = {"host": golden_check.run(runner, IMAGES)}
            return how(runner, IMAGES, known, {"onnxruntime": opened}, lambda *both: parity.compare(*both))

    return compare


@pytest.mark.parametrize("off", [0.0, 0.1, np.nan])
def test_polygraphy_finds_what_is_found_without_it(compared, off):
    def spoil(logits):
        return logits * (1 + off)

    found, expected = compared(comparator.compare, spoil), compared(verify._compare, spoil)
    assert set(found) == set(expected) == {"host", "onnxruntime"}
    for name, seen in expected.items():
        assert found[name] == seen or not np.isfinite(off)
    assert found["onnxruntime"].passed == (off == 0.0)
    assert found["onnxruntime"].images == len(IMAGES)


def test_stdout_is_for_results(compared, capfd):
    compared(comparator.compare, lambda logits: logits + 1)
    assert capfd.readouterr().out == ""


def test_the_command_says_who_compared(tmp_path, capsys):
    bundle = golden.quadrant_bundle(tmp_path)
    assert cli.main(["verify", bundle, "--json"]) == 0
    by = {check["compared_by"] for check in json.loads(capsys.readouterr().out)["checks"]}
    assert by == {"polygraphy " + comparator.version()}
    golden.with_wrong_engine(bundle)
    assert cli.main(["verify", bundle]) == 7
    out, err = capsys.readouterr()
    assert "compared by polygraphy" in out and out.count("DIFFERS") == 2 and "2 of 4 comparisons" in err


def test_without_polygraphy_the_same_is_compared_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(comparator, "is_installed", lambda: False)
    found = verify.verify(golden.quadrant_bundle(tmp_path))
    assert {check.compared_by for check in found.checks} == {"pomt-trt"} and len(found.checks) == 4


@pytest.mark.parametrize("release, by", [("8.2", "pomt-trt"), ("8.5", "polygraphy"), ("10.3.0", "polygraphy")])
def test_engines_of_tensorrt_are_compared_by_it_from_8_5_on(tmp_path, machine, release, by):
    device = machine(release)
    graph, path = os.path.join(fakes.GRAPHS, "r004-b1.onnx"), str(tmp_path / "r004.engine")
    record = engine.build(graph, path, device, "r004", contract.BuildOptions(threads=1))
    found = verify.checked(verify.Subject(record, str(tmp_path), graph, "op17-fp32", None, None), IMAGES, {})
    assert [check.compared_by.split()[0] for check in found] == [by]
    assert found[0].against.startswith("onnxruntime") and found[0].passed
