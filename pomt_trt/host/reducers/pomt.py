"""Prune One More Token: in one block, patches that few others attend to are replaced by their mean.

Two details differ from the paper's code. The attention score is normalised by image, not by batch, so an image's tokens
do not depend on other images. Any number of prefix tokens is possible.

Source: Eliopoulos et al., "Pruning One More Token is Enough", WACV 2025. Training-free.
"""

from torch import Tensor

from pomt_trt.host.reducers.common.contract import Need, Reducer, Signals, Tokens
from pomt_trt.host.reducers.common.ranking import gather_rows, join, margin, rank


class Pomt(Reducer):
    """Keeps the best patches and appends the mean of the others. Order: prefix, kept by descending score, mean."""

    method = "pomt"
    lost_for_patches = "it makes one token of the patches that it removes"
    needs = Need.ATTN_FULL | Need.VALUES
    default_layer = 3
    summary_tokens = 1

    def scores(self, signals: Signals) -> Tensor:
        """Importance of each patch, in (0, 2]: received attention / its maximum + softmax of the values' strength.

        Prefix tokens are not scored, but the softmax is over all N tokens. Returns (B, n), fp32.
        """
        assert signals.attn is not None and signals.values is not None
        prefix = self.step.prefix_tokens
        # The maximum before the slice: one pass over the large tensor, and a copy of one head's size only.
        received = signals.attn.amax(1)[:, prefix:, prefix:].float().sum(1)  # (B, n)
        strength = signals.values.amax(1).float().sum(2).softmax(1)[:, prefix:]  # (B, n)
        return received / received.amax(1, keepdim=True) + strength

    def reduce(self, tokens: Tokens, signals: Signals) -> Tokens:
        prefix, kept, x = self.step.prefix_tokens, self.step.kept_patches, tokens.x
        score = self.scores(signals)  # (B, n)
        order = rank(score, self.step.tokens_in - prefix)  # (B, n)
        ranked = gather_rows(x, order + prefix)  # (B, n, C)
        mean = ranked[:, kept:].mean(1, keepdim=True)  # (B, 1, C)
        x = join(x[:, :prefix], ranked[:, :kept], mean)  # (B, prefix + kept + 1, C)

        def placed(rows: Tensor) -> Tensor:  # the mean stands nowhere
            assert tokens.nowhere is not None
            best = gather_rows(rows, order[:, :kept] + prefix)
            return join(rows[:, :prefix], best, tokens.nowhere.expand(len(rows), -1, -1))

        return tokens.cut(x, margin(score, kept)).moved(placed)
