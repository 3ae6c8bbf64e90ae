"""The contract between token reduction methods and the model (host/models/token_reduction).

A method plans its Steps from integers, names the signals it needs (Need), and turns Tokens into fewer Tokens. The model
computes the signals. All shapes are static.
"""

from collections.abc import Callable, Sequence
from enum import Enum, Flag, auto
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from pomt_trt.core.errors import UsageError
from pomt_trt.core.records import Schedule
from pomt_trt.core.schedules import schedule as schedules
from pomt_trt.host.reducers.common.learned import Learned


class Site(Enum):
    """Where in the model tokens are removed."""

    INPUT = "input"  # the sequence that enters a block, before the block
    MID = "mid"  # in a block, between the attention's residual sum and the MLP
    END = "end"  # the sequence that leaves a block


class Need(Flag):
    """The signals that a method reads. Others are not computed."""

    NONE = 0
    KEYS = auto()
    VALUES = auto()
    ATTN_FULL = auto()  # the block cannot use fused attention
    ATTN_CLS = auto()  # one row, computed beside the fused attention


class Shape(NamedTuple):
    """What a schedule depends on of a model."""

    tokens: int  # entering block 0, prefix included
    depth: int  # blocks
    prefix_tokens: int


class UserCounts(NamedTuple):
    """Counts that a user gives. Each method takes some of them."""

    removed: int | Sequence[float] | None = None
    merged: Sequence[int] | None = None
    pruned: Sequence[int] | None = None


class Step(NamedTuple):
    """What one block removes."""

    site: Site
    layer: int  # 0-based
    tokens_in: int  # prefix included
    tokens_out: int  # prefix and summary tokens included
    prefix_tokens: int
    kept_patches: int  # patch tokens that stay, without summary tokens
    merged: int = 0  # patch tokens that are merged into others
    sized: bool = False  # an earlier block merges, so tokens enter with sizes
    fused: bool = False  # removed tokens come back before the last block

    @property
    def pruned(self) -> int:
        """Tokens that are removed without being merged."""
        return self.tokens_in - self.tokens_out - self.merged

    @property
    def even_patches(self) -> int:
        """Patch tokens at even positions: bipartite matching may merge them into others."""
        return (self.tokens_in + 1) // 2 - (self.prefix_tokens + 1) // 2

    @property
    def odd_patches(self) -> int:
        """Patch tokens at odd positions: others may be merged into them."""
        return self.tokens_in // 2 - self.prefix_tokens // 2

    @property
    def counts(self) -> tuple[int, ...]:
        """All integers that the step's graph may hold, up to a constant factor and offset."""
        stay = self.even_patches - self.merged
        return self.tokens_in, self.tokens_out, self.merged, self.even_patches, self.odd_patches, stay

    @property
    def structure(self) -> tuple[object, ...]:
        """Steps with equal structure have graphs that differ in integers alone."""
        return self.site, self.merged > 0, self.pruned > 0, self.merged == self.even_patches, self.sized


class Signals(NamedTuple):
    """The signals of a block that its method needs. A = softmax(q k^T / sqrt(dh)); rows are queries."""

    keys: Tensor | None = None  # k, mean over heads (B, N, dh)
    values: Tensor | None = None  # v (B, H, N, dh)
    attn: Tensor | None = None  # A (B, H, N, N)
    attn_cls: Tensor | None = None  # A[:, :, 0], mean over heads, patches only (B, N - prefix)
    change: Tensor | None = None  # what attention adds to each token (B, N, C); always given


class Stashed(NamedTuple):
    """Tokens that were set aside."""

    x: Tensor  # (B, n, C)
    origin: Tensor  # (B, n)
    positions: Tensor | None  # (B, n, D)


class Tokens(NamedTuple):
    """The sequence, and the state that goes with it from block to block."""

    x: Tensor  # (B, N, C), prefix tokens first
    size: Tensor | None = None  # (B, N, 1) fp32, original tokens in each; None: one in each
    origin: Tensor | None = None  # (B, N) place of each in the image's sequence; None: the first N, or not kept
    stash: tuple["Stashed", ...] = ()  # rows that will come back
    margin: Tensor | None = None  # (B,) smallest relative score margin of all cuts; None: nothing was ranked
    merges: tuple[tuple[Tensor, Tensor], ...] | None = None  # how to undo each (Merging.undo); None: not kept
    positions: Tensor | None = None  # (B, N, D) what the model knows of each place; None: nothing after block 0
    nowhere: Tensor | None = None  # (1, 1, D) that of a token without a place

    def cut(self, x: Tensor, margin: Tensor) -> "Tokens":
        """These tokens with a new sequence, and the smaller of the old and the new margin (B,)."""
        return self._replace(x=x, margin=margin if self.margin is None else torch.minimum(self.margin, margin))

    def moved(self, move: Callable[[Tensor], Tensor]) -> "Tokens":
        """These tokens with positions that went the same way as the sequence: move(rows (B, N, D))."""
        return self if self.positions is None else self._replace(positions=move(self.positions))

    def key_bias(self) -> Tensor | None:
        """log(size) to add to attention's logits, (B, 1, 1, N): a merged token weighs as much as its parts.

        Source: proportional attention, Bolya et al., "Token Merging", ICLR 2023, equation 1.
        """
        return None if self.size is None else self.size.log().transpose(1, 2).unsqueeze(1)


