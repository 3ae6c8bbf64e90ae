"""Token merging: in every block, the patches with the most similar keys become one, their mean weighted by size.

All prefix tokens are protected; the paper protects the class and the distillation token. Order is kept also without a
class token.

Source: Bolya et al., "Token Merging: Your ViT But Faster", ICLR 2023. Training-free.
"""

import logging
from collections.abc import Sequence

from pomt_trt.core.errors import UsageError
from pomt_trt.core.records import Schedule
from pomt_trt.host.reducers.common.contract import Need, Shape, Signals, Site, Step, Tokens
from pomt_trt.host.reducers.common.matching import Merging, merge, sized, stayed

LOGGER = logging.getLogger(__name__)


class ToMe(Merging):
    """Merges the most similar pairs. Order: prefix, staying patches at even positions, patches at odd positions."""

    method = "tome"
    lost_for_patches = None
    needs = Need.KEYS
    every_block = True

    @classmethod
    def most_removable(cls, patch_tokens: int) -> int:
        return patch_tokens // 2

    @classmethod
    def in_each_block(cls, removed: int | Sequence[float], shape: Shape) -> Sequence[int]:
        """As Reducer.in_each_block, and also (r, inflect). A block removes no more than it can, which is logged."""
        if isinstance(removed, tuple) and len(removed) == 2:
            removed = inflected(*removed, shape.depth)
        clipped, tokens = [], shape.tokens
        for block, count in enumerate(super().in_each_block(removed, shape)):
            most = (tokens - shape.prefix_tokens) // 2
            if count > most:
                LOGGER.warning("tome merges %d of %d tokens in block %d, not %d", most, tokens, block, count)
            clipped.append(min(count, most))
            tokens -= clipped[-1]
        return clipped

    @classmethod
    def steps(cls, schedule: Schedule, layer: int | None) -> list[Step | None]:
        return sized(super().steps(schedule, layer))

    @classmethod
    def plan(cls, site: Site, layer: int, tokens_in: int, tokens_out: int, prefix_tokens: int) -> Step | None:
        step = super().plan(site, layer, tokens_in, tokens_out, prefix_tokens)
        return None if step is None else step._replace(merged=tokens_in - tokens_out)

    def reduce(self, tokens: Tokens, signals: Signals) -> Tokens:
        assert signals.keys is not None
        match = self.match(signals.keys)
        x, size = merge(tokens.x, self.sizes(tokens), match, self.step.prefix_tokens)
        left = tokens.cut(x, match.margin)._replace(size=size)
        left = left.moved(lambda rows: stayed(rows, match, self.step.prefix_tokens))
        return left if tokens.merges is None else left._replace(merges=(*tokens.merges, self.undo(match)))


def inflected(removed: float, inflect: float, depth: int) -> list[int]:
    """Counts on a line from r (1 - inflect) in the first block to r (1 + inflect) in the last, truncated.

    (16, -1) begins with 32 and ends with 0. Source: the paper's decreasing schedule, appendix C.
    Raises: UsageError unless removed >= 0 and -1 <= inflect <= 1.
    """
    if removed < 0 or not -1 <= inflect <= 1:
        raise UsageError(f"removed is ({removed}, {inflect}): give a count of 0 or more, and -1 to 1 for its slope.")
    first = int(removed * (1 - inflect))
    rise = (2 * removed - 2 * first) / max(depth - 1, 1)
    return [int(first + rise * block) for block in range(depth)]
