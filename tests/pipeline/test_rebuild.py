"""A bundle of another device, built anew where it is: engines, gate, what it says, and what is left where it fails."""

import os
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime", reason="runs ONNX Runtime engines")

from pomt_trt import infer
from pomt_trt.core.errors import BuildFailed, InputError, VerificationFailed
from pomt_trt.core.storage import bundle as bundles
from pomt_trt.device.board import board
from pomt_trt.device.checks import verify
from pomt_trt.pipeline import rebuild
from tests import fakes, suite
from tests.device import golden


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(rebuild, "TIMED_S", 0.02)


@pytest.fixture
def bundle(tmp_path):
    return golden.of_another_device(golden.quadrant_bundle(tmp_path))


@pytest.fixture
def picture(tmp_path):
    path = str(tmp_path / "p.png")
    fakes.picture(1).save(path)
    return path


def test_a_bundle_of_another_device_runs_after_rebuild(bundle, picture, capsys):
    assert infer.main([bundle, picture]) == 8
    assert infer.main([bundle, picture, "--rebuild", "--top-k", "1"]) == 0
    out, err = capsys.readouterr()
    assert "upper right" in out
    assert "rebuilt for another device than ort-elsewhere, on which r004 was chosen" in err
    assert infer.main([bundle, picture]) == 0


def test_it_is_marked_and_says_how_fast_it_is_here(bundle):
    before = bundles.open_bundle(bundle)
    rebuild.rebuild(bundle)
    here = board.device_spec("onnxruntime").id
    after = bundles.open_bundle(bundle)
    assert set(after.files) == set(before.files)
    assert after.engine.device.id == after.unreduced_engine.device.id == here
    assert after.selection._replace(notes=()) == before.selection._replace(notes=())
    assert " on {}: r000 takes ".format(here) in after.selection.notes[0] and "r004 takes" in after.selection.notes[0]
    assert {check.passed for check in verify.verify(bundle).checks} == {True}


def test_rebuilt_again_it_carries_the_last_marks_only(bundle):
    for _ in range(2):
        assert rebuild.rebuild(bundle) == bundles.open_bundle(bundle).selection.notes
        assert len(bundles.open_bundle(bundle).selection.notes) == 2


def test_on_the_device_that_it_was_chosen_for_nothing_is_said_of_the_choice(bundle):
    manifest = bundles.open_bundle(bundle)
    here = board.device_spec("onnxruntime").id
    golden.repacked(bundle, manifest._replace(selection=manifest.selection._replace(device_id=here)))
    assert len(rebuild.rebuild(bundle)) == 1


def test_a_bundle_whose_choice_is_the_unreduced_model_has_one_engine(bundle):
    manifest = bundles.open_bundle(bundle)
    plain = manifest._replace(candidate=manifest.unreduced, engine=manifest.unreduced_engine)
    golden.repacked(bundle, plain, **dict.fromkeys(("r004.engine", "r004.onnx", "r004.npz")))
    rebuild.rebuild(bundle)
    made = bundles.open_bundle(bundle)
    assert made.engine == made.unreduced_engine and "r004.engine" not in made.files


def content(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def refused(bundle, error, said):
    before = content(bundle)
    with pytest.raises(error, match=said):
        rebuild.rebuild(bundle)
    assert content(bundle) == before
    assert not [name for name in os.listdir(os.path.dirname(bundle)) if name.startswith(".")]


@pytest.mark.parametrize("broken", ["r000.onnx", "r004.onnx"])
def test_where_a_graph_cannot_be_built_the_bundle_stays_as_it_was(bundle, tmp_path, broken):
    (tmp_path / "broken").write_bytes(b"this is no ONNX")
    golden.repacked(bundle, bundles.open_bundle(bundle), **{broken: str(tmp_path / "broken")})
    refused(bundle, BuildFailed, broken[:4] + " cannot be built here, and the bundle is left as it was: ONNX Runtime")


def test_an_engine_that_computes_something_else_is_never_packed(bundle):
    other = os.path.join(bundle, "r000.onnx")
    golden.repacked(bundle, bundles.open_bundle(bundle), **{"r004.onnx": other})
    refused(bundle, VerificationFailed, "r004 with host")


def test_a_bundle_without_its_graphs_is_explained(bundle):
    golden.repacked(bundle, bundles.open_bundle(bundle), **{"r004.onnx": None})
    refused(bundle, InputError, "holds no r004.onnx.*pomt-trt bundle WORK")


def test_images_or_rebuild_must_be_given(bundle, capsys):
    with pytest.raises(SystemExit) as ended:
        infer.main([bundle])
    assert ended.value.code == 2 and "required: IMAGE|DIR|-" in capsys.readouterr().err


PAIRS = [("8.2", "8.5"), ("8.6.1", "10.3.0"), ("10.3.0", "11.4.0")]


@pytest.mark.parametrize("upgrade", suite.sampled(PAIRS, PAIRS[1:2]), ids=" to ".join)
def test_a_bundle_of_another_jetpack_is_refused_until_it_is_rebuilt(tmp_path, machine, picture, capsys, upgrade):
    """On the stand-in, which shows our bookkeeping and nothing about TensorRT."""
    there, here = upgrade
    bundle = golden.tensorrt_bundle(tmp_path, machine(there))
    assert infer.main([bundle, picture]) == 0
    device = machine(here)
    assert infer.main([bundle, picture]) == 8
    assert "--rebuild" in capsys.readouterr().err
    assert infer.main([bundle, "--rebuild"]) == 0
    assert "rebuilt for another device" in capsys.readouterr().err
    assert infer.main([bundle, picture]) == 0
    made = bundles.open_bundle(bundle)
    assert made.engine.device == device and made.engine.details["gate"]["source"] == "r004.npz"
    assert [check.passed for check in verify.verify(bundle).checks] == [True] * 4
