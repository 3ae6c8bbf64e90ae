"""host/models/loading: which models, what is known about them, and what is said about the others."""

import logging
import re
import runpy
import sys

import pytest
import timm
import torch
from timm.layers import PatchEmbed, resample_abs_pos_embed
from timm.models.eva import Eva
from timm.models.vision_transformer import Block, ParallelThingsBlock, VisionTransformer

from pomt_trt.core.errors import InputError, MissingDependency, UsageError
from pomt_trt.core.records import Preprocessing
from pomt_trt.host.models import loading
from pomt_trt.host.models.loading import load
from tests import compiled
from tests.host.code import Code
from tests.host.tiny import logits, small

TINY = "vit_tiny_patch16_224"


class SlidingPatches(PatchEmbed):
    """A stem that is not timm's."""


class OtherBlock(Block):
    """A block that is not timm's."""


def test_a_name_gives_the_model_and_what_is_known_about_it():
    module, spec = load("vit_tiny_patch16_224.augreg_in21k_ft_in1k", image_size=48)
    assert type(module) is VisionTransformer and not module.training
    assert (spec.depth, spec.width, spec.heads, spec.classes) == (12, 192, 3, 1000)
    assert (spec.patch_tokens, spec.tokens) == (9, 10)
    assert spec.weights == "random (seed 0)" and spec.random_weights
    assert spec.name.endswith("in1k") and spec.architecture == TINY
    assert spec.labels[291].startswith("lion")
    half = (0.5, 0.5, 0.5)  # as timm has it for these weights, not ImageNet's
    assert spec.preprocessing == Preprocessing(48, 48, 3, half, half, "bicubic", 0.9, "center")


def test_random_weights_are_said_follow_the_seed_and_leave_the_callers_randomness_alone(caplog):
    before = torch.random.get_rng_state()
    first, again, other = (load(TINY, image_size=16, seed=seed).module.head.weight for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())
    assert "random (seed 1) weights: give --checkpoint FILE or --pretrained" in caplog.text


@pytest.mark.parametrize(
    "changes, prefix_tokens",
    [
        ({}, 1),
        ({"reg_tokens": 3}, 4),
        ({"reg_tokens": 3, "no_embed_class": True}, 4),
        ({"init_values": 0.1}, 1),
        ({"qk_norm": True}, 1),
        ({"global_pool": "avg"}, 1),
        ({"class_token": False, "global_pool": "avg"}, 0),
        ({"pos_embed": "none"}, 1),
        ({"global_pool": "map"}, 1),
        ({"dynamic_img_size": True}, 1),
        ({"block_fn": ParallelThingsBlock}, 1),
    ],
)
def test_every_plain_vision_transformer_is_taken(changes, prefix_tokens):
    original = small(**changes)
    module, spec = load(original)
    assert module is not original and torch.equal(logits(module), logits(original))
    assert (spec.prefix_tokens, spec.patch_tokens, spec.weights) == (prefix_tokens, 4, "module")
    assert spec.architecture == "VisionTransformer" and spec.labels == ()


def test_a_distilled_model_has_two_prefix_tokens():
    module, spec = load("deit_tiny_distilled_patch16_224", image_size=32)
    assert (spec.prefix_tokens, spec.tokens) == (2, 6) and logits(module).shape == (2, 1000)


@pytest.mark.parametrize(
    "name, reason",
    [
        ("swin_tiny_patch4_window7_224", "it is a SwinTransformer, .*attention in windows"),
        ("vit_tiny_r_s16_p8_224", "its stem is a network of convolutions .HybridEmbed"),
        ("resnet18", "it is a ResNet, not timm's VisionTransformer"),
    ],
)
def test_other_architectures_are_refused_by_name_with_the_reason(name, reason):
    with pytest.raises(InputError, match=f"{name} is not supported: .*{reason}.*Choose a plain vision transformer"):
        load(name)


def test_a_model_with_rotary_positions_is_taken():
    original = Eva(img_size=32, embed_dim=32, depth=2, num_heads=2, num_classes=5, use_rot_pos_emb=True).eval()
    module, spec = load(original)
    assert type(module) is Eva and torch.equal(logits(module), logits(original))
    assert (spec.prefix_tokens, spec.patch_tokens, spec.heads, spec.depth) == (1, 4, 2, 2)


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"patch_drop_rate": 0.5}, "it drops patches on its own"),
        ({"global_pool": "prr"}, "it pools by attention over positions .AttentionPoolPrr"),
        ({"embed_layer": SlidingPatches}, "its patches come from a SlidingPatches"),
        ({"block_fn": OtherBlock}, "its blocks are OtherBlock, which are not known"),
    ],
)
def test_other_settings_are_refused_with_the_reason(changes, reason):
    with pytest.raises(InputError, match=f"VisionTransformer is not supported: {reason}"):
        load(small(**changes))


def test_an_unknown_name_is_answered_with_close_ones():
    with pytest.raises(InputError, match="no model 'vit_smal_patch16_224'. Did you mean vit_small_patch16_224"):
        load("vit_smal_patch16_224")
    with pytest.raises(InputError, match="no model 'qqq/zzz'.*local-dir:PATH"):
        load("qqq/zzz")


def test_an_unknown_tag_is_explained():
    with pytest.raises(InputError, match=r"Invalid pretrained tag .nope.*timm.list_pretrained\('vit_tiny_patch16_224"):
        load(TINY + ".nope")


