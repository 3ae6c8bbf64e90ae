"""A timm vision transformer and a reduction method -> the same model with constant token counts in each block.

Runs on the workstation. Owns the block loop and computes of a block's attention only what a method needs; every
block in which nothing is removed is timm's own. Leaves out how tokens are scored: see reducers.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from timm.layers.attention import Attention
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from pomt_trt.core import schedule as schedules
from pomt_trt.core.errors import InputError, UsageError
from pomt_trt.core.records import Schedule
from pomt_trt.host import reducers
from pomt_trt.host.reducers import Need, Reducer, Signals, Site, Tokens


def reduce_tokens(
    model: nn.Module, method: str, *, layer: int | None = None, removed: int | Sequence[int]
) -> "ReducedViT":
    """The model with fewer tokens: same call, same classes; the model itself stays as it is, its parameters are shared.

    Args:
        model: a timm VisionTransformer.
        method: none, random, topk or pomt.
        layer: 0-based block in which pomt (default 3) or random (default: before block 0) acts; not for topk.
        removed: tokens removed, net. topk: in each block, an int for all or a list with one entry a block.
    Raises: UsageError for counts or layers that cannot be; InputError for a model that cannot be reduced.
    """
    reducer, vit = reducers.find(method), _checked(model)
    depth, tokens, prefix = len(vit.blocks), _tokens(vit), vit.num_prefix_tokens
    if not reducer.every_block:
        if not isinstance(removed, int):
            raise UsageError(f"{method} acts in one place, but removed is {removed}. Give one number.")
        schedule = reducers.schedule_for(method, tokens, depth, prefix, removed, layer)
    else:
        each = [removed] * depth if isinstance(removed, int) else list(removed)
        if len(each) != depth:
            raise UsageError(f"removed has {len(each)} entries, the model {depth} blocks. Give one entry a block.")
        schedule = schedules.per_block(tokens, prefix, each)
    return with_schedule(vit, method, schedule, layer=layer)


def with_schedule(
    model: nn.Module, method: str, schedule: Schedule, *, layer: int | None = None, seed: int = 0
) -> "ReducedViT":
    """The model with exactly schedule.tokens[l] tokens entering block l.

    Args:
        model: a timm VisionTransformer; untouched, its parameters are shared.
        schedule: its first count must be the model's own.
        layer: where the schedule acts, if in one block; random without it acts before block 0.
        seed: of random's lot.
    Raises: UsageError if method, schedule and model do not go together; InputError for a model that cannot be reduced.
    """
    vit = _checked(model)
    ours = (_tokens(vit), len(vit.blocks), vit.num_prefix_tokens)
    asked = (schedule.tokens_before, schedule.depth, schedule.prefix_tokens)
    if ours != asked:
        raise UsageError(
            "the schedule has {} tokens, {} blocks and {} prefix tokens, the model {}, {} and {}. "
            "Make a schedule for this model.".format(*asked, *ours)
        )
    if reducers.find(method).needs & Need.ATTN_CLS and not vit.has_class_token:
        raise UsageError(f"{method} ranks by the class token's attention, and the model has none. Use pomt or random.")
    return ReducedViT(vit, method, schedule, layer, seed)


class ReducedViT(nn.Module):
    """A vision transformer with static token counts: image (B, channels, H, W) -> logits (B, classes).

    Attributes:
        vit: the timm model, a copy of its structure around the same parameters; in eval mode.
        steps: one a block, None where the block is timm's own.
        reducers: the acting ones by block; their buffers (`reducers.3.kept_indices`) are the candidate's constants.
    """

    def __init__(
        self, vit: VisionTransformer, method: str, schedule: Schedule, layer: int | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        self.vit = _sharing_copy(vit)
        self.schedule = schedule
        self.steps = reducers.plan(method, schedule, layer)
        self.reducers = reducers.made(method, self.steps, seed)
        for step in self.steps:
            if step is not None and step.site is Site.MID:
                _check_block(self.vit.blocks[step.layer], step.layer)
        self.eval()

    def constants(self) -> dict[str, Tensor]:
        """The tensors in which candidates of one method differ, by their name in the state dict (and in the graph)."""
        return {f"reducers.{name}": value for name, value in self.reducers.named_buffers()}

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, classes) of normalised images (B, channels, H, W)."""
        return self.finish(self.run(self.embed(image), 0, len(self.steps)))

    def forward_with_margin(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the smallest relative score margin at any cut (B,); +inf where nothing was ranked."""
        tokens = self.run(self.embed(image), 0, len(self.steps))
        none_ranked = torch.full(image.shape[:1], torch.inf, device=image.device)
        return self.finish(tokens), none_ranked if tokens.margin is None else tokens.margin

    def embed(self, image: Tensor) -> Tokens:
        """The sequence entering block 0."""
        x = self.vit._pos_embed(self.vit.patch_embed(image))  # (B, N, C)
        tokens = Tokens(self.vit.norm_pre(self.vit.patch_drop(x)))
        first = self.steps[0]
        if first is not None and first.site is Site.INPUT:
            return self._reducer(0).reduce(tokens, Signals())
        return tokens

    def run(self, tokens: Tokens, start: int, stop: int) -> Tokens:
        """Blocks start, ..., stop - 1."""
        for layer in range(start, stop):
            block, step = self.vit.blocks[layer], self.steps[layer]
            if step is not None and step.site is Site.MID:
                tokens = _reduced_block(block, self._reducer(layer), tokens)
            else:
                tokens = tokens._replace(x=block(tokens.x))
        return tokens

    def finish(self, tokens: Tokens) -> Tensor:
        """Logits (B, classes) of the sequence that leaves the last block."""
        logits: Tensor = self.vit.forward_head(self.vit.norm(tokens.x))
        return logits

    def _reducer(self, layer: int) -> Reducer:
        reducer = self.reducers[str(layer)]
        assert isinstance(reducer, Reducer)
        return reducer


def _reduced_block(block: Any, reducer: Reducer, tokens: Tokens) -> Tokens:
    """timm's Block.forward (see _check_block), with the reduction between its attention and its MLP."""
    attended, signals = _attend(block.attn, block.norm1(tokens.x), reducer)
    tokens = tokens._replace(x=tokens.x + block.drop_path1(block.ls1(attended)))  # (B, N, C)
    tokens = reducer.reduce(tokens, signals)
    x = tokens.x
    return tokens._replace(x=x + block.drop_path2(block.ls2(block.mlp(block.norm2(x)))))  # (B, N_out, C)


def _attend(attn: Attention, x: Tensor, reducer: Reducer) -> tuple[Tensor, Signals]:
    """timm's Attention.forward on x (B, N, C), and the signals the reducer needs."""
    needs, n, prefix = reducer.needs, reducer.step.tokens_in, reducer.step.prefix_tokens
    qkv = attn.qkv(x).reshape(x.shape[0], n, 3, attn.num_heads, attn.head_dim)
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, N, dh) each
    q, k = attn.q_norm(q), attn.k_norm(k)
    a = row = None
    if Need.ATTN_FULL in needs or not attn.fused_attn:
        a = ((q * attn.scale) @ k.transpose(-2, -1)).softmax(-1)  # (B, H, N, N)
        y = attn.attn_drop(a) @ v
    else:
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=attn.attn_drop.p if attn.training else 0.0)
    if Need.ATTN_CLS in needs:  # beside the matrix even where that exists, so that an engine can still fuse it
        row = ((q[:, :, :1] * attn.scale) @ k.transpose(-2, -1)).softmax(-1).mean(1)[:, 0, prefix:]  # (B, N - prefix)
    y = attn.norm(y.transpose(1, 2).reshape(x.shape[0], n, attn.attn_dim))  # (B, N, H dh)
    if attn.gate is not None:
        y = y * attn.gate(x).sigmoid()
    return attn.proj_drop(attn.proj(y)), Signals(values=v, attn=a, attn_cls=row)


