"""host/models and host/checkpoints: which models, which weights, and what is said where they do not fit."""

import logging
import os
import re

import pytest

torch = pytest.importorskip("torch", reason="models are read on the workstation")
timm = pytest.importorskip("timm", reason="models are read on the workstation")

from timm.layers import resample_abs_pos_embed
from timm.models.beit import Beit
from timm.models.eva import Eva
from timm.models.vision_transformer import ParallelThingsBlock, VisionTransformer

from pomt_trt.core.errors import InputError, UsageError
from pomt_trt.host import models
from pomt_trt.host.models import load

DINOV2 = "vit_small_patch14_dinov2"
TINY = "vit_tiny_patch16_224"


def small(seed=0, **changes):
    """A vision transformer of 4 patches and 2 blocks, with random weights."""
    torch.manual_seed(seed)
    sizes = {"img_size": 32, "patch_size": 16, "embed_dim": 32, "depth": 2, "num_heads": 4, "num_classes": 5}
    return VisionTransformer(**{**sizes, **changes}).eval()


def logits(module, seed=1):
    generator = torch.Generator().manual_seed(seed)
    height, width = module.patch_embed.img_size
    with torch.no_grad():
        return module(torch.randn(2, 3, height, width, generator=generator))


def saved(path, state):
    torch.save(state, path)
    return str(path)


def test_a_name_gives_the_model_and_what_is_known_about_it():
    module, spec = load("vit_tiny_patch16_224.augreg_in21k_ft_in1k", image_size=32)
    assert type(module) is VisionTransformer and not module.training
    assert (spec.depth, spec.width, spec.heads, spec.classes) == (12, 192, 3, 1000)
    assert (spec.patch_tokens, spec.tokens) == (4, 5)
    assert spec.weights == "random (seed 0)" and spec.random_weights
    assert spec.name.endswith("in1k") and spec.architecture == TINY
    assert spec.labels[291].startswith("lion")


def test_preprocessing_is_timms_with_the_size_that_was_asked_for():
    how = load("vit_tiny_patch16_224.augreg_in21k_ft_in1k", image_size=48).spec.preprocessing
    assert (how.height, how.width, how.channels, how.crop_pct, how.interpolation) == (48, 48, 3, 0.9, "bicubic")
    assert how.mean == how.std == (0.5, 0.5, 0.5)  # not ImageNet's


def test_random_weights_follow_the_seed_and_leave_the_callers_randomness_alone():
    before = torch.random.get_rng_state()
    first, again, other = (load(TINY, image_size=16, seed=seed).module.head.weight for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


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
        ("vit_tiny_r_s16_p8_224", "its patches come from a HybridEmbed"),
        ("resnet18", "it is a ResNet, not timm's VisionTransformer"),
    ],
)
def test_other_architectures_are_refused_by_name_with_the_reason(name, reason):
    with pytest.raises(InputError, match=f"{name} is not supported: .*{reason}.*Choose a plain vision transformer"):
        load(name)


@pytest.mark.parametrize("kind, reason", [(Beit, "relative position bias"), (Eva, "rotary positions")])
def test_relatives_of_the_plain_one_are_refused_with_the_reason(kind, reason):
    with pytest.raises(InputError, match=f"it is a {kind.__name__}, not timm's VisionTransformer; .*{reason}"):
        load(kind(img_size=32, embed_dim=32, depth=1, num_heads=2))


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"dynamic_img_size": True}, "its token count varies"),
        ({"patch_drop_rate": 0.5}, "it drops patches on its own"),
        ({"global_pool": "map"}, "it pools by attention .AttentionPoolLatent"),
        ({"global_pool": ""}, "its pooling is '', so that it gives no logits"),
        ({"attn_layer": "diff"}, "its attention is gated or DiffAttention"),
        ({"block_fn": ParallelThingsBlock}, "its blocks are ParallelThingsBlock"),
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


def test_the_position_embedding_of_another_size_is_resampled_once():
    original = small()
    module, spec = load(original, image_size=64)
    assert (spec.patch_tokens, spec.preprocessing.height) == (16, 64) and not module.dynamic_img_size
    assert torch.equal(module.pos_embed, resample_abs_pos_embed(original.pos_embed, (4, 4), (2, 2)))
    assert original.pos_embed.shape[1] == 5


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": s}, lambda s: {"state_dict": s, "epoch": 3}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_checkpoint_is_found_in_its_wrappers(tmp_path, wrap, prefix):
    source = small(init_values=0.1)
    path = saved(tmp_path / "w.pth", wrap({prefix + key: value for key, value in source.state_dict().items()}))
    module, spec = load(small(seed=1, init_values=0.5), checkpoint=path)
    assert spec.weights == "checkpoint" and torch.equal(logits(module), logits(source))


