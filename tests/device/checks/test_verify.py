"""Engines compared with ONNX Runtime and the host: right ones, wrong ones, and missing references."""

import json
import os
import re

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="runs ONNX Runtime engines")

from pomt_trt import cli
from pomt_trt.core.errors import InputError, VerificationFailed, WrongDevice
from pomt_trt.core.storage import bundle as bundles
from pomt_trt.core.storage import store
from pomt_trt.device.checks import polygraphy_judge, verify
from pomt_trt.device.engines import onnxruntime
from tests.device import golden

IMAGES = np.random.RandomState(0).rand(golden.IMAGES, 1, 8, 8).astype(np.float32)


@pytest.fixture
def bundle(tmp_path):
    return golden.quadrant_bundle(tmp_path)


@pytest.fixture
def polygraphy(monkeypatch):
    """polygraphy(installed) says whether Polygraphy is installed."""
    return lambda installed: monkeypatch.setattr(polygraphy_judge, "is_installed", lambda: installed)


def test_right_engines_are_the_same_as_onnx_runtime_and_the_host(bundle):
    result = verify.verify(bundle)
    made = [(check.candidate_id, check.against) for check in result.checks]
    runtime = "onnxruntime " + onnxruntime.installed()
    assert made == [("r004", "host"), ("r004", runtime), ("r000", "host"), ("r000", runtime)]
    assert all(check.passed and check.parity.images == golden.IMAGES for check in result.checks)
    assert result.not_compared == {} and result.hints == ()
    verify.require(result)


def test_an_engine_that_computes_something_else_ends_the_command_with_7(bundle, capsys):
    golden.with_wrong_engine(bundle)
    assert cli.main(["verify", bundle]) == 7
    out, err = capsys.readouterr()
    assert out.count("DIFFERS") == 2 and "2 of 4 comparisons are beyond their tolerance: r004 with host" in err


@pytest.mark.parametrize("installed", [True, False])
def test_prints_a_table_or_json_that_says_who_compared(bundle, capsys, polygraphy, installed):
    if installed:
        pytest.importorskip("polygraphy", reason="Polygraphy needs Python 3.8")
    polygraphy(installed)
    assert cli.main(["verify", bundle]) == 0
    table = capsys.readouterr().out
    assert re.search(r"^r004 +host +12 +12 .* same$", table, flags=re.M)
    assert "compared by " + ("polygraphy" if installed else "pomt-trt") in table
    assert cli.main(["verify", bundle, "--json"]) == 0
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert {check["passed"] for check in checks} == {True} and checks[0]["parity"]["allowed"] == 1e-3
    assert {check["compared_by"] for check in checks} == {polygraphy_judge.name() if installed else "pomt-trt"}


def test_only_some_candidates_beside_the_unreduced_one(bundle):
    assert {check.candidate_id for check in verify.verify(bundle, only=["r000"]).checks} == {"r000"}


def test_images_whose_cut_is_not_clear_are_not_compared(bundle, tmp_path):
    manifest = bundles.open_bundle(bundle)
    with np.load(os.path.join(bundle, "r004.npz")) as held:
        logits, margins = held["logits"], held["margins"]
    margins[:5], logits[:5] = 1e-9, -logits[:5]
    np.savez(str(tmp_path / "other.npz"), logits=logits, margins=margins)
    golden.repacked(bundle, manifest, **{"r004.npz": str(tmp_path / "other.npz")})
    host = verify.verify(bundle).checks[0]
    assert (host.against, host.parity.compared, host.passed) == ("host", golden.IMAGES - 5, True)


def test_without_the_hosts_logits_it_says_what_was_not_compared(bundle):
    golden.repacked(bundle, bundles.open_bundle(bundle), **{"r004.npz": None})
    result = verify.verify(bundle)
    assert list(result.not_compared) == ["r004 with host"] and len(result.checks) == 3
    assert "r004 with host: not compared: its logits are not here" in verify.table(result)


def test_a_graph_that_onnx_runtime_does_not_run_is_compared_with_the_host_alone(bundle):
    manifest, not_compared = bundles.open_bundle(bundle), {}
    engine = manifest.engine._replace(precision="bf16")
    subject = verify.subject_in(manifest, bundle, engine, bundle, unreduced=None)
    checks = verify.checked(subject, IMAGES, not_compared)
    assert [check.against for check in checks] == ["host"] and "bf16" in not_compared["onnxruntime"]


def test_logits_that_are_not_finite_never_pass(bundle):
    manifest = bundles.open_bundle(bundle)
    subject = verify.subject_in(manifest, bundle, manifest.engine, bundle, unreduced=None)
    checks = verify.checked(subject, np.full_like(IMAGES, np.nan), {})
    assert [check.passed for check in checks] == [False, False]


def test_a_bundle_of_another_device_is_refused(bundle):
    with pytest.raises(WrongDevice):
        verify.verify(golden.of_another_device(bundle))


def test_a_folder_that_is_neither_is_explained(tmp_path):
    with pytest.raises(InputError, match="holds no experiment"):
        verify.verify(str(tmp_path))


def subject(engine_version, precision="fp16", library="tensorrt", **details):
    """A subject that is a TensorRT engine."""
    device = golden.fakes.DEVICE._replace(engine=library, engine_version=engine_version)
    engine = verify.Engine("r056", device, "r056.engine", "", 0, None, (1, 3, 8, 8), 1, 1.0, precision, details)
    return verify.Subject(engine, "/a b", "/a b/r056.onnx", "op17-fp16", np.full((2, 4), 3.0), None)


def hints(*arguments, **details):
    return verify.layer_search(subject(*arguments, **details), np.array([-2.0, 2.5]))


def test_polygraphy_lines_are_ready_to_paste_and_fit_the_typing(polygraphy):
    polygraphy(True)
    weak, strong = hints("8.5.2"), hints("10.3.0", strongly_typed=True)
    assert weak[0].startswith("polygraphy run '/a b/r056.onnx' --onnxrt ") and "image:[-2.00,2.50]" in weak[0]
    assert "--rtol 0.02 --atol 0.06" in weak[1] and "'/a b/r056.engine' --model-type engine" in weak[1]
    assert weak[2].startswith("polygraphy debug precision '/a b/r056.onnx' --fp16 --mode bisect --check polygraphy run")
    assert "--strongly-typed" in strong[2] and "debug precision" not in " ".join(strong)
    assert len(hints("8.5.2", "fp32")) == 2
    rtx = hints("1.7.1", library="tensorrt-rtx", strongly_typed=True)
    assert rtx == ["POLYGRAPHY_USE_TENSORRT_RTX=1 " + line for line in strong]


def test_where_there_is_no_polygraphy_it_says_so(polygraphy):
    polygraphy(False)
    assert "pip install polygraphy" in hints("8.6.1")[0]
    assert "needs TensorRT 8.5 or later; this is 8.2.1" in hints("8.2.1")[0]


def test_a_failed_verification_names_its_comparisons(bundle):
    result = verify.verify(golden.with_wrong_engine(bundle))
    with pytest.raises(VerificationFailed, match="r004 with onnxruntime"):
        verify.require(result)
    assert json.loads(json.dumps(store.to_json(result)))["checks"][0]["passed"] is False
