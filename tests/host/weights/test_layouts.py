"""Layouts of checkpoints as people have them: each is read, and the line says what of it was read and how."""

import argparse
import collections
import json
import re

import pytest
import timm
import torch
from safetensors.torch import save_file

from pomt_trt.core.errors import InputError
from pomt_trt.host.models.loading import load
from tests.host.tiny import logits, small

NAMES = 32  # of the small model


def prefixed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


def other(seed=9, **changes):
    return small(seed, **changes).state_dict()


def inside(state, word):
    """A word of a wrapper in every block, as FSDP and activation checkpoints put it there."""
    return {re.sub(r"^(blocks\.\d+\.)", rf"\g<1>{word}.", name): value for name, value in state.items()}


def chunked(state, absolute):
    """Two chunks of one block, as DINOv2 trains; its numbers go on in the second chunk, others' begin anew."""
    second = "blocks.1.1." if absolute else "blocks.1.0."
    renamed = {name.replace("blocks.1.", second): value for name, value in state.items()}
    return {re.sub(r"^blocks\.0\.(?!\d+\.)", "blocks.0.0.", name): value for name, value in renamed.items()}


def optimizer(state):
    return {"state": {0: {"exp_avg": state["norm.weight"] * 0}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


def lightning(state):
    return {"state_dict": prefixed(state, "model."), "epoch": 3, "optimizer_states": [optimizer(state)]}


def averaged_beside(state, key="state_dict"):
    """timm's training file: the averaged weights are those asked for."""
    return {key: other(), key + "_ema": dict(state), "args": argparse.Namespace(lr=0.1), "optimizer": optimizer(state)}


def student_and_teacher(state):
    """DINO's training file, with its projection heads."""
    heads = {"head.mlp.0.weight": torch.ones(3, 3)}
    student = prefixed({**prefixed(other(), "backbone."), **heads}, "module.")
    return {"student": student, "teacher": {**prefixed(state, "backbone."), **heads}, "epoch": 5}


def target_encoder(state):
    """I-JEPA's file: the target encoder is an average of the other."""
    return {"encoder": prefixed(other(), "module."), "target_encoder": prefixed(state, "module.")}


def masked_autoencoder(state):
    decoder = {"mask_token": torch.ones(1, 1, 3), "decoder_embed.weight": torch.ones(3, 3)}
    return {"model": {**state, **decoder, "decoder_blocks.0.norm1.weight": torch.ones(3)}}


# layout -> (file of the state, part of the line after "read N of N tensors")
LAYOUTS = {
    "plain": (lambda s: s, (32, 32, "")),
    "ordered": (lambda s: collections.OrderedDict(s), (32, 32, "")),
    "under model": (lambda s: {"model": s}, (32, 32, "prefix 'model.' removed")),
    "under state_dict": (lambda s: {"state_dict": s, "epoch": 3}, (32, 32, "prefix 'state_dict.' removed")),
    "data parallel": (lambda s: prefixed(s, "module."), (32, 32, "prefix 'module.' removed")),
    "compiled": (lambda s: prefixed(s, "_orig_mod."), (32, 32, "prefix '_orig_mod.' removed")),
    "both": (lambda s: prefixed(s, "module._orig_mod."), (32, 32, "prefix 'module._orig_mod.' removed")),
    "Lightning": (lightning, (32, 32, "prefix 'state_dict.model.' removed")),
    "net": (lambda s: prefixed(s, "net."), (32, 32, "prefix 'net.' removed")),
    "encoder": (lambda s: prefixed(s, "encoder."), (32, 32, "prefix 'encoder.' removed")),
    "backbone, head beside it": (
        lambda s: {(name if name.startswith("head") else "backbone." + name): value for name, value in s.items()},
        (32, 32, "prefix 'backbone.' removed, head.bias, head.weight from outside of it"),
    ),
    "a loss beside it": (lambda s: {**prefixed(s, "vit."), "loss.w": torch.ones(2)}, (32, 33, "prefix 'vit.' removed")),
    "FSDP": (lambda s: inside(prefixed(s, ""), "_fsdp_wrapped_module"), (32, 32, "")),
    "activation checkpoints": (lambda s: inside(s, "_checkpoint_wrapped_module"), (32, 32, "")),
    "averaged by torch": (
        lambda s: {**prefixed(s, "module."), "n_averaged": torch.tensor(4)},
        (32, 33, "prefix 'module.' removed"),
    ),
    "timm's training": (averaged_beside, (32, 65, "prefix 'state_dict_ema.' removed, averaged weights; those under")),
    "timm's older training": (
        lambda s: averaged_beside(s, "model"),
        (32, 65, "prefix 'model_ema.' removed, averaged weights; those under 'model.' are not read (--ema off"),
    ),
    "DINO": (student_and_teacher, (32, 66, "prefix 'teacher.backbone.' removed, averaged weights; those under 'stud")),
    "I-JEPA": (target_encoder, (32, 64, "prefix 'target_encoder.module.' removed, averaged weights; those under")),
    "a member of two": (lambda s: {**prefixed(s, "a."), **prefixed(s, "b.")}, (32, 64, "prefix 'a.' removed")),
    "DINOv2's chunks": (lambda s: {"teacher": chunked(s, True)}, (32, 32, "prefix 'teacher.' removed")),
    "chunks that count anew": (lambda s: chunked(s, False), (32, 32, "")),
    "MAE's training": (masked_autoencoder, (32, 35, "prefix 'model.' removed, mask_token, decoder_embed.weight, dec")),
    "OpenCLIP": (lambda s: prefixed(s, "visual.trunk."), (32, 32, "prefix 'visual.trunk.' removed")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_read_and_said(layout, tmp_path, caplog):
    file, (read, total, how) = LAYOUTS[layout]
    source, path = small(), str(tmp_path / "w.pth")
    torch.save(file(source.state_dict()), path)
    module, _ = load(small(seed=1), checkpoint=path)
    assert torch.equal(logits(module), logits(source))
    assert caplog.messages[0].startswith(f"{path}: read {read} of {total} tensors" + (", " + how if how else ""))
    assert how or caplog.messages[0].endswith("tensors")


def test_a_models_own_names_may_be_in_shards(tmp_path, caplog):
    source, names = small(), sorted(small().state_dict())
    index = shards(tmp_path, source.state_dict(), {"a.safetensors": names[:20], "b.safetensors": names[20:]})
    module, _ = load(small(seed=1), checkpoint=index)
    assert torch.equal(logits(module), logits(source)) and f"{index}: read 32 of 32 tensors" in caplog.text


def shards(folder, state, files):
    """Writes shards and their index; returns its path."""
    for file, names in files.items():
        save_file({name: state[name] for name in names}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: file for file, names in files.items() for name in names}}))
    return str(index)


def test_a_folder_may_hold_its_weights_in_shards(tmp_path):
    source = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=3, depth=2).eval()
    timm.models.save_for_hf(source, tmp_path, model_args={"img_size": 32, "depth": 2}, safe_serialization=True)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").unlink(missing_ok=True)
    names = sorted(source.state_dict())
    shards(tmp_path, source.state_dict(), {"a.safetensors": names[:9], "b.safetensors": names[9:]})
    assert torch.equal(logits(load(f"local-dir:{tmp_path}").module), logits(source))


