"""Folders of Hugging Face transformers: the timm model of their config.json and weights computes their output."""

import json

import pytest
import torch
from safetensors.torch import save_file

from pomt_trt.core.errors import InputError
from pomt_trt.host.models import checkpoints, transformers_folder
from pomt_trt.host.models.loading import load
from tests.host.weights import transformers_golden as golden


def written(folder, case, **changes):
    """The folder of a case, as transformers writes it, and its record; `changes` of config.json."""
    record = golden.recorded(case)
    (folder / "config.json").write_text(json.dumps({**record["config"], **changes}))
    save_file(golden.weights(record["shapes"]), folder / "model.safetensors")
    return record


def output(module, record):
    with torch.no_grad():
        return module.eval()(golden.pictures(record["config"].get("num_channels", 3)))


LEFT_OUT = {"vit-backbone": "pooler.dense.bias, pooler.dense.weight left out", "dinov2": "mask_token left out"}


@pytest.mark.parametrize("case", golden.CASES)
def test_the_model_of_a_folder_computes_what_transformers_does(case, tmp_path, caplog):
    record = written(tmp_path, case)
    module = transformers_folder.made(record["config"], tmp_path)
    checkpoints.load_folder(module, tmp_path)
    expected = torch.tensor(record["output"])
    assert output(module, record).shape == expected.shape
    assert torch.allclose(output(module, record), expected, atol=1e-4 * float(expected.abs().max()))
    assert f"of {len(record['shapes'])} tensors, names of Hugging Face transformers" in caplog.text
    assert LEFT_OUT.get(case, "read") in caplog.text


def test_the_folder_is_a_model_with_its_labels_and_its_preprocessing(tmp_path):
    record = written(tmp_path, "vit")
    look = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}, "resample": 3}
    look.update(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6])
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(look))
    module, spec = load(f"local-dir:{tmp_path}")
    assert torch.allclose(output(module, record), torch.tensor(record["output"]), atol=1e-4)
    assert (spec.labels, spec.weights, spec.architecture) == (
        ("cat", "dog", "emu"),
        "local-dir",
        "ViTForImageClassification",
    )
    given = spec.preprocessing
    assert (given.mean, given.std, given.interpolation) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bicubic")
    assert (given.crop_mode, round(given.crop_pct * 36)) == ("center", 32)


def test_without_a_preprocessing_the_sides_are_squeezed_to_the_size(tmp_path):
    written(tmp_path, "vit")
    given = load(f"local-dir:{tmp_path}").spec.preprocessing
    assert (given.crop_mode, given.interpolation, given.mean) == ("squash", "bilinear", (0.5, 0.5, 0.5))


def test_weights_of_transformers_are_a_checkpoint_of_a_timm_model_too(tmp_path, caplog):
    import timm

    record = written(tmp_path, "vit")
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4, "mlp_ratio": 2}
    model = timm.create_model("vit_tiny_patch16_224", **sizes, act_layer="gelu_tanh", num_classes=3)
    module, _ = load(model, checkpoint=str(tmp_path / "model.safetensors"))
    module.norm.eps = module.blocks[0].norm1.eps = 1e-12
    assert torch.allclose(output(module, record), torch.tensor(record["output"]), atol=1e-3)
    assert "read 40 of 40 tensors, names of Hugging Face transformers" in caplog.text


def test_a_folder_of_another_kind_is_refused_with_those_that_are_known(tmp_path):
    written(tmp_path, "vit", model_type="swin")
    with pytest.raises(
        InputError, match="model_type swin: known are deit, dinov2, .*give a timm model and --checkpoint"
    ):
        load(f"local-dir:{tmp_path}")


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"hidden_size": "many"}, "describes no vit: .*Fetch it again"),
        ({"hidden_act": "relu6"}, "describes no vit: ValueError hidden_act = relu6"),
        ({"num_hidden_layers": 3}, "missing blocks.2.norm1.weight.*28 of the model's 44 names|config.json beside it"),
        ({"intermediate_size": 96}, r"blocks.0-1.mlp.fc1.weight are \(64, 32\), the model has \(96, 32\).*correct it"),
    ],
)
def test_a_configuration_that_contradicts_its_weights_is_refused_with_all_that_differs(changes, said, tmp_path):
    written(tmp_path, "vit", **changes)
    with pytest.raises(InputError, match=said):
        load(f"local-dir:{tmp_path}")
