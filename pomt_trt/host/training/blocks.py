"""What LTMP's training and its inference share of a block: timm's attention in parts, and the pairing of tokens.

Works on models that host/models has let pass as plain. Leaves out masks, thresholds and counts.
"""

from typing import Any

import torch
from torch import Tensor


def queries_keys_values(attn: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, H, N, dh) each of x (B, N, C); queries are scaled."""
    qkv = attn.qkv(x).reshape(*x.shape[:2], 3, attn.num_heads, attn.head_dim)
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, N, dh) each
    return attn.q_norm(q) * attn.scale, attn.k_norm(k), v


def attended(block: Any, x: Tensor, mixed: Tensor) -> Tensor:
    """x (B, N, C) plus what attention adds to it, `mixed` (B, H, N, dh) being values weighted by attention."""
    added: Tensor = block.ls1(block.attn.proj(block.attn.norm(mixed.transpose(1, 2).flatten(2))))
    return x + added


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
    """Keys (B, H, N, dh) -> their mean over heads, of length 1: (B, N, dh)."""
    mean = keys.float().mean(1)
    return mean / (mean.square().sum(2, keepdim=True) + 1e-12).sqrt()
