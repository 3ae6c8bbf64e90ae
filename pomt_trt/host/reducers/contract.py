"""The contract between token reduction methods and the model they act in.

A method plans in plain integers (Step), names the signals it needs (Need), and turns Tokens into fewer Tokens. It knows
no timm and no ONNX; surgery, which computes the signals, knows no scores. Everything has a static shape.
"""

from enum import Enum, Flag, auto
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from pomt_trt.core.errors import UsageError


class Site(Enum):
    """Where in the model tokens are removed."""

    INPUT = "input"  # the embedded sequence, before block 0
    MID = "mid"  # in a block, between the attention's residual sum and the MLP


class Need(Flag):
    """The signals a method asks of its block; what is not asked for is not computed."""

    NONE = 0
    VALUES = auto()
    ATTN_FULL = auto()  # the block loses fused attention
    ATTN_CLS = auto()  # one row, computed beside the fused attention


class Step(NamedTuple):
    """What one block removes, fixed before any tensor exists."""

    site: Site
    layer: int  # 0-based; 0 for Site.INPUT
    tokens_in: int  # prefix included
    tokens_out: int  # prefix and summary tokens included
    prefix_tokens: int
    kept_patches: int  # patch tokens that survive as they are


class Signals(NamedTuple):
    """What a block's attention shows, filled as its method needs; A = softmax(q k^T / sqrt(dh)), rows are queries."""

    values: Tensor | None = None  # v (B, H, N, dh)
    attn: Tensor | None = None  # A (B, H, N, N)
    attn_cls: Tensor | None = None  # A[:, :, 0], mean over heads, patches only (B, N - prefix)


class Tokens(NamedTuple):
    """The sequence, and all state that travels with it between blocks."""

    x: Tensor  # (B, N, C), prefix tokens first
    margin: Tensor | None = None  # (B,) smallest relative score margin at any cut; None: nothing was ranked

    def cut(self, x: Tensor, margin: Tensor) -> "Tokens":
        """These tokens after a ranked cut: the new sequence, and the smaller of the old and new margin (B,)."""
        return self._replace(x=x, margin=margin if self.margin is None else torch.minimum(self.margin, margin))


class Reducer(nn.Module):
    """A method at work in one place. Its buffers, if any, are the constants that tell one candidate from another.

    The class plans, the instance (made from its Step) reduces; reduce is pure: same tokens and signals, same result.
    """

    method: ClassVar[str]
    needs: ClassVar[Need] = Need.NONE
    every_block: ClassVar[bool] = False  # R is spread over all blocks
    default_layer: ClassVar[int | None] = None
    summary_tokens: ClassVar[int] = 0  # appended in place of what was removed

    def __init__(self, step: Step, seed: int = 0) -> None:
        super().__init__()
        self.step = step

    @classmethod
    def site(cls, layer: int | None) -> Site:
        """Where the method acts when asked for `layer`."""
        return Site.MID

    @classmethod
    def most_removable(cls, patch_tokens: int) -> int:
        """The largest net reduction of `patch_tokens` patches in one place: one patch stays as it is."""
        return patch_tokens - cls.summary_tokens - 1

    @classmethod
    def plan(cls, site: Site, layer: int, tokens_in: int, tokens_out: int, prefix_tokens: int) -> Step | None:
        """The step that takes `tokens_in` to `tokens_out`; None where the block stays as it is.

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
