"""LTMP as it runs: each image merges and prunes by thresholds, or by given counts.

The images of a batch keep different numbers of tokens. Shorter sequences are padded at the end, and no token attends to
padding, so an image's logits do not depend on the batch. Engines never run this: it shows what a static schedule loses.

Source: Bonnaerens and Dambre, "Learned Thresholds Token Merging and Pruning for Vision Transformers", TMLR 2023.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pomt_trt.host.backbones.attention import attend
from pomt_trt.host.backbones.plain import embedded, fed_forward
from pomt_trt.host.reducers.common.contract import Need
from pomt_trt.host.reducers.common.matching import even_odd, unit
from pomt_trt.host.reducers.common.ranking import rank


class Thresholds(NamedTuple):
    """A block merges pairs whose cosine is above `merge`, then prunes tokens whose importance is not above `prune`."""

    merge: float
    prune: float


class Counts(NamedTuple):
    """A block merges this many of the most similar tokens, then prunes this many of the least important."""

    merged: int
    pruned: int


Cut = Thresholds | Counts


class Live(NamedTuple):
    """Sequences of several lengths, each padded at its end."""

    x: Tensor  # (B, N, C)
    size: Tensor  # (B, N) original tokens in each
    there: Tensor  # (B, N) bool; False: removed, or padding


class Removed(NamedTuple):
    """Tokens that were removed of each image."""

    merged: Tensor  # (B,) or (B, L) int64
    pruned: Tensor


@torch.inference_mode()
def run(vit: Any, cuts: Sequence[Cut], images: Tensor) -> tuple[Tensor, Removed]:
    """Logits (B, classes), and how many tokens each block merged and pruned (B, L)."""
    live, removed = start(vit, images), []
    for block, cut in zip(vit.blocks, cuts, strict=True):
        live, counts = reduced_block(block, live, cut, vit.num_prefix_tokens)
        removed.append(counts)
    columns = (torch.stack(column, 1) for column in zip(*removed, strict=True))
    logits: Tensor = vit.forward_head(vit.norm(live.x))
    return logits, Removed(*columns)


def start(vit: Any, images: Tensor) -> Live:
    """The sequences that enter block 0."""
    x = embedded(vit, images)
    return Live(x, x.new_ones(x.shape[:2]), x.new_ones(x.shape[:2], dtype=torch.bool))


def reduced_block(block: Any, live: Live, cut: Cut, prefix_tokens: int) -> tuple[Live, Removed]:
    """One block: attention with sizes, merging, pruning, MLP. Also how many tokens it removed of each image (B,)."""
    bias = live.size.log().masked_fill(~live.there, -torch.inf)[:, None, None]  # (B, 1, 1, N)
    attended, signals = attend(block.attn, block.norm1(live.x), Need.KEYS | Need.ATTN_FULL, prefix_tokens, bias)
    assert signals.keys is not None and signals.attn is not None
    live = live._replace(x=live.x + block.ls1(attended))
    live, keys, importance = _paired_order(
        live, unit(signals.keys.float()), _received(signals.attn, live.there), prefix_tokens
    )
    live, importance, merged = _merge(live, keys, importance, cut, prefix_tokens)
    live, pruned = _prune(live, importance, cut, prefix_tokens)
    live = _compact(live)
    return live._replace(x=fed_forward(block, live.x)), Removed(merged, pruned)


def _received(weights: Tensor, there: Tensor) -> Tensor:
    """Importance (B, N): received attention, mean over heads and valid queries."""
    rows = (weights.mean(1) * there[:, :, None]).sum(1)
    return rows / there.sum(1, keepdim=True)


def _paired_order(
    live: Live, keys: Tensor, importance: Tensor, prefix_tokens: int
) -> tuple[Live, tuple[Tensor, Tensor], Tensor]:
    """Tokens, keys and importance in the order prefix, even positions, odd positions; keys of even and odd apart."""
    order, even = even_odd(live.x.shape[1], prefix_tokens)
    order = order.to(live.x.device)
    keys = keys[:, order]
    halves = keys[:, prefix_tokens : prefix_tokens + even], keys[:, prefix_tokens + even :]
    return Live(*(part[:, order] for part in live)), halves, importance[:, order]


def _merge(
    live: Live, keys: tuple[Tensor, Tensor], importance: Tensor, cut: Cut, prefix_tokens: int
) -> tuple[Live, Tensor, Tensor]:
    """Merges even tokens into their most similar odd ones. Also importances, and how many were merged (B,)."""
    even = slice(prefix_tokens, prefix_tokens + keys[0].shape[1])
    odd = slice(even.stop, None)
    if not keys[0].shape[1] or not keys[1].shape[1]:  # nothing to pair
        return live, importance, live.there.new_zeros(len(live.x), dtype=torch.long)
    similarity = keys[0] @ keys[1].transpose(1, 2)  # (B, even, odd)
    similarity = similarity.masked_fill(~live.there[:, None, odd], -2.0)  # below every cosine
    best, partner = similarity.max(2)
    merges = _highest(best.masked_fill(~live.there[:, even], -2.0), cut)
    into = (partner[:, :, None] == torch.arange(keys[1].shape[1], device=best.device)) & merges[:, :, None]
    shares = into * live.size[:, even, None]  # (B, even, odd)
    x, size, there, importance = live.x.clone(), live.size.clone(), live.there.clone(), importance.clone()
    size[:, odd] += shares.sum(1)
    summed = live.x[:, odd] * live.size[:, odd, None] + shares.transpose(1, 2) @ live.x[:, even]
    x[:, odd] = summed / size[:, odd, None]
    there[:, even] &= ~merges
    importance[:, odd] = torch.maximum(importance[:, odd], (into * importance[:, even, None]).amax(1))
    return Live(x, size, there), importance, merges.sum(1)


def _highest(best: Tensor, cut: Cut) -> Tensor:
    """The even tokens to merge, (B, even) bool."""
    if isinstance(cut, Thresholds):
        return best > cut.merge
    return torch.zeros_like(best, dtype=torch.bool).scatter(1, rank(best, cut.merged), True)


def _prune(live: Live, importance: Tensor, cut: Cut, prefix_tokens: int) -> tuple[Live, Tensor]:
    """The tokens after pruning, and how many were pruned (B,)."""
    importance = importance.masked_fill(~live.there, torch.inf)
    importance[:, :prefix_tokens] = torch.inf
    if isinstance(cut, Thresholds):
        pruned = importance <= cut.prune
    else:
        kept = rank(importance, importance.shape[1] - cut.pruned)
        pruned = torch.ones_like(live.there).scatter(1, kept, False)
    return live._replace(there=live.there & ~pruned), pruned.sum(1)


def _compact(live: Live) -> Live:
    """Moves valid tokens to the front, in their order, and cuts to the longest sequence."""
    longest = int(live.there.sum(1).max())
    order = rank(live.there.float(), longest)  # (B, longest), stable
    x = live.x.gather(1, order[:, :, None].expand(-1, -1, live.x.shape[2]))
    size, there = live.size.gather(1, order), live.there.gather(1, order)
    return Live(x, size, there)
