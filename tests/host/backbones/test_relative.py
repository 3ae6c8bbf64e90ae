"""Relative position biases are looked up by the places of the tokens that are left."""

import pytest
import torch

from pomt_trt.host.models.token_reduction import reduce_tokens
from tests.host import shrunken

NAMES = {
    "a table in each block": "beit_base_patch16_224",
    "an MLP in each block, class token without bias": "vit_relpos_base_patch16_cls_224",
    "an MLP with a sigmoid": "vit_relpos_base_patch16_plus_240",
    "norm after each branch": "vit_relpos_base_patch16_rpn_224",
    "one MLP for all blocks": "vit_srelpos_small_patch16_224",
}


@pytest.fixture(params=NAMES.values(), ids=NAMES)
def model(request):
    return shrunken.made(request.param)


def images(count=4):
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(3))


def timms_bias(model, layer):
    """(1, H, N, N), from timm's own functions."""
    if hasattr(model, "rel_pos_bias"):
        return model.blocks[layer].attn._get_rel_pos_bias()
    shared = model.shared_rel_pos
    return (model.blocks[layer].attn.rel_pos if shared is None else shared).get_bias()


def reduced_by_hand(model, kept):
    """Logits of timm's layers on the tokens `kept` (n,) from block 0 on, with timm's biases of these alone."""
    x = model.patch_embed(images())
    if model.cls_token is not None:
        x = torch.cat([model.cls_token.expand(len(x), -1, -1), x], 1)
    if getattr(model, "pos_embed", None) is not None:
        x = x + model.pos_embed
    x = x[:, kept]
    for layer, block in enumerate(model.blocks):
        bias = timms_bias(model, layer)[:, :, kept][:, :, :, kept]
        own = {name: getattr(block.attn, name, None) for name in ("relative_position_bias_table", "rel_pos")}
        for name, value in own.items():
            if value is not None:
                setattr(block.attn, name, None)
        x = block(x, **{"shared_rel_pos_bias" if hasattr(model, "rel_pos_bias") else "shared_rel_pos": bias})
        for name, value in own.items():
            if value is not None:
                setattr(block.attn, name, value)
    return model.forward_head(model.norm(x))


@torch.no_grad()
def test_removal_is_timms_blocks_with_the_biases_of_the_tokens_that_are_left(model):
    reduced = reduce_tokens(model, "random", removed=7)
    expected = reduced_by_hand(model, reduced.reducers["0"].kept_indices)
    assert (reduced(images()) - expected).abs().max() <= 1e-5 * expected.abs().max()


@torch.no_grad()
def test_the_mean_of_the_removed_tokens_has_no_place_and_adds_nothing(model):
    reduced = reduce_tokens(model, "pomt", removed=5, layer=1)
    tokens = reduced.run(reduced.embed(images()), 0, 2)
    bias = reduced.backbone.bias(2, tokens, None)
    assert (bias[:, :, -1] == 0).all() and (bias[:, :, :, -1] == 0).all()
    assert (bias[:, :, 1:-1, 1:-1] != 0).all()


@torch.no_grad()
def test_a_merged_token_has_the_place_of_the_patch_that_it_was_merged_into(model):
    reduced = reduce_tokens(model, "tome", removed=[3, 2, 1])
    places = reduced.run(reduced.embed(images()), 0, 3).positions[:, :, 0]
    assert all(len(set(row)) == len(row) for row in places.tolist())
    assert places.max() < reduced.schedule.tokens[0]
