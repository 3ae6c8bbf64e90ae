"""The contract between a timm model and the block loop (host/models/token_reduction).

An adapter says which models of its classes are accepted, and computes them block by block on any number of tokens. What
all columns of tokens share is here. An adapter holds what differs.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar

from timm.layers import AttentionPoolLatent, DiffAttention, HybridEmbed, PatchEmbed
from timm.layers.format import Format
from torch import Tensor, nn

from pomt_trt.core.errors import InputError
from pomt_trt.host.backbones.attention import Heads, attend
from pomt_trt.host.backbones.pooling import ClassAndMean
from pomt_trt.host.reducers.common.contract import Need, Reducer, Signals, Site, Tokens
from pomt_trt.host.reducers.common.ranking import join

Classes = tuple[type[nn.Module], ...]
POOLS = ("token", "avg", "avgmax", "max", "")  # "": no pooling; the head reads every token, for segmentation


class Backbone:
    """A column of blocks on a sequence of tokens, prefix tokens first.

    Class attributes: `kinds`, the classes of models; `whole_blocks`, the classes of blocks that run on fewer tokens;
    `split_blocks`, those of them that also have a place within them for a method; `attentions`, of the latter;
    `post_norm`, those that normalise what a branch adds instead of what it reads.
    """

    kinds: ClassVar[Classes] = ()
    whole_blocks: ClassVar[Classes] = ()
    split_blocks: ClassVar[Classes] = ()
    attentions: ClassVar[Classes] = ()
    post_norm: ClassVar[Classes] = ()

    def __init__(self, vit: Any) -> None:
        self.vit = vit

    # Facts

    @property
    def tokens(self) -> int:
        """Tokens that enter block 0, prefix included."""
        return math.prod(self.grid) + self.prefix_tokens

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        rows, columns = self.vit.patch_embed.grid_size
        return int(rows), int(columns)

    @property
    def image_px(self) -> tuple[int, int]:
        """Height and width of an image in pixels."""
        height, width = self.vit.patch_embed.img_size
        return int(height), int(width)

    @property
    def prefix_tokens(self) -> int:
        """Class, distillation and register tokens."""
        return int(self.vit.num_prefix_tokens)

    @property
    def has_class_token(self) -> bool:
        return self.vit.cls_token is not None

    @property
    def heads(self) -> int:
        """Heads of attention in a block."""
        return next(int(part.num_heads) for part in self.vit.blocks[0].modules() if hasattr(part, "num_heads"))

    @property
    def patch_px(self) -> int:
        """Least side of an image in pixels; sides must be its multiples."""
        ratio = self.vit.patch_embed.feat_ratio(as_scalar=False)
        return math.lcm(*ratio)

    @property
    def is_dense(self) -> bool:
        """Whether the head gives logits for every patch instead of the image."""
        return self.vit.global_pool == "" and self._attn_pool is None

    @property
    def moves_positions(self) -> bool:
        """Whether blocks read the tokens' positions, so that these have to move with the tokens."""
        return False

    @property
    def _attn_pool(self) -> nn.Module | None:
        pool: nn.Module | None = getattr(self.vit, "attn_pool", None)
        return pool

    # Refusals

    def refusal(self) -> str | None:
        """The first reason against the model, or None. Only what is known to work is accepted."""
        stem, pool = self._stem_refusal(), self._attn_pool
        if stem:
            return stem
        if not isinstance(getattr(self.vit, "patch_drop", None), (nn.Identity, type(None))):
            return "it drops patches on its own (patch_drop_rate)"
        if any(isinstance(part, DiffAttention) for part in self.vit.modules()):
            return "its differential attention (DiffAttention) has the operator Exp, which no target is known to take"
        blocks = {type(block).__name__ for block in self.vit.blocks if type(block) not in self.whole_blocks}
        if blocks:
            return f"its blocks are {', '.join(sorted(blocks))}, which are not known"
        if isinstance(pool, AttentionPoolLatent) and pool.pos_embed is None or isinstance(pool, ClassAndMean):
            return None
        if pool is not None:
            return f"it pools by attention over positions ({type(pool).__name__})"
        if self.vit.global_pool not in POOLS:
            return f"its pooling is '{self.vit.global_pool}', so that it gives no logits"
        return None

    def _stem_refusal(self) -> str | None:
        """The reason against what turns an image into patches, or None."""
        embed = self.vit.patch_embed
        if type(embed) is HybridEmbed:
            return "its stem is a network of convolutions (HybridEmbed), whose operators no target is known to take"
        if type(embed) is not PatchEmbed:
            return f"its patches come from a {type(embed).__name__}, not from a plain PatchEmbed"
        if embed.dynamic_img_pad and any(side % self.patch_px for side in embed.img_size):
            return f"its images of {embed.img_size} pixels are not whole patches of {self.patch_px}"
        return None

    def lacks(self, method: type[Reducer], layer: int | None = None) -> str | None:
        """Why the model cannot have a method, or None."""
        if method.needs & Need.ATTN_CLS and not self.has_class_token:
            return "it ranks by the class token's attention, and the model has none"
        if self.is_dense and method.lost_for_patches is not None:
            return f"the head labels every patch, and {method.lost_for_patches}"
        if method.site(layer) is not Site.MID or not method.most_removable(100):
            return None
        return next((why for why in map(self.undivided, range(len(self.vit.blocks))) if why), None)

    def undivided(self, layer: int) -> str | None:
        """Why no tokens can be removed within a block, or None."""
        block = self.vit.blocks[layer]
        attention = getattr(block, "attn", None)
        for part, known in ((block, self.split_blocks), (attention, self.attentions)):
            if type(part) not in known:
                names = " or ".join(one.__name__ for one in known) or "none"
                return (
                    f"block {layer} is built of {type(part).__name__}, and tokens can be removed only in timm's {names}"
                )
        return None

    def check_divided(self, layer: int) -> None:
        """Raises InputError where no tokens can be removed within a block."""
        why = self.undivided(layer)
        if why:
            raise InputError(f"{why}. Choose another model or, where this block is the exception, another layer.")

    # Computing

    def resize(self, height_px: int, width_px: int) -> None:
        """Gives the model another image size, in place."""
        self.vit.set_input_size(img_size=(height_px, width_px))

    def fix(self) -> None:
        """Makes image size and positions of the model constants, in place."""
        self._fix_stem()

    def _fix_stem(self) -> None:
        """timm's stem on images of one size."""
        if getattr(self.vit, "dynamic_img_size", False):
            self.vit.dynamic_img_size = False
            embed = self.vit.patch_embed
            embed.flatten, embed.output_fmt = True, Format.NCHW
        self.vit.patch_embed.dynamic_img_pad = False
        self.vit.patch_embed.strict_img_size = True

    def embedded(self, images: Tensor) -> Tokens:
        """The sequence that enters block 0, from normalised images (B, channels, H, W)."""
        raise NotImplementedError

    def whole(self, layer: int, tokens: Tokens, bias: Tensor | None) -> Tensor:
        """x (B, N, C) after a block. `bias`: added to the logits of each key, (B, 1, 1, N)."""
        raise NotImplementedError

    def by_parts(self, layer: int, tokens: Tokens, bias: Tensor | None) -> Tensor:
        """As `whole`, for blocks that timm's own forward pass does not run on fewer tokens."""
        change, _ = self.attended(layer, tokens, Need.NONE, bias)
        return self.fed_forward(layer, tokens.x + change)

    def attended(self, layer: int, tokens: Tokens, needs: Need, bias: Tensor | None) -> tuple[Tensor, Signals]:
        """What a block's attention adds to each token (B, N, C), and the signals that are needed."""
        block: Any = self.vit.blocks[layer]
        post = type(block) in self.post_norm
        x = tokens.x if post else block.norm1(tokens.x)
        y, signals = attend(
            block.attn, x, needs, self.prefix_tokens, self.bias(layer, tokens, bias), self.placed(layer, tokens)
        )
        y = block.norm1(y) if post else self.scaled(block, 1, y)
        return block.drop_path1(y), signals

    def fed_forward(self, layer: int, x: Tensor) -> Tensor:
        """x (B, N, C) plus what the block's MLP adds to it."""
        block: Any = self.vit.blocks[layer]
        if type(block) in self.post_norm:
            added = block.norm2(block.mlp(x))
        else:
            added = self.scaled(block, 2, block.mlp(block.norm2(x)))
        result: Tensor = x + block.drop_path2(added)
        return result

    def scaled(self, block: Any, branch: int, y: Tensor) -> Tensor:
        """What a branch adds, times the block's LayerScale. Branch 1 is attention, 2 the MLP."""
        scale = getattr(block, f"ls{branch}", None)  # a module in some classes, a parameter in others
        if scale is not None:
            scaled: Tensor = scale(y)
            return scaled
        gamma = getattr(block, f"gamma_{branch}")
        return y if gamma is None else gamma * y

    def bias(self, layer: int, tokens: Tokens, bias: Tensor | None) -> Tensor | None:
        """What attention adds to its logits, from the bias of sizes (B, 1, 1, N)."""
        return bias

    def placed(self, layer: int, tokens: Tokens) -> Callable[[Heads], Heads] | None:
        """How a block turns its heads by the tokens' positions; None: it does not."""
        return None

    # Head

    def logits(self, x: Tensor, tokens: Tokens, weighted: bool) -> Tensor:
        """Outputs of normed tokens x (B, N, C). `weighted`: merged tokens count by their size in the pooling."""
        if tokens.size is not None and weighted and self._averages:
            first = self._averaged_from
            size = tokens.size[:, first:]
            x = join(x[:, :first], x[:, first:] * (size / size.mean(1, keepdim=True)))
        if isinstance(self._attn_pool, AttentionPoolLatent):
            return self._pooled_by_attention(x, tokens.key_bias() if weighted else None)
        outputs: Tensor = self.vit.forward_head(x)
        return outputs

    @property
    def _averages(self) -> bool:
        """Whether the head averages tokens. False for avgmax, where sizes cannot weigh the maximum."""
        pool = self._attn_pool
        return isinstance(pool, ClassAndMean) or (pool is None and self.vit.global_pool == "avg")

    @property
    def _averaged_from(self) -> int:
        """The first token that the average reads."""
        everything = getattr(self.vit, "pool_include_prefix", False) and self._attn_pool is None
        return 0 if everything else self.prefix_tokens

    def _pooled_by_attention(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Outputs by a learned query. A merged token weighs as much as its parts, as in the blocks."""
        first = 0 if getattr(self.vit, "pool_include_prefix", True) else self.prefix_tokens
        attn_pool: Any = self._attn_pool
        pooled = attn_pool(x[:, first:], attn_mask=None if bias is None else bias[..., first:])
        outputs: Tensor = self.vit.head(self.vit.head_drop(self.vit.fc_norm(pooled)))
        return outputs
