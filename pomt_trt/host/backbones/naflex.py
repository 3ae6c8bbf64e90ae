"""timm's NaFlexVit, which takes images of any shape, on one fixed grid of patches."""

import math

import torch
from timm.layers import Attention, AttentionRope
from timm.models.eva import EvaAttention, EvaBlock
from timm.models.naflexvit import NaFlexVit, batch_patchify
from timm.models.vision_transformer import Block, ParallelThingsBlock
from torch import Tensor

from pomt_trt.host.backbones.eva import EvaColumn
from pomt_trt.host.reducers.common.contract import Tokens


class NaFlexColumn(EvaColumn):
    """A NaFlexVit. Its grid is that of its position embedding, until it gets another size."""

    kinds = (NaFlexVit,)
    split_blocks = (Block, EvaBlock)
    whole_blocks = (*split_blocks, ParallelThingsBlock)
    attentions = (Attention, EvaAttention, AttentionRope)
    post_norm = ()

    @property
    def grid(self) -> tuple[int, int]:
        rows, columns = getattr(self.vit, "fixed_grid", None) or self.vit.embeds.pos_embed_grid_size
        return int(rows), int(columns)

    @property
    def image_px(self) -> tuple[int, int]:
        (rows, columns), (height, width) = self.grid, self.vit.embeds.patch_size
        return rows * height, columns * width

    @property
    def patch_px(self) -> int:
        return math.lcm(*self.vit.embeds.patch_size)

    @property
    def has_class_token(self) -> bool:
        return bool(self.vit.has_class_token)

    def resize(self, height_px: int, width_px: int) -> None:
        height, width = self.vit.embeds.patch_size
        self.vit.fixed_grid = (height_px // height, width_px // width)

    def embedded(self, images: Tensor) -> Tokens:
        embeds = self.vit.embeds
        if embeds.is_linear:
            patches, _ = batch_patchify(images, embeds.patch_size, pad=False, channels_last=embeds.channels_last)
            x = embeds.proj(patches if embeds.norm_input is None else embeds.norm_input(patches))
        else:
            x = embeds.proj(images).flatten(2).transpose(1, 2)
        x = embeds.norm(x)
        if self.vit.positions is not None:
            x = x + self.vit.positions
        prefix = [part.expand(len(x), -1, -1) for part in (embeds.cls_token, embeds.reg_token) if part is not None]
        return self.with_rope(self.vit.norm_pre(embeds.pos_drop(torch.cat([*prefix, x], 1))))

    def _stem_refusal(self) -> str | None:
        return "its position embedding has no grid" if self.vit.embeds.pos_embed_grid_size is None else None

    @torch.no_grad()
    def _fix_stem(self) -> None:
        """timm resamples positions in each forward pass; here once."""
        if hasattr(self.vit, "positions"):
            return
        embeds, (rows, columns) = self.vit.embeds, self.grid
        positions = embeds.proj.weight.new_zeros(1, rows * columns, self.vit.embed_dim)
        if embeds.pos_embed_type == "learned":
            embeds._apply_learned_pos_embed(positions, [rows, columns])
        elif embeds.pos_embed_type == "factorized":
            embeds._apply_factorized_pos_embed(positions, [rows, columns])
        none = embeds.pos_embed_type == "none"
        self.vit.register_buffer("positions", None if none else positions)
        embeds.pos_embed = embeds.pos_embed_y = embeds.pos_embed_x = None
