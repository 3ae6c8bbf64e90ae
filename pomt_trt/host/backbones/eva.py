"""timm's Eva: EVA-02, DINOv3, Perception Encoder and others, with rotary positions of every kind that timm has."""

from collections.abc import Callable
from typing import Any, ClassVar

from timm.layers import AttentionRope
from timm.models.eva import Eva, EvaAttention, EvaBlock, EvaBlockPostNorm
from torch import Tensor

from pomt_trt.host.backbones.attention import Heads
from pomt_trt.host.backbones.contract import Backbone, Classes
from pomt_trt.host.backbones.rotary import Rotary, rotated
from pomt_trt.host.reducers.common.contract import Tokens


class EvaColumn(Backbone):
    """An Eva. Where it has rotary positions, a row of their table moves with each token."""

    kinds: ClassVar[Classes] = (Eva,)
    split_blocks: ClassVar[Classes] = (EvaBlock, EvaBlockPostNorm)
    whole_blocks: ClassVar[Classes] = split_blocks
    attentions: ClassVar[Classes] = (EvaAttention, AttentionRope)
    post_norm: ClassVar[Classes] = (EvaBlockPostNorm,)

    @property
    def moves_positions(self) -> bool:
        return self.vit.rope is not None

    def fix(self) -> None:
        super().fix()
        if self.vit.rope is not None and not isinstance(self.vit.rope, Rotary):
            self.vit.rope = Rotary(self.vit.rope, self.grid, self.prefix_tokens)

    def embedded(self, images: Tensor) -> Tokens:
        x, _ = self.vit._pos_embed(self.vit.patch_embed(images))
        return self.with_rope(self.vit.norm_pre(x))

    def with_rope(self, x: Tensor) -> Tokens:
        """Tokens of a sequence x (B, N, C) that enters block 0."""
        if self.vit.rope is None:
            return Tokens(x)
        positions, nowhere = self.vit.rope.positions(len(x))
        return Tokens(x, positions=positions, nowhere=nowhere)

    def whole(self, layer: int, tokens: Tokens, bias: Tensor | None) -> Tensor:
        block: Any = self.vit.blocks[layer]
        if _groups(getattr(block, "attn", None)) > 1:  # timm repeats keys in a form that not all targets take
            return self.by_parts(layer, tokens, bias)
        rope = self._rope(layer, tokens)
        x: Tensor = block(tokens.x, attn_mask=bias) if rope is None else block(tokens.x, rope=rope, attn_mask=bias)
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
