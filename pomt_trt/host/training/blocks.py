"""What the learned methods share of a model in training: its parts but attention, and LTMP's pairing of tokens.

Works on models that host/models/loading has let pass as plain. Leaves out masks, thresholds and counts.
"""

from typing import Any

import torch
from torch import Tensor


def fed_forward(block: Any, x: Tensor) -> Tensor:
    """x (B, N, C) plus what the MLP adds to it."""
    added: Tensor = block.ls2(block.mlp(block.norm2(x)))
    return x + added


def embedded(vit: Any, images: Tensor) -> Tensor:
    """The sequence that enters block 0: (B, N, C)."""
    x: Tensor = vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(images))))
    return x


def even_odd(tokens: int, prefix_tokens: int) -> tuple[Tensor, int]:
    """The order prefix, patches at even positions, patches at odd ones: positions (tokens,); and how many are even."""
    positions = torch.arange(tokens)
    patches = positions[prefix_tokens:]
    even, odd = patches[patches % 2 == 0], patches[patches % 2 == 1]
    return torch.cat([positions[:prefix_tokens], even, odd]), len(even)


def unit(keys: Tensor) -> Tensor:
    """Keys (B, N, dh), means over heads, at length 1; one of zeros stays, instead of NaN."""
    keys = keys.float()
    return keys / (keys.square().sum(2, keepdim=True) + 1e-12).sqrt()
