"""Rotary positions move with their tokens: a reduced model is timm's own blocks, called with the rows that are left."""

import pytest
import torch
from timm.layers import apply_keep_indices_nlc

from pomt_trt.host.models.token_reduction import reduce_tokens
from pomt_trt.host.reducers.common.contract import Tokens
from tests.host import shrunken, tiny

NAMES = {
    "table of sines and cosines, norm in the MLP": "eva02_base_patch14_224",
    "registers, halves rotated": "vit_base_patch16_dinov3",
    "frequencies of each block and head": "vit_base_patch16_rope_mixed_224",
    "grouped queries": "vit_base_patch16_sapiens2",
    "attention pooling": "vit_pe_core_base_patch16_224",
}
METHODS = {  # each acts in one of three blocks; ltmp in the first, since it orders tokens anew in each before that
    "topk": {"removed": [0, 5, 0]},
    "pomt": {"removed": 5, "layer": 1},
    "pomt-shift": {"removed": 5, "layer": 1},
    "ltmp": {"merged": [0, 0, 0], "pruned": [5, 0, 0]},
    "random": {"removed": 5, "layer": 1},
}


@pytest.fixture(params=NAMES.values(), ids=NAMES)
def model(request):
    return shrunken.made(request.param)


def images(count=4):
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(3))


def start(model):
    """timm's own sequence and rope before block 0."""
    x, rope = model._pos_embed(model.patch_embed(images()))
    return model.norm_pre(x), rope


def gathered(model, rope, left):
    """timm's rope for the patches at `left` (B, n) of the image, for each block; a -1 is a token without a place."""
    patches = rope.shape[-2]
    nothing = torch.cat([torch.zeros(rope.shape[-1] // 2), torch.ones(rope.shape[-1] // 2)])
    rope = torch.cat([rope, nothing.expand(*rope.shape[:-2], 1, -1)], -2)
    places = torch.where(left < 0, patches, left)
    rows = apply_keep_indices_nlc(torch.empty(len(left), 1), rope, places)
    if rope.ndim == 2:
        return [rows.unsqueeze(1)] * len(model.blocks)
    return list(rows.transpose(0, 1))


def blocks(model, x, ropes, layers):
    for layer in layers:
        x = model.blocks[layer](x, rope=ropes[layer])
    return x


def tagged(reducer, signals, tokens):
    """The place of each token that leaves a reducer, -1 for the mean of several: (B, N_out)."""
    eye = torch.eye(tokens.x.shape[1])[None].repeat(len(tokens.x), 1, 1)
    kept = reducer.reduce(Tokens(eye), signals).x
    return torch.where(kept.amax(2) > 0.99, kept.argmax(2), -1)


@torch.no_grad()
@pytest.mark.parametrize("method", METHODS)
def test_removal_within_a_block_is_timms_blocks_with_the_rows_that_are_left(model, method):
    reduced, seen = reduce_tokens(model, method, **METHODS[method]), {}
    acts_in, reducer = next((int(block), reducer) for block, reducer in reduced.reducers.items())
    honest = reducer.reduce

    def watched(tokens, signals):
        reducer.reduce = honest
        seen["places"] = tagged(reducer, signals, tokens)
        return honest(tokens, signals)

    reducer.reduce = watched
    ours = reduced(images())
    (x, rope), prefix, block = start(model), model.num_prefix_tokens, model.blocks[acts_in]
    whole = [rope] * 3 if rope.ndim == 2 else list(rope)
    x = blocks(model, x, whole, range(acts_in))
    added = block.attn(block.norm1(x), rope=whole[acts_in])
    x = x + (added if block.gamma_1 is None else block.gamma_1 * added)
    places = seen["places"]
    mean = [x[i, sorted(set(range(x.shape[1])) - set(places[i].tolist()))].mean(0) for i in range(len(x))]
    rows = x.gather(1, places.clamp(min=0)[..., None].expand(-1, -1, x.shape[2]))
    x = torch.where((places < 0)[..., None], torch.stack(mean)[:, None], rows)
    fed = block.mlp(block.norm2(x))
    x = x + (fed if block.gamma_2 is None else block.gamma_2 * fed)
    left = torch.where(places < 0, -1, places - prefix)[:, prefix:]
    x = blocks(model, x, gathered(model, rope, left), range(acts_in + 1, 3))
    expected = model.forward_head(model.norm(x))
    assert (ours - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (ours - model(images())).abs().max() > 1e-3 * expected.abs().max()  # something was removed


@torch.no_grad()
def test_removal_before_the_first_block_is_timms_blocks_with_the_rows_that_are_left(model):
    reduced = reduce_tokens(model, "random", removed=7)
    kept, prefix = reduced.reducers["0"].kept_indices, model.num_prefix_tokens
    x, rope = start(model)
    ropes = gathered(model, rope, (kept[prefix:] - prefix).expand(4, -1))
    expected = model.forward_head(model.norm(blocks(model, x[:, kept], ropes, range(3))))
    assert (reduced(images()) - expected).abs().max() <= 1e-5 * expected.abs().max()


@torch.no_grad()
def test_rows_that_were_set_aside_come_back_with_their_tokens(model):
    scorers = tiny.learned("cropr", depth=3).vectors
    reduced = reduce_tokens(model, "cropr", removed=[4, 0, 0], scorers=scorers[:1])
    first = reduced.embed(images())
    last = reduced.run(first, 0, 3)
    order = last.origin[:, :, None].expand(-1, -1, first.positions.shape[2])
    assert torch.equal(last.positions, first.positions.gather(1, order))


@torch.no_grad()
@pytest.mark.parametrize("method", ["tome", "ltmp"])
def test_a_merged_token_has_the_row_of_the_patch_that_it_was_merged_into_and_no_average(model, method):
    counts = {"tome": {"removed": [3, 2, 1]}, "ltmp": {"merged": [3, 1, 0], "pruned": [1, 0, 1]}}[method]
    reduced = reduce_tokens(model, method, **counts)
    first = reduced.embed(images())
    rows = {tuple(row) for row in first.positions[0].tolist()}
    left = reduced.run(first, 0, 3).positions
    assert left.shape[1] == reduced.schedule.tokens[-1]
    assert all(tuple(row) in rows for row in left.flatten(0, 1).tolist())


@torch.no_grad()
def test_patches_that_look_alike_have_the_same_keys_wherever_they_are(model):
    """Else matching would merge neighbours instead of what is alike."""
    if model.pos_embed is not None:
        torch.nn.init.zeros_(model.pos_embed)
    reduced, seen = reduce_tokens(model, "tome", removed=[3, 0, 0]), {}
    reducer = reduced.reducers["0"]
    honest = reducer.match
    reducer.match = lambda keys: seen.update(keys=keys) or honest(keys)
    reduced(torch.full((1, 3, 16, 16), 0.5))
    keys = seen["keys"][0, model.num_prefix_tokens :]
    assert torch.allclose(keys, keys[:1].expand_as(keys), atol=1e-6)
