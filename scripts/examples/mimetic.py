"""Initial weights for small vision transformers that see few pictures: sin-cos positions and mimetic attention.

Source: Trockman and Kolter 2023, arXiv:2305.09828.
"""

import math

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

QUERY_KEY = (0.7, 0.7)  # the paper's alpha and beta
VALUE_PROJECTION = (0.4, -0.4)


@torch.no_grad()
def initialise(model: VisionTransformer) -> None:
    """Gives the model 2-D sin-cos positions, and attention whose query-key and value-projection products are mimetic.

    Args: model: with a square grid of patches and a class token; drawn from torch's global generator.
    """
    channels = model.embed_dim
    model.pos_embed.copy_(position_embedding(model.patch_embed.grid_size[0], channels))
    for block in model.blocks:
        attention = block.attn
        query, key, value = attention.qkv.weight.split(channels)  # views, (channels, channels) each
        for head in range(attention.num_heads):
            rows = slice(head * attention.head_dim, (head + 1) * attention.head_dim)
            a, b = factors(*QUERY_KEY, channels, attention.head_dim)
            query[rows], key[rows] = a.T, b
        a, b = factors(*VALUE_PROJECTION, channels, channels)
        value.copy_(a.T)
        attention.proj.weight.copy_(b.T)


def position_embedding(side: int, channels: int) -> Tensor:
    """2-D sin-cos embedding, zero for CLS: (1, 1 + side * side, channels). Source: MoCo v3, arXiv:2104.02057."""
    frequencies = 1e4 ** -torch.linspace(0, 1, channels // 4 + 1)[:-1]
    angles = torch.arange(side)[:, None] * frequencies  # (side, channels / 4)
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows = axis[:, None].expand(side, side, -1)
    patches = torch.cat([rows, rows.transpose(0, 1)], dim=2).flatten(0, 1)  # (side * side, channels)
    return torch.cat([torch.zeros(1, channels), patches])[None]


def factors(alpha: float, beta: float, channels: int, rank: int) -> tuple[Tensor, Tensor]:
    """A (channels, rank), B (rank, channels): A B is nearest to alpha Z + beta I, Z normal of variance 1 / channels."""
    noise = torch.randn(channels, channels) / math.sqrt(channels)
    u, s, vh = torch.linalg.svd(alpha * noise + beta * torch.eye(channels))
    root = s[:rank].sqrt()
    return u[:, :rank] * root, root[:, None] * vh[:rank]
