"""Top-K: in every block, the patches that the class token attends to least are dropped.

It needs one row of attention only.

Source: the Top-K baseline of Eliopoulos et al., "Pruning One More Token is Enough", WACV 2025. The score is that of
EViT (Liang et al., ICLR 2022), without its fused token.
"""

from torch import Tensor

from pomt_trt.core.errors import UsageError
from pomt_trt.host.reducers.common.contract import Need, Reducer, Signals, Site, Step, Tokens
from pomt_trt.host.reducers.common.ranking import gather_rows, join, margin, rank


class TopK(Reducer):
    """Keeps the patches with the highest class-token attention, mean over heads. Order: prefix, kept by score."""

    method = "topk"
    needs = Need.ATTN_CLS
    every_block = True

    @classmethod
    def plan(cls, site: Site, layer: int, tokens_in: int, tokens_out: int, prefix_tokens: int) -> Step | None:
        """As Reducer.plan; also raises UsageError where there is no class token."""
        if prefix_tokens < 1:
            raise UsageError(
                "topk ranks patches by the class token's attention, but the model has no prefix token."
                " Use pomt or random."
            )
        return super().plan(site, layer, tokens_in, tokens_out, prefix_tokens)

    def reduce(self, tokens: Tokens, signals: Signals) -> Tokens:
        assert signals.attn_cls is not None
        prefix, kept = self.step.prefix_tokens, self.step.kept_patches
        best = rank(signals.attn_cls, kept)  # (B, kept)

        def stay(rows: Tensor) -> Tensor:
            return join(rows[:, :prefix], gather_rows(rows, best + prefix))  # (B, prefix + kept, D)

        return tokens.cut(stay(tokens.x), margin(signals.attn_cls, kept)).moved(stay)