def test_an_index_without_its_shard_or_with_another_ones_names_is_refused(tmp_path):
    state, names = small().state_dict(), sorted(small().state_dict())
    index = shards(tmp_path, state, {"a.safetensors": names[:20], "b.safetensors": names[20:]})
    save_file({name: state[name] for name in names[21:]}, tmp_path / "b.safetensors")
    with pytest.raises(InputError, match=f"b.safetensors lacks {names[20]}, which .*index.json says it holds"):
        load(small(), checkpoint=index)
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(InputError, match="1 of the 2 shards that .* names are not there: b.safetensors. Fetch them"):
        load(small(), checkpoint=index)


def test_maes_fine_tuned_pooling_is_taken_from_the_checkpoint(tmp_path, caplog):
    source, path = small(global_pool="avg"), str(tmp_path / "mae.pth")
    torch.save({"model": source.state_dict()}, path)
    module, _ = load(small(seed=1), checkpoint=path)
    assert torch.equal(logits(module), logits(source)) and module.global_pool == "avg"
    assert "prefix 'model.' removed, patches averaged before the last norm (fc_norm)" in caplog.text


def test_official_deit3_names_its_layer_scale_in_its_own_way(tmp_path, caplog):
    source, path = small(init_values=0.1), str(tmp_path / "deit3.pth")
    state = {re.sub(r"ls(\d)\.gamma", r"gamma_\1", name): value for name, value in source.state_dict().items()}
    torch.save({"model": state}, path)
    module, _ = load(small(seed=1, init_values=0.5), checkpoint=path)
    assert torch.equal(logits(module), logits(source)) and "read 36 of 36 tensors, prefix 'model.'" in caplog.text