def test_a_checkpoint_may_be_safetensors(tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    source = small()
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    module, _ = load(small(seed=1), checkpoint=str(tmp_path / "w.safetensors"))
    assert torch.equal(logits(module), logits(source))


def test_a_checkpoint_of_another_size_is_resampled_straight_to_the_size_asked_for(tmp_path):
    source = small(img_size=96)
    path = saved(tmp_path / "w.pth", source.state_dict())
    module, spec = load(small(seed=1), checkpoint=path, image_size=96)
    assert spec.patch_tokens == 36 and torch.equal(module.pos_embed, source.pos_embed)


def test_a_fine_tuned_checkpoint_brings_its_own_number_of_classes(tmp_path):
    source = small(num_classes=3)
    module, spec = load(small(seed=1), checkpoint=saved(tmp_path / "w.pth", source.state_dict()))
    assert spec.classes == 3 and torch.equal(logits(module), logits(source))


def dinov2(name):
    """A small one, at DINOv2's own 518 pixels."""
    return timm.create_model(name, embed_dim=48, depth=2, num_heads=3)


def official_dinov2(registers=0, width=48, depth=2, side=37):
    """The layout of dinov2_vits14_pretrain.pth: made for 518 pixels, no head, a mask token."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"cls_token": (1, 1, width), "pos_embed": (1, side * side + 1, width), "mask_token": (1, width)}
    shapes.update({"patch_embed.proj.weight": (width, 3, 14, 14), "patch_embed.proj.bias": (width,)})
    for block in range(depth):
        layers = {"attn.qkv": (3 * width, width), "attn.proj": (width, width)}
        layers.update({"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)})
        for layer, shape in layers.items():
            shapes.update({f"blocks.{block}.{layer}.weight": shape, f"blocks.{block}.{layer}.bias": shape[:1]})
        for vector in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "ls1.gamma", "ls2.gamma"):
            shapes[f"blocks.{block}.{vector}"] = (width,)
    shapes.update({"norm.weight": (width,), "norm.bias": (width,)})
    if registers:
        shapes["register_tokens"] = (1, registers, width)
    return {key: 0.05 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def test_an_official_dinov2_backbone_loads_without_a_head(tmp_path, caplog):
    state = official_dinov2()
    module, spec = load(dinov2(DINOV2), checkpoint=saved(tmp_path / "dinov2.pth", state), image_size=28)
    assert torch.equal(module.blocks[1].ls1.gamma, state["blocks.1.ls1.gamma"])
    assert torch.equal(module.pos_embed, resample_abs_pos_embed(state["pos_embed"], (2, 2)))
    assert (spec.architecture, spec.prefix_tokens, spec.classes, spec.labels) == (DINOV2, 1, 48, ())
    assert "no classifier" in caplog.text and "--head FILE" in caplog.text


def test_an_official_dinov2_with_registers_and_its_linear_head_gives_their_logits(tmp_path):
    path = saved(tmp_path / "dinov2.pth", official_dinov2(registers=4))
    linear = {"weight": torch.randn(7, 96), "bias": torch.randn(7)}
    head = saved(tmp_path / "head.pth", linear)
    module, spec = load(dinov2("vit_small_patch14_reg4_dinov2"), checkpoint=path, head=head, image_size=42)
    assert (spec.prefix_tokens, spec.patch_tokens, spec.classes, spec.head) == (5, 9, 7, head)
    pictures = torch.randn(2, 3, 42, 42)
    with torch.no_grad():
        tokens = module.forward_features(pictures)  # (2, 14, 48), normalised
        features = torch.cat([tokens[:, 0], tokens[:, 5:].mean(1)], 1)
        expected = features @ linear["weight"].T + linear["bias"]
        assert torch.allclose(module(pictures), expected, atol=1e-4)


def test_a_head_may_carry_a_prefix_and_replaces_the_models_own(tmp_path):
    linear = {"linear.weight": torch.randn(7, 64), "linear.bias": torch.randn(7)}
    module, spec = load(small(), head=saved(tmp_path / "head.pth", linear))
    assert spec.classes == 7 and logits(module).shape == (2, 7)


def test_a_checkpoint_with_a_head_takes_a_separate_one_all_the_same(tmp_path):
    path = saved(tmp_path / "w.pth", small().state_dict())
    head = saved(tmp_path / "head.pth", {"weight": torch.randn(7, 64), "bias": torch.randn(7)})
    assert load(small(), checkpoint=path, head=head).spec.classes == 7


def test_a_head_of_another_width_is_refused_with_both(tmp_path):
    head = saved(tmp_path / "head.pth", {"weight": torch.randn(7, 160), "bias": torch.randn(7)})
    with pytest.raises(InputError, match="takes 160 features, the model gives 64 .*one-layer linear head of this very"):
        load(small(), head=head)


def test_a_file_that_is_no_head_is_refused(tmp_path):
    with pytest.raises(InputError, match="no linear head: it holds .*Give --head the file of a DINOv2 linear head"):
        load(small(), head=saved(tmp_path / "w.pth", small().state_dict()))


@pytest.mark.parametrize("changes", [{"global_pool": "avg"}, {"class_token": False, "global_pool": "avg"}])
def test_a_model_without_a_normalised_class_token_takes_no_separate_head(tmp_path, changes):
    head = saved(tmp_path / "head.pth", {"weight": torch.randn(7, 64), "bias": torch.randn(7)})
    with pytest.raises(InputError, match="no normalised class token. Leave --head out"):
        load(small(**changes), head=head)


def test_a_backbone_alone_does_not_fill_a_model_with_a_head(tmp_path):
    state = {key: value for key, value in small().state_dict().items() if not key.startswith("head")}
    with pytest.raises(InputError, match="has no classifier: .*expects 5 classes. Give the linear head as --head FILE"):
        load(small(), checkpoint=saved(tmp_path / "w.pth", state))


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"embed_dim": 64}, r"cls_token is \(1, 1, 64\), the model has \(1, 1, 32\)"),
        ({"depth": 1}, "missing blocks.1.norm1.weight, blocks.1.norm1.bias, blocks.1.attn.qkv.weight and 9 more"),
        ({"depth": 3}, "unexpected blocks.2.norm1.weight"),
        ({"init_values": 0.1}, "unexpected blocks.0.ls1.gamma"),
    ],
)
def test_a_checkpoint_of_another_architecture_is_refused_with_the_first_misfits(tmp_path, changes, told):
    path = saved(tmp_path / "w.pth", small(**changes).state_dict())
    with pytest.raises(InputError, match=f"{told}.*Name the architecture that the checkpoint was made for"):
        load(small(), checkpoint=path)


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    state = small().state_dict()
    state["norm.bias"][0] = float("nan")
    with pytest.raises(InputError, match="NaN or infinity .norm.bias.*Fetch it again"):
        load(small(), checkpoint=saved(tmp_path / "w.pth", state))


class Code:
    """Would make a folder when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_with_code_is_never_run(tmp_path, zipped):
    trap, path = tmp_path / "trap", tmp_path / "w.pth"
    torch.save({"a": Code(str(trap))}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"could run code and are never loaded. .*torch.save\(model.state_dict"):
        load(small(), checkpoint=str(path))
    assert not trap.exists()


def test_a_truncated_or_foreign_file_is_explained(tmp_path):
    torch.save(small().state_dict(), tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    for content, name in [
        (whole[: len(whole) // 2], "a.pth"),
        (b"<!DOCTYPE html>", "b.pth"),
        (b"", "c.bin"),
        (b"12345678{", "d.safetensors"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name} is truncated, or holds no state dict. Fetch it again"):
            load(small(), checkpoint=str(tmp_path / name))
    with pytest.raises(InputError, match="holds no state dict"):
        load(small(), checkpoint=saved(tmp_path / "tensor.pth", torch.zeros(3)))
    with pytest.raises(InputError, match="holds no weights, only epoch"):
        load(small(), checkpoint=saved(tmp_path / "epoch.pth", {"epoch": 3}))


def test_an_absent_checkpoint_is_explained():
    with pytest.raises(InputError, match="there is no file nowhere.pth. Give a .safetensors"):
        load(small(), checkpoint="nowhere.pth")


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


def test_a_local_folder_in_timms_format_is_a_model_with_weights(tmp_path):
    source = timm.create_model(TINY, img_size=32, num_classes=3, depth=2)
    changes = {"label_names": ["a", "b", "c"], "input_size": (3, 32, 32)}
    timm.models.save_for_hf(source, tmp_path, model_args={"depth": 2}, model_config=changes, safe_serialization=True)
    module, spec = load(f"local-dir:{tmp_path}")
    assert torch.equal(logits(module), logits(source.eval()))
    assert (spec.weights, spec.labels, spec.depth, spec.random_weights) == ("local-dir", ("a", "b", "c"), 2, False)


def test_a_folder_that_is_no_model_is_explained(tmp_path):
    with pytest.raises(InputError, match="Config file not found.*must hold timm's config.json and the weights"):
        load(f"local-dir:{tmp_path}")


@pytest.mark.skipif(not (models.DIGITS / "config.json").is_file(), reason="the digits weights are not trained yet")
def test_digits_is_the_bundled_model():
    spec = load("digits").spec
    assert (spec.name, spec.classes, spec.preprocessing.channels) == ("digits", 10, 1) and not spec.random_weights


def test_class_names_come_from_a_file(tmp_path):
    (tmp_path / "names.txt").write_text("one\ntwo\nthree \nfour\nfünf\n", encoding="utf-8")
    assert load(small(), labels=str(tmp_path / "names.txt")).spec.labels == ("one", "two", "three", "four", "fünf")


def test_class_names_must_be_as_many_as_the_classes(tmp_path):
    (tmp_path / "names.txt").write_text("one\ntwo\n")
    with pytest.raises(InputError, match="names 2 classes, the model has 5: write one name a line"):
        load(small(), labels=str(tmp_path / "names.txt"))
    with pytest.raises(InputError, match="cannot read labels from .*Give --labels a text file"):
        load(small(), labels=str(tmp_path / "absent.txt"))


def test_channels_without_their_mean_are_refused_rather_than_guessed():
    with pytest.raises(InputError, match=re.escape("takes 1 channels, its mean and std have 3 and 3 values")):
        load(small(in_chans=1))


def test_nothing_is_logged_as_a_warning_for_a_whole_model(caplog):
    with caplog.at_level(logging.WARNING):
        load(small())
    assert not caplog.records
