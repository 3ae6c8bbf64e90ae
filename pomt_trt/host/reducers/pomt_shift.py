"""Prune One More Token by a score that leaves attention fused: how much attention changes a token.

Source: Choi et al., "Representation Shift: Unifying Token Compression with FlashAttention", ICCV 2025. The shift is
taken over the attention branch of the block, before its MLP: so the MLP already runs on fewer tokens, and counts,
layer and cost elsewhere are those of pomt; an engine may fuse the attention, which pomt's score must read.
"""

from torch import Tensor

from pomt_trt.host.reducers.common.contract import Need, Signals
from pomt_trt.host.reducers.pomt import Pomt


class PomtShift(Pomt):
    """As Pomt, but scored by the length of what the block's attention adds to a token; a large change is kept."""

    method = "pomt-shift"
    needs = Need.NONE

    def scores(self, signals: Signals) -> Tensor:
        assert signals.change is not None
        change = signals.change[:, self.step.prefix_tokens :].float()  # (B, n, C)
        return (change * change).sum(2).sqrt()  # (B, n)