@pytest.mark.parametrize("wrap, before", [(lambda s: s, ""), (lambda s: {"model": s}, "prefix 'model.' removed, ")])
def test_openais_clip_is_an_official_layout(wrap, before, tmp_path, caplog):
    source = small(pre_norm=True, num_classes=7)
    torch.nn.init.zeros_(source.head.bias)  # CLIP's projection has none
    state = {"visual." + clip_name(name): value for name, value in source.state_dict().items()}
    state.pop("visual.head.bias")
    state["visual.class_embedding"] = state["visual.class_embedding"].reshape(-1)
    state["visual.positional_embedding"] = state["visual.positional_embedding"][0]
    state["visual.proj"] = state.pop("visual.head.weight").T
    torch.save(wrap(state), tmp_path / "clip.pth")
    module, _ = load(small(seed=1, pre_norm=True, num_classes=7), checkpoint=str(tmp_path / "clip.pth"))
    assert torch.equal(logits(module), logits(source)) and f" tensors, {before}an official layout" in caplog.text


def clip_name(name):
    """OpenAI's spelling of timm's names. Source: the state dict that timm's filter for CLIP reads."""
    for ours, theirs in {
        "cls_token": "class_embedding",
        "pos_embed": "positional_embedding",
        "patch_embed.proj": "conv1",
        "norm_pre": "ln_pre",
        "norm1": "ln_1",
        "norm2": "ln_2",
        "attn.qkv.": "attn.in_proj_",
        "attn.proj": "attn.out_proj",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
        "blocks.": "transformer.resblocks.",
    }.items():
        name = name.replace(ours, theirs)
    return re.sub(r"^norm\.", "ln_post.", name)


@pytest.mark.parametrize("ema, averaged", [("auto", True), ("on", True), ("off", False)])
def test_ema_says_which_of_two_sets_is_read(ema, averaged, tmp_path, caplog):
    source, path = small(), str(tmp_path / "w.pth")
    torch.save(averaged_beside(source.state_dict()), path)
    module, _ = load(small(seed=1), checkpoint=path, ema=ema)
    assert torch.equal(logits(module), logits(source if averaged else small(9)))
    assert f"prefix 'state_dict{'_ema' if averaged else ''}.' removed" in caplog.text


@pytest.mark.parametrize(
    "ema, prefix, said", [("on", "net.", "no averaged weights"), ("off", "ema.", "no weights but")]
)
def test_a_set_that_is_asked_for_and_not_there_is_refused(ema, prefix, said, tmp_path):
    path = str(tmp_path / "w.pth")
    torch.save(prefixed(small().state_dict(), prefix), path)
    with pytest.raises(InputError, match=f"--ema {ema}: .* holds {said}.*, only those under '{prefix}'. Leave --ema"):
        load(small(), checkpoint=path, ema=ema)


def test_two_sets_that_are_equally_good_are_refused_with_both_prefixes(tmp_path):
    path = str(tmp_path / "w.pth")
    torch.save({**prefixed(small().state_dict(), "left."), **prefixed(other(), "right.")}, path)
    with pytest.raises(InputError, match="with several prefixes: 'left.' and 'right.', and the values differ. Save"):
        load(small(), checkpoint=path)


def test_half_a_checkpoint_is_refused_with_all_that_is_missing(tmp_path):
    path, state = str(tmp_path / "w.pth"), small().state_dict()
    torch.save(prefixed({name: state[name] for name in list(state)[:18]}, "model."), path)
    said = r"missing blocks.1.attn.qkv.weight, .*, head.bias. 18 of the model's 32 names are there. Name the arch"
    with pytest.raises(InputError, match=said):
        load(small(), checkpoint=path)


def test_a_namespace_of_arguments_is_no_code(tmp_path):
    torch.save({"model": small().state_dict(), "args": argparse.Namespace(lr=1)}, tmp_path / "w.pth")
    assert load(small(seed=1), checkpoint=str(tmp_path / "w.pth")).spec.classes == 5
