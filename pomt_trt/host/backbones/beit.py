"""timm's Beit: BEiT and BEiT v2, with a relative position bias of each block or of all."""

from collections.abc import Sequence

import torch
from timm.models.beit import Attention, Beit, Block
from torch import Tensor

from pomt_trt.host.backbones.relative import RelativeColumn
from pomt_trt.host.reducers.common.contract import Tokens


class BeitColumn(RelativeColumn):
    """A Beit."""

    kinds = (Beit,)
    whole_blocks = split_blocks = (Block,)
    attentions = (Attention,)

    def embedded(self, images: Tensor) -> Tokens:
        patches = self.vit.patch_embed(images)
        x = torch.cat([self.vit.cls_token.expand(len(patches), -1, -1), patches], 1)
        return self.with_places(self.vit.pos_drop(x if self.vit.pos_embed is None else x + self.vit.pos_embed))

    def _tables(self) -> tuple[Sequence[Tensor], Tensor] | None:
        own = [block.attn for block in self.vit.blocks if block.attn.relative_position_bias_table is not None]
        shared = self.vit.rel_pos_bias
        tables = [part.relative_position_bias_table for part in own]
        if shared is not None:
            both = [table + shared.relative_position_bias_table for table in tables]
            return both or [shared.relative_position_bias_table], shared.relative_position_index
        return (tables, own[0].relative_position_index) if own else None
