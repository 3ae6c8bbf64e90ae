"""host/models/checkpoints, through loading.load: whose weights fit, and what is said about files that do not."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed

from pomt_trt.core.errors import InputError
from pomt_trt.host.models.loading import load
from tests.host.code import Code
from tests.host.tiny import logits, small

DINOV2 = "vit_small_patch14_dinov2"


def saved(path, state):
    torch.save(state, path)
    return str(path)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": s}, lambda s: {"state_dict": s, "epoch": 3}])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_a_checkpoint_is_found_in_its_wrappers(tmp_path, wrap, prefix):
    source = small(init_values=0.1)
    path = saved(tmp_path / "w.pth", wrap({prefix + key: value for key, value in source.state_dict().items()}))
    module, spec = load(small(seed=1, init_values=0.5), checkpoint=path)
    assert spec.weights == "checkpoint" and torch.equal(logits(module), logits(source))


def test_a_checkpoint_may_be_safetensors(tmp_path):
    source = small()
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    module, _ = load(small(seed=1), checkpoint=str(tmp_path / "w.safetensors"))
    assert torch.equal(logits(module), logits(source))


def test_a_checkpoint_of_another_size_is_resampled_straight_to_the_size_asked_for(tmp_path):
    source = small(img_size=96)
    path = saved(tmp_path / "w.pth", source.state_dict())
    module, spec = load(small(seed=1), checkpoint=path, image_size=96)
    assert spec.patch_tokens == 36 and torch.equal(module.pos_embed, source.pos_embed)


def test_a_fine_tuned_checkpoint_brings_its_own_number_of_classes_which_is_said(tmp_path, caplog):
    source = small(num_classes=3)
    module, spec = load(small(seed=1), checkpoint=saved(tmp_path / "w.pth", source.state_dict()))
    assert spec.classes == 3 and torch.equal(logits(module), logits(source))
    assert "the checkpoint has 3 classes, the model 5: those of the checkpoint are taken" in caplog.text


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


def test_an_official_dinov2_backbone_alone_gives_features(tmp_path, caplog):
    path = saved(tmp_path / "dinov2.pth", official_dinov2())
    _, spec = load(dinov2(DINOV2), checkpoint=path, image_size=28)
    assert (spec.task, spec.classes) == ("features", 48)
    assert f"{path}: read 34 of 35 tensors, mask_token left out" in caplog.text


@pytest.mark.parametrize("registers, name", [(0, DINOV2), (4, "vit_small_patch14_reg4_dinov2")])
def test_an_official_dinov2_backbone_and_its_linear_head_give_their_logits(registers, name, tmp_path):
    state = official_dinov2(registers)
    linear = {"weight": torch.randn(7, 96), "bias": torch.randn(7)}
    head = saved(tmp_path / "head.pth", linear)
    path = saved(tmp_path / "dinov2.pth", state)
    module, spec = load(dinov2(name), checkpoint=path, head=head, image_size=42)
    assert torch.equal(module.blocks[1].ls1.gamma, state["blocks.1.ls1.gamma"])
    if not registers:  # whose positions timm stores apart
        assert torch.equal(module.pos_embed, resample_abs_pos_embed(state["pos_embed"], (3, 3)))
    assert (spec.architecture, spec.labels) == (name, ())
    assert (spec.prefix_tokens, spec.patch_tokens, spec.classes, spec.head) == (1 + registers, 9, 7, head)
    pictures = torch.randn(2, 3, 42, 42)
    with torch.no_grad():
        tokens = module.forward_features(pictures)  # (2, tokens, 48), normalised
        features = torch.cat([tokens[:, 0], tokens[:, 1 + registers :].mean(1)], 1)
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
    with pytest.raises(InputError, match="no linear head: it holds weight, not"):
        load(small(), head=saved(tmp_path / "half.pth", {"weight": torch.zeros(7, 64), "bias": 3}))


@pytest.mark.parametrize("changes", [{"global_pool": "avg"}, {"class_token": False, "global_pool": "avg"}])
def test_a_model_without_a_normalised_class_token_takes_no_separate_head(tmp_path, changes):
    head = saved(tmp_path / "head.pth", {"weight": torch.randn(7, 64), "bias": torch.randn(7)})
    with pytest.raises(InputError, match="no normalised class token. Leave --head out"):
        load(small(**changes), head=head)


def test_a_backbone_alone_does_not_fill_a_model_with_a_head(tmp_path):
    state = {key: value for key, value in small().state_dict().items() if not key.startswith("head")}
    with pytest.raises(
        InputError,
        match="no classifier: head.weight, head.bias missing, .*expects 5 classes. Give the linear head as --head FILE",
    ):
        load(small(), checkpoint=saved(tmp_path / "w.pth", state))


PREFIXES = ["model.", "net.", "backbone.", "encoder.", "teacher.", "student.", "teacher.backbone."]


@pytest.mark.parametrize("prefix", [*PREFIXES, "my_vit.", "model._orig_mod."])
def test_a_prefix_of_all_names_is_removed_and_said(prefix, tmp_path, caplog):
    source = small()
    state = {prefix + key: value for key, value in source.state_dict().items()}
    path = saved(tmp_path / "w.pth", {**state, "loss.weight": torch.zeros(2)})
    module, _ = load(small(seed=1), checkpoint=path)
    assert torch.equal(logits(module), logits(source))
    assert f"{path}: read 32 of 33 tensors, prefix '{prefix}' removed" in caplog.text


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {f"{a}.{b}": v for a, t in s.items() for b, v in t.items()}])
def test_of_student_and_teacher_the_teacher_is_read_and_the_other_named(wrap, tmp_path, caplog):
    student, teacher = small(seed=2), small(seed=3)
    both = {
        name: {"backbone." + key: value for key, value in model.state_dict().items()}
        for name, model in (("student", student), ("teacher", teacher))
    }
    module, _ = load(small(), checkpoint=saved(tmp_path / "w.pth", wrap(both)))
    assert torch.equal(logits(module), logits(teacher))
    said = (
        "prefix 'teacher.backbone.' removed, averaged weights; those under 'student.backbone.' are not read (--ema off"
    )
    assert said in caplog.text


def test_of_a_checkpoint_in_the_models_own_names_only_the_number_of_tensors_is_said(tmp_path, caplog):
    path = saved(tmp_path / "w.pth", {**small().state_dict()})
    load(small(), checkpoint=path)
    assert caplog.messages == [f"{path}: read 32 of 32 tensors"]


def test_names_of_another_kind_are_said_to_be_that(tmp_path):
    state = {f"layer.{number}": value for number, value in enumerate(small().state_dict().values())}
    with pytest.raises(InputError, match="missing cls_token.*unexpected layer.0.*0 of the model's 32 names are there"):
        load(small(), checkpoint=saved(tmp_path / "w.pth", state))


def test_all_shapes_that_differ_are_listed_and_those_of_several_blocks_are_one_entry(tmp_path):
    state = small().state_dict()
    state["blocks.0.mlp.fc1.weight"] = torch.zeros(64, 32)
    state["blocks.1.mlp.fc1.bias"] = torch.zeros(64)
    few = (
        r"fit the model: blocks.0.mlp.fc1.weight is \(64, 32\), .*; blocks.1.mlp.fc1.bias is \(64,\), .*\(128,\). Name"
    )
    with pytest.raises(InputError, match=few):
        load(small(), checkpoint=saved(tmp_path / "w.pth", state))
    many = (
        r"blocks.0-1.attn.qkv.weight are \(192, 64\), .*; head.weight is \(5, 64\), .*\(5, 32\). Name the architecture"
    )
    with pytest.raises(InputError, match=many):
        load(small(), checkpoint=saved(tmp_path / "w.pth", small(embed_dim=64).state_dict()))


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"embed_dim": 64}, r"cls_token is \(1, 1, 64\), the model has \(1, 1, 32\)"),
        (
            {"depth": 1},
            "missing blocks.1.norm1.weight, .*, blocks.1.mlp.fc2.bias. 20 of the model's 32 names are there",
        ),
        ({"depth": 3}, "unexpected blocks.2.norm1.weight"),
        ({"init_values": 0.1}, "unexpected blocks.0-1.ls1.gamma, blocks.0-1.ls2.gamma"),
    ],
)
def test_a_checkpoint_of_another_architecture_is_refused_with_all_misfits(tmp_path, changes, told):
    path = saved(tmp_path / "w.pth", small(**changes).state_dict())
    with pytest.raises(InputError, match=f"{told}.*Name the architecture that the checkpoint was made for"):
        load(small(), checkpoint=path)


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    state = small().state_dict()
    state["norm.bias"][0] = float("nan")
    with pytest.raises(InputError, match="NaN or infinity .norm.bias.*Fetch it again"):
        load(small(), checkpoint=saved(tmp_path / "w.pth", state))


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
