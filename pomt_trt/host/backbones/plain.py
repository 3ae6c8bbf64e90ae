"""timm's VisionTransformer: ViT, DeiT, DINOv2, CLIP, SigLIP, AIMv2, hybrids. Positions are added before the blocks."""

from typing import Any

from timm.layers import Attention
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import (
    Block,
    ParallelThingsBlock,
    ResPostBlock,
    VisionTransformer,
)
from torch import Tensor

from pomt_trt.host.backbones.contract import Backbone
from pomt_trt.host.reducers.common.contract import Tokens


class Plain(Backbone):
    """A VisionTransformer, with or without a distillation token."""

    kinds = (VisionTransformer, VisionTransformerDistilled)
    split_blocks = (Block, ResPostBlock)
    whole_blocks = (*split_blocks, ParallelThingsBlock)
    attentions = (Attention,)
    post_norm = (ResPostBlock,)

    def embedded(self, images: Tensor) -> Tokens:
        return Tokens(embedded(self.vit, images))

    def whole(self, layer: int, tokens: Tokens, bias: Tensor | None) -> Tensor:
        block: Any = self.vit.blocks[layer]
        x: Tensor = block(tokens.x) if bias is None else block(tokens.x, attn_mask=bias)
        return x


def embedded(vit: Any, images: Tensor) -> Tensor:
    """The sequence that enters block 0: (B, N, C), from normalised images (B, channels, H, W)."""
    x: Tensor = vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(images))))
    return x


def fed_forward(block: Any, x: Tensor) -> Tensor:
    """x (B, N, C) plus what the MLP of timm's Block adds to it."""
    added: Tensor = block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
    return x + added
