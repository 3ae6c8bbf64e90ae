"""timm's Eva: EVA-02, DINOv3, Perception Encoder and others, with rotary positions of every kind that timm has."""

from collections.abc import Callable
from typing import Any

from timm.layers import AttentionRope
from timm.models.eva import Eva, EvaAttention, EvaBlock, EvaBlockPostNorm
from torch import Tensor

from pomt_trt.host.backbones.attention import Heads
from pomt_trt.host.backbones.contract import Backbone
from pomt_trt.host.backbones.rotary import Rotary, rotated
from pomt_trt.host.reducers.common.contract import Tokens


class EvaColumn(Backbone):
    """An Eva. Where it has rotary positions, a row of their table moves with each token."""

    kinds = (Eva,)
    whole_blocks = split_blocks = (EvaBlock, EvaBlockPostNorm)
    attentions = (EvaAttention, AttentionRope)
    post_norm = (EvaBlockPostNorm,)

    @property
    def moves_positions(self) -> bool:
        return self.vit.rope is not None

    def fix(self) -> None:
        super().fix()
        if self.vit.rope is not None and not isinstance(self.vit.rope, Rotary):
            self.vit.rope = Rotary(self.vit.rope, self.vit.patch_embed.grid_size, self.prefix_tokens)

    def embedded(self, images: Tensor) -> Tokens:
        x, _ = self.vit._pos_embed(self.vit.patch_embed(images))
        tokens = Tokens(self.vit.norm_pre(x))
        if self.vit.rope is None:
            return tokens
        positions, nowhere = self.vit.rope.positions(images.shape[0])
        return tokens._replace(positions=positions, nowhere=nowhere)

    def whole(self, layer: int, tokens: Tokens, bias: Tensor | None) -> Tensor:
        block: Any = self.vit.blocks[layer]
        if _groups(block.attn) > 1:  # timm repeats keys in a form that not all targets take
            return self.by_parts(layer, tokens, bias)
        x: Tensor = block(tokens.x, rope=self._rope(layer, tokens), attn_mask=bias)
        return x

    def placed(self, layer: int, tokens: Tokens) -> Callable[[Heads], Heads]:
        attn, rope = self.vit.blocks[layer].attn, self._rope(layer, tokens)

        def placed(heads: Heads) -> Heads:
            if rope is not None:
                heads = rotated(heads, rope, self.prefix_tokens, attn.rotate_half)
            return Heads(heads.q, *(_repeated(rows, _groups(attn)) for rows in heads[1:]))

        return placed

    def _rope(self, layer: int, tokens: Tokens) -> Any:
        return None if tokens.positions is None else self.vit.rope.rope(layer, tokens.positions)


def _groups(attn: Any) -> int:
    """Heads of queries that share a head of keys and values."""
    return int(getattr(attn, "num_kv_groups", 1))


def _repeated(rows: Tensor, times: int) -> Tensor:
    """Rows (B, H / times, N, dh) of keys or values for each head of queries: (B, H, N, dh)."""
    if times == 1:
        return rows
    batch, heads, n, width = rows.shape
    return rows.unsqueeze(2).expand(-1, -1, times, -1, -1).reshape(batch, heads * times, n, width)
