"""Rotary positions as a table of constants: one row of sines and cosines for each token of the sequence.

A row moves with its token, by the same indices. Prefix tokens, and tokens without a place in the image, have the row of
the identity (sine 0, cosine 1). Rows are never averaged: the mean of two is no rotation.
"""

from typing import Any

import torch
from timm.layers import apply_rot_embed_cat
from torch import Tensor, nn
from torch.nn import functional as F

from pomt_trt.host.backbones.attention import Heads


class Rotary(nn.Module):
    """The positions of a model on one grid, in place of timm's module that computes them.

    Attributes:
        table: (1, N + 1, 2 dh), or with frequencies of each block and head (L, N + 1, H * 2 dh). The last row is the
            identity.
        places: (1, N, 1), 0 ... N - 1. Absent where all blocks share one table: its rows move instead.
    """

    table: Tensor
    places: Tensor

    def __init__(self, rope: Any, grid: tuple[int, int], prefix_tokens: int) -> None:
        super().__init__()
        with torch.no_grad():
            rows = _rows(rope, grid)  # (1 or L, patches, heads, 2 dh)
        self.feat_shape, self.prefix_tokens, self.heads = grid, prefix_tokens, rows.shape[2]
        sines, _ = rows[:, :1].chunk(2, 3)
        identity = torch.cat([torch.zeros_like(sines), torch.ones_like(sines)], 3)
        parts = [identity.expand(-1, prefix_tokens, -1, -1), rows, identity]
        self.register_buffer("table", torch.cat(parts, 1).flatten(2))
        self.each_block = len(rows) > 1 or self.heads > 1
        if self.each_block:
            self.register_buffer("places", torch.arange(self.table.shape[1] - 1)[None, :, None], persistent=False)

    def positions(self, batch: int) -> tuple[Tensor, Tensor]:
        """What moves with the tokens, (B, N, D), and what a token without a place has, (1, 1, D)."""
        if self.each_block:
            return self.places.expand(batch, -1, -1), self.places[:, -1:] + 1
        return self.table[:, :-1].expand(batch, -1, -1), self.table[:, -1:]

    def rope(self, layer: int, positions: Tensor) -> Tensor:
        """What timm's blocks call rope: (B, 1 or H, N - prefix, 2 dh), from positions (B, N, D)."""
        patches = positions[:, self.prefix_tokens :]
        if not self.each_block:
            return patches.unsqueeze(1)
        rows = F.embedding(patches[:, :, 0], self.table[layer])  # (B, N - prefix, H * 2 dh)
        return self._by_head(rows)

    def get_embed(self, shape: Any = None) -> Tensor:
        """For timm's own forward pass: the rows of all patches."""
        rows = self.table[:, self.prefix_tokens : -1]
        return self._by_head(rows) if self.each_block else rows[0]

    def _by_head(self, rows: Tensor) -> Tensor:
        """(B, n, H * 2 dh) -> (B, H, n, 2 dh)."""
        return rows.reshape(rows.shape[0], -1, self.heads, self.table.shape[2] // self.heads).transpose(1, 2)


def rotated(heads: Heads, rope: Tensor, prefix_tokens: int, half: bool) -> Heads:
    """Heads with queries and keys turned by their positions. Prefix tokens are not turned."""
    q, k = (
        torch.cat([rows[:, :, :prefix_tokens], apply_rot_embed_cat(rows[:, :, prefix_tokens:], rope, half=half)], dim=2)
        for rows in heads[:2]
    )
    return Heads(q, k, heads.v)


def _rows(rope: Any, grid: tuple[int, int]) -> Tensor:
    """timm's table for a grid: (1 or blocks, patches, 1 or heads, 2 dh)."""
    was_training = rope.training
    rows: Tensor = rope.eval().get_embed(shape=list(grid))  # (patches, 2 dh) or (L, H, patches, 2 dh)
    rope.train(was_training)
    return rows[None, :, None] if rows.ndim == 2 else rows.transpose(1, 2)
