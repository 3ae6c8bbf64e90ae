"""The three functions of the package, as the README uses them."""

import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="compiles models, which belongs to the workstation")

import numpy as np  # noqa: E402

import pomt_trt  # noqa: E402
from pomt_trt.core.errors import InputError, UsageError  # noqa: E402
from tests import compiled  # noqa: E402

FLAGS = {"tokens": "16:8:4", "threads": 1, "max_seconds": 0.02, "samples": 8, "layer": 1, "search": "exhaustive"}


def vit(seed=0):
    import timm

    torch.manual_seed(seed)
    return timm.create_model("vit_tiny_patch16_224", **compiled.SHAPE).eval()


def test_a_named_model_compiles_as_on_the_command_line(work):
    before = compiled.files(work)
    model, data = (os.path.join(compiled.source(), name) for name in ("model", "data"))
    chosen = pomt_trt.compile_model("local-dir:" + model, data=data, work=work, **dict(FLAGS, samples=1000))
    assert [row.id for row in chosen.rows] == compiled.CANDIDATES and chosen.accuracy_kind == "top1"
    assert compiled.files(work) == before


def test_a_module_compiles_and_its_bundle_classifies_like_it(tmp_path):
    model = vit()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    chosen = pomt_trt.compile_model(model, work=str(tmp_path / "w"), max_accuracy_drop=0.0, **FLAGS)
    assert [row.id for row in chosen.rows] == compiled.CANDIDATES
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    bundle = compiled.one(tmp_path / "w", "bundle-")
    pixels = np.random.RandomState(0).randint(256, size=(3, 16, 16, 3)).astype(np.uint8)
    with pomt_trt.load(bundle) as classifier:
        found = classifier(pixels)
    assert found.shape == (3, 5) and found.dtype == np.float32
    reduced = pomt_trt.reduce_tokens(model, "pomt", layer=1, removed=chosen.chosen.removed)
    from pomt_trt.core.storage.bundle import open_bundle
    from pomt_trt.host.data.image_batches import normalised

    with torch.no_grad():
        expected = reduced(normalised(pixels, open_bundle(bundle).model.preprocessing)).softmax(1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_another_module_of_the_same_class_is_another_experiment(tmp_path):
    pomt_trt.compile_model(vit(), work=str(tmp_path / "w"), **FLAGS)
    before = compiled.files(tmp_path / "w")
    pomt_trt.compile_model(vit(), work=str(tmp_path / "w"), **FLAGS)
    with pytest.raises(UsageError, match="holds another experiment: its checkpoint sha256 is .* Use another --work"):
        pomt_trt.compile_model(vit(seed=1), work=str(tmp_path / "w"), **FLAGS)
    assert compiled.files(tmp_path / "w") == before


def test_what_is_no_vision_transformer_is_refused(tmp_path):
    with pytest.raises(InputError, match="Linear is not supported"):
        pomt_trt.compile_model(torch.nn.Linear(2, 2), work=str(tmp_path / "w"), **FLAGS)


def test_a_flag_that_does_not_exist_is_a_type_error(tmp_path):
    with pytest.raises(TypeError, match="tokns"):
        pomt_trt.compile_model("digits", work=str(tmp_path / "w"), tokns="16:8:4")


def test_reducing_without_torch_says_where_it_belongs():
    code = "import sys; sys.modules['torch'] = None; import pomt_trt; pomt_trt.reduce_tokens(None, 'pomt', removed=1)"
    environment = dict(os.environ, PYTHONPATH=compiled.ROOT)
    done = subprocess.run([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE)
    assert done.returncode == 1 and b"MissingDependency" in done.stderr and b"pip install" in done.stderr