def _sharing_copy(vit: VisionTransformer) -> VisionTransformer:
    """A copy of the modules around the same parameters and buffers, so that modes and flags set here do not leak."""
    shared = {id(tensor): tensor for tensor in (*vit.parameters(), *vit.buffers())}
    return copy.deepcopy(vit, shared)


def _tokens(vit: VisionTransformer) -> int:
    """Tokens entering block 0, prefix included."""
    return int(vit.patch_embed.num_patches) + int(vit.num_prefix_tokens)


def _checked(model: nn.Module) -> VisionTransformer:
    """The model, if its forward pass is the one that ReducedViT spells out. Raises InputError otherwise."""
    known = ("forward", "forward_features")
    if isinstance(model, VisionTransformer) and all(_same(model, VisionTransformer, name) for name in known):
        return model
    raise InputError(
        f"{type(model).__name__} is not a plain timm VisionTransformer, whose blocks are run one by one here. "
        "Use a vit, deit, deit3, dinov2 or similar model."
    )


def _check_block(block: nn.Module, layer: int) -> None:
    """Raises InputError unless block and attention are timm's standard ones, which _reduced_block spells out."""
    for module, standard in ((block, Block), (getattr(block, "attn", None), Attention)):
        if not isinstance(module, standard) or not _same(module, standard, "forward"):
            raise InputError(
                f"block {layer} is built of {type(module).__name__}, and tokens can be removed only in timm's "
                f"{standard.__name__}. Choose another model or, where this block is the exception, another layer."
            )


def _same(module: nn.Module, standard: type, name: str) -> bool:
    return getattr(type(module), name) is getattr(standard, name)