class Reducer(nn.Module):
    """A method in one block. Its buffers are the candidate's own constants.

    The class plans. The instance, made from its Step, reduces. `reduce` must be a pure function.
    """

    method: ClassVar[str]
    needs: Need = Need.NONE
    every_block: ClassVar[bool] = False  # whether R is spread over all blocks
    default_layer: ClassVar[int | None] = None
    summary_tokens: ClassVar[int] = 0  # appended in place of the removed ones
    lost_for_patches: ClassVar[str | None] = "it drops patches"  # why a head cannot label every patch; None: it can

    def __init__(self, step: Step, seed: int = 0, learned: Learned | None = None) -> None:
        super().__init__()
        self.step = step

    @classmethod
    def at(cls, step: Step, seed: int, learned: Learned | None) -> "Reducer":
        """The module of the step."""
        return cls(step, seed, learned)

    @classmethod
    def site(cls, layer: int | None) -> Site:
        """Where the method acts, given `layer`."""
        return Site.MID

    @classmethod
    def spread(cls, shape: Shape, removed: int, layer: int | None, learned: Learned | None = None) -> Schedule:
        """The schedule for one number R: even over all blocks, or in one block, `layer` or the method's default.

        Tokens that are removed before a block (Site.INPUT) count as removed in it.
        Raises: UsageError if the layer does not exist or no patch token would stay.
        """
        if cls.every_block:
            return schedules.even(*shape, removed)
        place = cls.default_layer if layer is None else layer
        return schedules.single_layer(*shape, place or 0, removed)

    @classmethod
    def schedule_from(
        cls, counts: UserCounts, shape: Shape, layer: int | None, learned: Learned | None = None
    ) -> Schedule:
        """The schedule for a user's counts.

        Raises: UsageError for counts that the method does not take, or that are impossible.
        """
        if counts.removed is None or counts.merged is not None or counts.pruned is not None:
            raise UsageError(f"{cls.method} takes removed=..., and neither merged nor pruned.")
        if cls.every_block:
            each = cls.in_each_block(counts.removed, shape)
            return schedules.per_block(shape.tokens, shape.prefix_tokens, each)
        if not isinstance(counts.removed, int):
            raise UsageError(f"{cls.method} acts in one place, but removed is {counts.removed}. Give one number.")
        return cls.spread(shape, counts.removed, layer)

    @classmethod
    def in_each_block(cls, removed: int | Sequence[float], shape: Shape) -> Sequence[int]:
        """One count for each block, from an int for all or a list."""
        each = [removed] * shape.depth if isinstance(removed, int) else [int(r) for r in removed]
        if len(each) != shape.depth:
            raise UsageError(
                f"removed has {len(each)} entries, the model {shape.depth} blocks. Give one entry a block."
            )
        return each

    @classmethod
    def steps(cls, schedule: Schedule, layer: int | None) -> list[Step | None]:
        """One step for each block; None: the block stays as it is.

        The schedule says in which blocks the method acts. `layer` only tells random to act within them.
        Raises: UsageError if the method cannot follow the schedule.
        """
        counts, site = schedule.tokens, cls.site(layer)
        acting = [block for block in range(schedule.depth) if counts[block] != counts[block + 1]]
        if cls.every_block and layer is not None:
            raise UsageError(
                f"the layer given to {cls.method} is {layer}. Give none to a method that acts in every block."
            )
        if site is Site.INPUT and acting not in ([], [0]):
            raise UsageError(
                f"the schedule of {cls.method} removes tokens in blocks {acting}, but without a layer it acts before "
                "block 0. Give a layer, or a schedule that acts in block 0."
            )
        return [
            cls.plan(site, block, counts[block], counts[block + 1], schedule.prefix_tokens)
            for block in range(schedule.depth)
        ]

    @classmethod
    def most_removable(cls, patch_tokens: int) -> int:
        """The largest net reduction of `patch_tokens` patches in one block: one patch stays."""
        return patch_tokens - cls.summary_tokens - 1

    @classmethod
    def plan(cls, site: Site, layer: int, tokens_in: int, tokens_out: int, prefix_tokens: int) -> Step | None:
        """The step from `tokens_in` to `tokens_out`; None: the block stays as it is.

        Raises: UsageError, with the possible range, if the method cannot remove that many.
        """
        patches, removed = tokens_in - prefix_tokens, tokens_in - tokens_out
        most = max(cls.most_removable(patches), 0)
        if not 0 <= removed <= most:
            raise UsageError(
                f"{cls.method} cannot remove {removed} of {tokens_in} tokens ({prefix_tokens} prefix) in block {layer}."
                f" Choose 0 to {most} there."
            )
        if removed == 0:
            return None
        return Step(site, layer, tokens_in, tokens_out, prefix_tokens, patches - removed - cls.summary_tokens)

    def reduce(self, tokens: Tokens, signals: Signals) -> Tokens:
        """Tokens with x (B, step.tokens_in, C) -> Tokens with x (B, step.tokens_out, C)."""
        raise NotImplementedError
