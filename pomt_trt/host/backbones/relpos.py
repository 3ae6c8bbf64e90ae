"""timm's VisionTransformerRelPos: a relative position bias from a table, or from a small MLP on distances."""

from collections.abc import Sequence
from typing import Any

import torch
from timm.layers import RelPosBias, RelPosMlp
from timm.models.vision_transformer_relpos import (
    RelPosAttention,
    RelPosBlock,
    ResPostRelPosBlock,
    VisionTransformerRelPos,
)
from torch import Tensor
from torch.nn import functional as F

from pomt_trt.host.backbones.relative import RelativeColumn
from pomt_trt.host.reducers.common.contract import Tokens


class RelPosColumn(RelativeColumn):
    """A VisionTransformerRelPos."""

    kinds = (VisionTransformerRelPos,)
    whole_blocks = split_blocks = (RelPosBlock, ResPostRelPosBlock)
    attentions = (RelPosAttention,)
    post_norm = (ResPostRelPosBlock,)

    def refusal(self) -> str | None:
        other = {type(part).__name__ for part in self._parts() if type(part) not in (RelPosBias, RelPosMlp)}
        if other:
            return f"its positions are {', '.join(sorted(other))}, which are not known"
        return super().refusal()

    def embedded(self, images: Tensor) -> Tokens:
        x = self.vit.patch_embed(images)
        if self.vit.cls_token is not None:
            x = torch.cat([self.vit.cls_token.expand(len(x), -1, -1), x], 1)
        return self.with_places(x)

    def _parts(self) -> list[Any]:
        """timm's modules that compute the bias: one for all blocks, or one a block."""
        if self.vit.shared_rel_pos is not None:
            return [self.vit.shared_rel_pos]
        return [block.attn.rel_pos for block in self.vit.blocks if block.attn.rel_pos is not None]

    def _tables(self) -> tuple[Sequence[Tensor], Tensor] | None:
        parts = self._parts()
        if not parts:
            return None
        index = parts[0].relative_position_index
        side = round(index.numel() ** 0.5)
        pairs = index.reshape(side, side)
        missing = self.tokens - side  # a prefix that has no bias
        return [_table(part) for part in parts], F.pad(pairs, (missing, 0, missing, 0), value=-1)


def _table(part: Any) -> Tensor:
    """The numbers (R, H) that a module of timm looks up."""
    if isinstance(part, RelPosBias):
        table: Tensor = part.relative_position_bias_table
        return table
    mlp, coords = part.mlp, part.rel_coords_log
    numbers: Tensor = part.bias_act(mlp.fc2(mlp.act(mlp.fc1(coords))).reshape(-1, part.num_heads))  # no dropout
    return numbers if part.bias_gain is None else part.bias_gain * numbers
