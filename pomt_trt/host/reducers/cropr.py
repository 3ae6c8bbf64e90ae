"""Cropr: after each of the first blocks, the patches that a learned vector scores lowest are set aside.

A token's score sums over queries and heads, so a module's queries and key projection fold into one vector. With last
layer fusion, the tokens that were set aside come back unchanged for the last block.

Source: Bergner et al., "Token Cropr: Faster ViTs for Quite a Few Tasks", CVPR 2025.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pomt_trt.core.errors import UsageError
from pomt_trt.core.records import Schedule
from pomt_trt.core.schedules import schedule as schedules
from pomt_trt.host.reducers.common.contract import Reducer, Shape, Signals, Site, Stashed, Step, Tokens, UserCounts
from pomt_trt.host.reducers.common.learned import Learned, Scorers, modules
from pomt_trt.host.reducers.common.ranking import gather_rows, join, margin, rank


class Cropr(Reducer):
    """Keeps the patches with the highest x . scorer: prefix, kept by descending score."""

    method = "cropr"
    lost_for_patches = None
    every_block = True
    scorer: Tensor

    def __init__(self, step: Step, seed: int = 0, learned: Learned | None = None) -> None:
        super().__init__(step, seed, learned)
        self.register_buffer("scorer", _needed(learned).vectors[step.layer])  # (C,)

    @classmethod
    def at(cls, step: Step, seed: int, learned: Learned | None) -> Reducer:
        return LastLayerFusion(step) if step.site is Site.INPUT else cls(step, seed, learned)

    @classmethod
    def site(cls, layer: int | None) -> Site:
        return Site.END

    @classmethod
    def spread(cls, shape: Shape, removed: int, layer: int | None, learned: Learned | None = None) -> Schedule:
        """Even over all modules. With last layer fusion, R counts the tokens that are missing before the last block."""
        llf = _needed(learned).llf
        first = schedules.even(shape.tokens, modules(shape.depth, llf), shape.prefix_tokens, removed).tokens
        return _fused(first + first[-1:] * (shape.depth + 1 - len(first)), shape.prefix_tokens, llf)

    @classmethod
    def schedule_from(
        cls, counts: UserCounts, shape: Shape, layer: int | None, learned: Learned | None = None
    ) -> Schedule:
        """From `removed`: an int for every module, or a list with one entry for each block, 0 without a module."""
        scorers = _needed(learned)
        last = shape.depth - modules(shape.depth, scorers.llf)
        if isinstance(counts.removed, int):
            counts = counts._replace(removed=[counts.removed] * (shape.depth - last) + [0] * last)
        schedule = super().schedule_from(counts, shape, layer, learned)
        return _fused(schedule.tokens, shape.prefix_tokens, scorers.llf)

    @classmethod
    def steps(cls, schedule: Schedule, layer: int | None) -> list[Step | None]:
        if layer is not None:
            raise UsageError(f"cropr acts after every block but the last, but layer {layer} is asked for. Give none.")
        counts, prefix, depth = schedule.tokens, schedule.prefix_tokens, schedule.depth
        fused = counts[-1] > counts[-2]
        free = 2 if fused else 1
        if any(before != after for before, after in zip(counts[-free - 1 : depth], counts[depth - free + 1 : depth])):
            raise UsageError("cropr removes nothing after the last block, nor before it where tokens come back there.")
        steps = [cls.plan(Site.END, block, counts[block], counts[block + 1], prefix) for block in range(depth - free)]
        ends: list[Step | None] = [None] * free
        if fused:
            steps = [None if step is None else step._replace(fused=True) for step in steps]
            patches = counts[-1] - prefix
            ends[-1] = Step(Site.INPUT, depth - 1, counts[-2], counts[-1], prefix, patches, fused=True)
        return steps + ends

    def reduce(self, tokens: Tokens, signals: Signals) -> Tokens:
        score = tokens.x[:, self.step.prefix_tokens :] @ self.scorer  # (B, n)
        left = cut(tokens, score, self.step)
        return left.cut(left.x, margin(score, self.step.kept_patches))


class LastLayerFusion(Reducer):
    """Brings back the tokens that were set aside."""

    method = "cropr"

    def reduce(self, tokens: Tokens, signals: Signals) -> Tokens:
        return fused(tokens)


def cut(tokens: Tokens, score: Tensor, step: Step) -> Tokens:
    """The prefix, then the patches that the step keeps by descending score (B, n). Others are set aside or dropped."""
    prefix, kept, x = step.prefix_tokens, step.kept_patches, tokens.x
    order = rank(score, step.tokens_in - prefix if step.fused else kept)  # (B, n) or (B, kept)
    ranked = gather_rows(x[:, prefix:], order)
    origin = _origin(tokens, step.tokens_in)  # (B, N)
    places = origin[:, prefix:].gather(1, order)
    left = tokens._replace(x=join(x[:, :prefix], ranked[:, :kept]), origin=join(origin[:, :prefix], places[:, :kept]))
    left = left.moved(lambda rows: join(rows[:, :prefix], gather_rows(rows, order[:, :kept] + prefix)))
    if not step.fused:
        return left
    aside = None if tokens.positions is None else gather_rows(tokens.positions, order[:, kept:] + prefix)
    return left._replace(stash=(*tokens.stash, Stashed(ranked[:, kept:], places[:, kept:], aside)))


def fused(tokens: Tokens) -> Tokens:
    """The sequence, then the tokens that were set aside, in the order of their removal."""
    assert tokens.origin is not None
    x = join(tokens.x, *(part.x for part in tokens.stash))  # (B, tokens_out, C)
    whole = tokens._replace(x=x, origin=join(tokens.origin, *(part.origin for part in tokens.stash)), stash=())
    aside = [part.positions for part in tokens.stash if part.positions is not None]
    return whole.moved(lambda rows: join(rows, *aside))


def in_place(tokens: Tokens, count: int) -> Tensor:
    """The `count` rows of fused tokens (B, N, C), in the order of the image."""
    return tokens.x if tokens.origin is None else gather_rows(tokens.x, rank(-tokens.origin.float(), count))


def _origin(tokens: Tokens, count: int) -> Tensor:
    if tokens.origin is not None:
        return tokens.origin
    return torch.arange(count, device=tokens.x.device).expand(tokens.x.shape[0], -1)


def _fused(counts: Sequence[int], prefix_tokens: int, llf: bool) -> Schedule:
    """With last layer fusion, all tokens leave the last block."""
    last = counts[0] if llf else counts[-1]
    return Schedule((*counts[:-1], last), prefix_tokens)


def _needed(learned: Any) -> Scorers:
    if not isinstance(learned, Scorers):
        raise UsageError("cropr ranks patches by learned scorers. Give scorers=..., or train: pomt-trt train cropr.")
    return learned
