"""Prune One More Token with another score: how much attention changes a token. Engines can fuse the attention.

The change is that of the block's attention branch, before the MLP, so the MLP already runs on fewer tokens, as in pomt.

Source: Choi et al., "Representation Shift: Unifying Token Compression with FlashAttention", ICCV 2025.
"""

from torch import Tensor

from pomt_trt.host.reducers.common.contract import Need, Signals
from pomt_trt.host.reducers.pomt import Pomt


class PomtShift(Pomt):
    """As Pomt, with another score: the length of what the block's attention adds to a token."""

    method = "pomt-shift"
    needs = Need.NONE

    def scores(self, signals: Signals) -> Tensor:
        assert signals.change is not None
        change = signals.change[:, self.step.prefix_tokens :].float()  # (B, n, C)
        return (change * change).sum(2).sqrt()  # (B, n)
