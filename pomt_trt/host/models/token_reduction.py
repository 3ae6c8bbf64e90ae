"""A vision transformer of timm with constant token counts in each block.

A block that removes tokens runs step by step, since the method reads its attention. Every other block is timm's. How
models differ: host/backbones. How tokens are scored: host/reducers.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pomt_trt.core.errors import UsageError
from pomt_trt.core.records import Schedule
from pomt_trt.host import backbones, reducers
from pomt_trt.host.reducers.common.contract import Need, Shape, Signals, Site, Tokens, UserCounts
from pomt_trt.host.reducers.common.learned import Learned, Scorers, checked_scorers


def reduce_tokens(
    model: nn.Module,
    method: str,
    *,
    layer: int | None = None,
    removed: int | Sequence[float] | None = None,
    merged: Sequence[int] | None = None,
    pruned: Sequence[int] | None = None,
    scorers: Tensor | None = None,
    llf: bool = True,
    proportional_attention: bool = True,
    weighted_pooling: bool = True,
) -> "ReducedViT":
    """The model with fewer tokens: same call, same classes. The model itself does not change; parameters are shared.

    Args:
        model: of timm, as `pomt-trt models` lists them.
        method: none, random, topk, pomt, pomt-shift, tome, ltmp or cropr.
        layer: 0-based block in which pomt or pomt-shift (default 3) or random (default: before block 0) acts.
        removed: tokens removed, net. topk, tome, cropr: in each block, an int for all or a list with one entry a block.
            tome also takes a tuple (r, inflect), and merges half of a block's patches at most, which is logged.
        merged, pruned: for ltmp, one entry a block each.
        scorers: cropr's vectors (modules, C), one for each block but the last two (the last without llf).
        llf: last layer fusion: what cropr removed comes back before the last block.
        proportional_attention: weigh merged tokens in attention by their size. Off for models that were trained by
            masking (MAE).
        weighted_pooling: weigh merged tokens by their size where the head averages tokens.
    Raises: UsageError for impossible counts or layers; InputError for a model that cannot be reduced.
    """
    reducer, backbone, learned = reducers.find(method), backbones.of(model), None
    depth = len(backbone.vit.blocks)
    if scorers is not None:
        learned = checked_scorers(Scorers(scorers.float(), llf), depth, backbone.vit.embed_dim, "scorers=...")
    counts = UserCounts(removed, merged, pruned)
    schedule = reducer.schedule_from(counts, Shape(backbone.tokens, depth, backbone.prefix_tokens), layer, learned)
    reduced = with_schedule(model, method, schedule, layer=layer, learned=learned)
    reduced.proportional_attention, reduced.weighted_pooling = proportional_attention, weighted_pooling
    return reduced


def with_schedule(
    model: nn.Module,
    method: str,
    schedule: Schedule,
    *,
    layer: int | None = None,
    seed: int = 0,
    learned: Learned | None = None,
) -> "ReducedViT":
    """The model with exactly schedule.tokens[l] tokens entering block l.

    Args:
        model: of timm; untouched, its parameters are shared.
        schedule: its first count must be the model's own.
        layer: the block where it acts, if in one. Without it random acts before block 0.
        seed: of random's draw.
        learned: cropr's scorers.
    Raises: UsageError if method, schedule and model do not go together; InputError for a model that cannot be reduced.
    """
    backbone = backbones.of(model)
    of_model = (backbone.tokens, len(backbone.vit.blocks), backbone.prefix_tokens)
    of_schedule = (schedule.tokens_before, schedule.depth, schedule.prefix_tokens)
    if of_model != of_schedule:
        raise UsageError(
            "the schedule has {} tokens, {} blocks and {} prefix tokens, the model {}, {} and {}. "
            "Make a schedule for this model.".format(*of_schedule, *of_model)
        )
    if reducers.find(method).needs & Need.ATTN_CLS and not backbone.has_class_token:
        raise UsageError(f"{method} ranks by the class token's attention, and the model has none. Use pomt or random.")
    if backbone.is_dense:
        reducers.check_dense(method, learned)
    return ReducedViT(model, method, schedule, layer, seed, learned)


class ReducedViT(nn.Module):
    """A vision transformer with static token counts: image (B, channels, H, W) -> logits (B, classes).

    Without pooling, the logits are those of the patches: (B, classes, rows, columns).

    Attributes:
        vit: a copy of the timm model's modules around the same parameters, in eval mode.
        steps: one for each block; None: the block is timm's own.
        reducers: by block; their buffers (`reducers.3.kept_indices`) are the candidate's constants.
        proportional_attention, weighted_pooling: see reduce_tokens.
    """

    def __init__(
        self,
        vit: nn.Module,
        method: str,
        schedule: Schedule,
        layer: int | None = None,
        seed: int = 0,
        learned: Learned | None = None,
    ) -> None:
        super().__init__()
        self.vit: Any = _sharing_copy(vit)
        self.backbone = backbones.of(self.vit)
        self.backbone.fix()
        self.schedule = schedule
        self.steps = reducers.find(method).steps(schedule, layer)
        self.reducers = reducers.made(method, self.steps, seed, learned)
        self.proportional_attention = self.weighted_pooling = True
        self._check_blocks()
        self.eval()

    @property
    def logits_shape(self) -> tuple[int, ...]:
        """Of one image: (classes,), or (classes, rows, columns)."""
        outputs = int(self.vit.num_classes or self.vit.num_features)  # features where there is no classifier
        return (outputs, *self.backbone.grid) if self.backbone.is_dense else (outputs,)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, ...) of normalised images (B, channels, H, W)."""
        return self.finish(self.run(self.embed(image), 0, len(self.steps)))

    def forward_with_margin(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the smallest relative score margin of all cuts (B,); +inf where nothing was ranked."""
        tokens = self.run(self.embed(image), 0, len(self.steps))
        none_ranked = torch.full(image.shape[:1], torch.inf, device=image.device)
        return self.finish(tokens), none_ranked if tokens.margin is None else tokens.margin

    def embed(self, image: Tensor) -> Tokens:
        """The sequence entering block 0, with all its tokens."""
        return self.backbone.embedded(image)._replace(merges=() if self.backbone.is_dense else None)

    def run(self, tokens: Tokens, start: int, stop: int) -> Tokens:
        """Blocks start, ..., stop - 1."""
        for layer in range(start, stop):
            tokens = self._run_block(layer, tokens)
        return tokens

    def finish(self, tokens: Tokens) -> Tensor:
        """Logits (B, ...) of the sequence that leaves the last block."""
        x = self.vit.norm(tokens.x)  # (B, N, C)
        if self.backbone.is_dense:
            return self._of_patches(tokens, x)
        return self.backbone.logits(x, tokens, self.weighted_pooling)

    def _of_patches(self, tokens: Tokens, x: Tensor) -> Tensor:
        """Logits (B, classes, rows, columns) of all patches, from normed tokens x (B, N, C).

        The head runs before tokens are restored: it works token by token, and there are fewer.
        """
        logits = reducers.restored(tokens, self.vit.forward_head(x), self.schedule.tokens_before)  # (B, N, classes)
        patches = logits[:, self.backbone.prefix_tokens :]  # row by row
        return patches.transpose(1, 2).reshape(x.shape[0], *self.logits_shape)

    def _run_block(self, layer: int, tokens: Tokens) -> Tokens:
        """The block, with the reduction at the method's place."""
        step = self.steps[layer]
        reducer: Any = self.reducers[str(layer)] if step is not None else None
        if step is not None and step.site is Site.INPUT:
            tokens = reducer.reduce(tokens, Signals())
        bias = tokens.key_bias() if self.proportional_attention else None
        if step is None or step.site is not Site.MID:
            tokens = tokens._replace(x=self.backbone.whole(layer, tokens, bias))
            return reducer.reduce(tokens, Signals()) if step is not None and step.site is Site.END else tokens
        change, signals = self.backbone.attended(layer, tokens, reducer.needs, bias)
        tokens = reducer.reduce(tokens._replace(x=tokens.x + change), signals._replace(change=change))
        return tokens._replace(x=self.backbone.fed_forward(layer, tokens.x))  # (B, N_out, C)

    def _check_blocks(self) -> None:
        """Blocks that run step by step, or get the sizes of merged tokens, must be of timm's standard classes."""
        merged = False
        for layer, step in enumerate(self.steps):
            if merged or (step is not None and step.site is Site.MID):
                self.backbone.check_divided(layer)
            merged = merged or (step is not None and step.merged > 0)


def _sharing_copy(vit: nn.Module) -> nn.Module:
    """A copy of the modules around the same parameters and buffers. Modes set on it do not reach the model."""
    shared = {id(tensor): tensor for tensor in (*vit.parameters(), *vit.buffers())}
    return copy.deepcopy(vit, shared)
