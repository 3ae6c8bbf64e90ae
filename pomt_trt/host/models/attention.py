"""The parts of timm's vision transformer, one by one, so that a method can read a block's attention."""

from typing import Any

from timm.layers.attention import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from pomt_trt.core.errors import InputError
from pomt_trt.host.reducers.common.contract import Need, Signals


def attend(attn: Any, x: Tensor, needs: Need, prefix_tokens: int, bias: Tensor | None = None) -> tuple[Tensor, Signals]:
    """timm's Attention.forward on x (B, N, C), and the signals that are needed.

    Args:
        attn: an Attention that `check_block` accepts.
        bias: added to the logits of each key, (B, 1, 1, N).
    """
    q, k, v = queries_keys_values(attn, x)
    a = row = None
    if Need.ATTN_FULL in needs or not attn.fused_attn:
        a = _weights(attn, q, k, bias)  # (B, H, N, N)
        y = attn.attn_drop(a) @ v
    else:
        dropout = attn.attn_drop.p if attn.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
    if Need.ATTN_CLS in needs:  # apart even where the matrix exists, so that an engine can fuse attention
        row = _weights(attn, q[:, :, :1], k, bias).mean(1)[:, 0, prefix_tokens:]  # (B, N - prefix)
    keys = k.mean(1) if Need.KEYS in needs else None  # (B, N, dh)
    return projected(attn, y, x), Signals(keys=keys, values=v, attn=a, attn_cls=row)


def queries_keys_values(attn: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (not scaled), keys and values of x (B, N, C): (B, H, N, dh) each."""
    batch, n, _ = x.shape
    qkv = attn.qkv(x).reshape(batch, n, 3, attn.num_heads, attn.head_dim)
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, N, dh) each
    return attn.q_norm(q), attn.k_norm(k), v


def projected(attn: Any, y: Tensor, x: Tensor) -> Tensor:
    """The attention's output (B, N, C) on x (B, N, C), from its weighted values `y` (B, H, N, dh)."""
    batch, n, _ = x.shape
    y = attn.norm(y.transpose(1, 2).reshape(batch, n, attn.attn_dim))  # (B, N, H dh)
    if attn.gate is not None:
        y = y * attn.gate(x).sigmoid()
    given: Tensor = attn.proj_drop(attn.proj(y))
    return given


def _weights(attn: Any, q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(dh) + bias): (B, H, queries, N)."""
    logits = (q * attn.scale) @ k.transpose(-2, -1)
    weights: Tensor = (logits if bias is None else logits + bias).softmax(-1)
    return weights


def check_block(block: nn.Module, layer: int) -> None:
    """Raises InputError unless block and attention are of timm's standard classes."""
    for module, standard in ((block, Block), (getattr(block, "attn", None), Attention)):
        if not isinstance(module, standard) or type(module).forward is not standard.forward:
            raise InputError(
                f"block {layer} is built of {type(module).__name__}, and tokens can be removed only in timm's "
                f"{standard.__name__}. Choose another model or, where this block is the exception, another layer."
            )


def embedded(vit: Any, images: Tensor) -> Tensor:
    """The sequence that enters block 0: (B, N, C), from normalised images (B, channels, H, W)."""
    x: Tensor = vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(images))))
    return x


def fed_forward(block: Any, x: Tensor) -> Tensor:
    """x (B, N, C) plus what the block's MLP adds to it."""
    added: Tensor = block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
    return x + added
