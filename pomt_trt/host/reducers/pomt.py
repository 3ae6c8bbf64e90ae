"""Prune One More Token: in one block, patches that few others attend to are replaced by their mean.

Source: Eliopoulos et al., "Pruning One More Token is Enough", WACV 2025. Training-free. Two details differ from
the paper's code: the attention score is normalised per image, not per batch, so that an image's tokens do not depend
on its neighbours; and counts hold for any number of prefix tokens.
"""

from torch import Tensor

from pomt_trt.host.reducers.common.contract import Need, Reducer, Signals, Tokens
from pomt_trt.host.reducers.common.ranking import gather_rows, join, margin, rank


def scores(attn: Tensor, values: Tensor, prefix_tokens: int) -> Tensor:
    """Importance of each patch, in (0, 2]: attention received plus softmax of the value's strength.

    Args:
        attn: (B, H, N, N), rows are queries and sum to 1.
        values: (B, H, N, dh).
        prefix_tokens: they are not scored, though the softmax over values runs over all N tokens.
    Returns: (B, N - prefix_tokens), fp32.
    """
    # The maximum before the slice: one pass over the large tensor, and a copy of one head's size only.
    received = attn.amax(1)[:, prefix_tokens:, prefix_tokens:].float().sum(1)  # (B, n)
    strength = values.amax(1).float().sum(2).softmax(1)[:, prefix_tokens:]  # (B, n)
    return received / received.amax(1, keepdim=True) + strength


class Pomt(Reducer):
    """Keeps the best patches by descending score and appends the plain mean of all others: prefix, kept, mean."""

    method = "pomt"
    lost_for_patches = "it makes one token of the patches that it removes"
    needs = Need.ATTN_FULL | Need.VALUES
    default_layer = 3
    summary_tokens = 1

    def scores(self, signals: Signals) -> Tensor:
        """Of each patch (B, n)."""
        assert signals.attn is not None and signals.values is not None
        return scores(signals.attn, signals.values, self.step.prefix_tokens)

    def reduce(self, tokens: Tokens, signals: Signals) -> Tokens:
        prefix, kept, x = self.step.prefix_tokens, self.step.kept_patches, tokens.x
        score = self.scores(signals)  # (B, n)
        order = rank(score, self.step.tokens_in - prefix)  # (B, n)
        ranked = gather_rows(x, order + prefix)  # (B, n, C)
        mean = ranked[:, kept:].mean(1, keepdim=True)  # (B, 1, C)
        x = join(x[:, :prefix], ranked[:, :kept], mean)  # (B, prefix + kept + 1, C)
        return tokens.cut(x, margin(score, kept))
