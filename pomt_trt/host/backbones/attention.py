"""Self-attention part by part, so that a method can read it: heads, weighted values, projection.

It computes what timm's Attention, AttentionRope, EvaAttention and BEiT's Attention compute.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pomt_trt.host.reducers.common.contract import Need, Signals


class Heads(NamedTuple):
    """Queries (not scaled), keys and values, (B, H, N, dh) each."""

    q: Tensor
    k: Tensor
    v: Tensor


def heads_of(attn: Any, x: Tensor) -> Heads:
    """The heads of x (B, N, C), without positions. Keys and values may have fewer heads (grouped queries)."""
    batch, n, _ = x.shape
    if attn.qkv is None:
        projections = (attn.q_proj, attn.k_proj, attn.v_proj)
        q, k, v = (project(x).reshape(batch, n, -1, attn.head_dim).transpose(1, 2) for project in projections)
    else:
        qkv = _projected_together(attn, x).reshape(batch, n, 3, attn.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, N, dh) each
    return Heads(_normed(attn, "q_norm", q), _normed(attn, "k_norm", k), v)


def _projected_together(attn: Any, x: Tensor) -> Tensor:
    """Queries, keys and values side by side: (B, N, 3 H dh)."""
    if getattr(attn, "q_bias", None) is None:
        qkv: Tensor = attn.qkv(x)
        return qkv
    return F.linear(x, attn.qkv.weight, torch.cat([attn.q_bias, attn.k_bias, attn.v_bias]))


def _normed(attn: Any, name: str, rows: Tensor) -> Tensor:
    norm = getattr(attn, name, None)
    return rows if norm is None else norm(rows)


def attend(
    attn: Any,
    x: Tensor,
    needs: Need,
    prefix_tokens: int,
    bias: Tensor | None = None,
    placed: Callable[[Heads], Heads] | None = None,
) -> tuple[Tensor, Signals]:
    """The attention's output (B, N, C) on x (B, N, C), and the signals that are needed.

    Args:
        bias: added to the logits, (B, 1, 1, N) or (B, H, N, N).
        placed: turns heads by their positions. The keys of the signals are those before it: what tokens are, and not
            where they are.
    """
    heads = heads_of(attn, x)
    keys = heads.k.mean(1) if Need.KEYS in needs else None  # (B, N, dh)
    q, k, v = heads if placed is None else placed(heads)
    a = row = None
    if Need.ATTN_FULL in needs or not attn.fused_attn:
        a = _weights(attn, q, k, bias)  # (B, H, N, N)
        y = attn.attn_drop(a) @ v
    else:
        dropout = attn.attn_drop.p if attn.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
    if Need.ATTN_CLS in needs:  # apart even where the matrix exists, so that an engine can fuse attention
        of_class_token = bias if bias is None or bias.shape[2] == 1 else bias[:, :, :1]
        row = _weights(attn, q[:, :, :1], k, of_class_token).mean(1)[:, 0, prefix_tokens:]  # (B, N - prefix)
    return projected(attn, y, x), Signals(keys=keys, values=v, attn=a, attn_cls=row)


def projected(attn: Any, y: Tensor, x: Tensor) -> Tensor:
    """The attention's output (B, N, C) on x (B, N, C), from its weighted values `y` (B, H, N, dh)."""
    batch, n, _ = x.shape
    y = y.transpose(1, 2).reshape(batch, n, getattr(attn, "attn_dim", -1))  # (B, N, H dh)
    y = _normed(attn, "norm", y)
    if getattr(attn, "gate", None) is not None:
        y = y * attn.gate(x).sigmoid()
    given: Tensor = attn.proj_drop(attn.proj(y))
    return given


def _weights(attn: Any, q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(dh) + bias): (B, H, queries, N)."""
    logits = (q * attn.scale) @ k.transpose(-2, -1)
    weights: Tensor = (logits if bias is None else logits + bias).softmax(-1)
    return weights