@pytest.mark.parametrize("size, answer", [(100, "96 or 112"), (8, "16"), (0, "16")])
def test_a_size_that_patches_do_not_divide_is_answered_with_the_nearest(size, answer):
    with pytest.raises(UsageError, match=f"{size} pixels is not whole patches of 16: take --img-size {answer}"):
        load(small(), image_size=size)


@pytest.mark.parametrize(
    "size, said",
    [
        ((30, 128), "30x128 pixels is not whole patches of 16: take --img-size 16x128 or 32x144"),
        ((8, 32), "8x32 pixels is not whole patches of 16: take --img-size 16x48"),
    ],
)
def test_a_rectangle_that_patches_do_not_divide_is_answered_likewise(size, said):
    with pytest.raises(UsageError, match=said):
        load(small(), image_size=size)


def test_an_input_may_be_higher_or_wider(tmp_path):
    original = small()
    module, spec = load(original, image_size=(32, 208))
    assert (spec.preprocessing.height, spec.preprocessing.width, spec.patch_tokens) == (32, 208, 2 * 13)
    assert torch.equal(module.pos_embed, resample_abs_pos_embed(original.pos_embed, (2, 13), (2, 2)))
    assert logits(module).shape == (2, 5) and spec.preprocessing.crop_mode == original_crop(original)


def original_crop(module):
    return load(module).spec.preprocessing.crop_mode


def test_the_position_embedding_of_another_size_is_resampled_once():
    original = small()
    module, spec = load(original, image_size=64)
    assert (spec.patch_tokens, spec.preprocessing.height) == (16, 64) and not module.dynamic_img_size
    assert torch.equal(module.pos_embed, resample_abs_pos_embed(original.pos_embed, (4, 4), (2, 2)))
    assert original.pos_embed.shape[1] == 5


def test_checkpoint_and_pretrained_exclude_each_other():
    with pytest.raises(UsageError, match="--checkpoint and --pretrained are both given: leave one out"):
        load(TINY, checkpoint="w.pth", pretrained=True)


def test_without_network_the_pretrained_weights_are_asked_for_as_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        InputError, match=f"{TINY} cannot be loaded: .*on another machine and give them as --checkpoint"
    ):
        load(TINY, pretrained=True)


@pytest.mark.parametrize("source", ["hf-hub", "hf_hub"])
def test_a_name_of_the_hub_is_timms_to_fetch_in_both_spellings(source, monkeypatch):
    asked = []
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: asked.append((name, pretrained)) or small())
    assert load(f"{source}:someone/vit").spec.weights == "hf-hub" and asked == [("hf-hub:someone/vit", True)]


def test_a_local_folder_in_timms_format_is_a_model_with_weights(tmp_path):
    source = timm.create_model(TINY, img_size=32, num_classes=3, depth=2)
    changes = {"label_names": ["a", "b", "c"], "input_size": (3, 32, 32)}
    timm.models.save_for_hf(source, tmp_path, model_args={"depth": 2}, model_config=changes, safe_serialization=True)
    module, spec = load(f"local-dir:{tmp_path}")
    assert torch.equal(logits(module), logits(source.eval()))
    assert (spec.weights, spec.labels, spec.depth, spec.random_weights) == ("local-dir", ("a", "b", "c"), 2, False)


def test_a_folder_whose_configuration_has_other_classes_is_refused_with_all_that_differs(tmp_path):
    compiled.write_model(str(tmp_path / "model"), classes=3)
    path = tmp_path / "model" / "config.json"
    path.write_text(path.read_text().replace('"num_classes": 3', '"num_classes": 7'))
    differs = r"head.weight is \(3, 24\), the model has \(7, 24\); head.bias is \(3,\), the model has \(7,\)"
    with pytest.raises(InputError, match=rf"model.safetensors does not fit the model: {differs}. config.json beside"):
        load(f"local-dir:{tmp_path / 'model'}")


@pytest.fixture
def without_weights(tmp_path):
    """A folder whose config.json is that of a model."""
    compiled.write_model(str(tmp_path / "model"))
    (tmp_path / "model" / "model.safetensors").unlink()
    return tmp_path / "model"


def test_a_folder_with_code_for_weights_is_never_run(without_weights):
    trap = without_weights / "trap"
    torch.save({"a": Code(str(trap))}, without_weights / "pytorch_model.bin")
    with pytest.raises(InputError, match="could run code and are never loaded"):
        load(f"local-dir:{without_weights}")
    assert not trap.exists()


def test_a_folder_with_no_weights_or_with_several_is_explained(without_weights):
    with pytest.raises(InputError, match="holds no weights. Put model.safetensors there"):
        load(f"local-dir:{without_weights}")
    for name in ("a.pth", "b.pth"):
        (without_weights / name).write_bytes(b"")
    with pytest.raises(InputError, match="holds .*a.pth, .*b.pth. Leave one there, or give one as --checkpoint"):
        load(f"local-dir:{without_weights}")


def test_a_folder_that_is_no_model_is_explained(tmp_path):
    with pytest.raises(InputError, match="Config file not found.*must hold timm's config.json and the weights"):
        load(f"local-dir:{tmp_path}")


def test_channels_without_their_mean_are_refused_rather_than_guessed():
    with pytest.raises(InputError, match=re.escape("takes 1 channels, its mean and std have 3 and 3 values")):
        load(small(in_chans=1))


def test_without_timm_the_workstation_and_the_install_line_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingDependency, match=r"on the workstation, .*pip install 'pomt-trt\[host\]'"):
        runpy.run_path(loading.__file__)


def test_nothing_is_logged_as_a_warning_for_a_whole_model(caplog):
    with caplog.at_level(logging.WARNING):
        load(small())
    assert not caplog.records
