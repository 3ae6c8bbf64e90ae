"""Graphs whose timing tells what a block costs: the model at another count in every block, or going down by blocks.

Makes graphs from schedules of core/schedules/block_costs, beside a family and on its weights, so that one engine folder
and one reference serve both. On the workstation. Leaves out which chains are worth timing (core/schedules/block_costs).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from pomt_trt.core.records import Candidate, Family, Schedule
from pomt_trt.core.schedules.block_costs import PLAIN
from pomt_trt.host.data.image_batches import Images
from pomt_trt.host.graphs import export, extension
from pomt_trt.host.models import token_reduction
from pomt_trt.host.reducers import Tokens


class Chain(token_reduction.ReducedViT):
    """A model whose block 0 is entered by as many tokens as the schedule says: the first ones of the sequence.

    What it computes is of no use; what it costs is what the same blocks cost in any schedule.
    """

    def embed(self, image: Tensor) -> Tokens:
        """The sequence entering block 0."""
        tokens = super().embed(image)
        return tokens._replace(x=tokens.x[:, : self.schedule.tokens_before])  # (B, N of the schedule, C)


def extend(
    plan: export.Plan,
    there: Family,
    more: Sequence[Candidate],
    images: Images,
    work: Path,
    progress: Callable[[str], None] = lambda id: None,
) -> Family:
    """The family with the graphs of these chains beside its own; see host/graphs/extension."""
    plain = plan._replace(method=PLAIN, layer=None, plugin=False)
    for each in (plain, plan):
        asked = [one for one in more if one.method == each.method]
        if asked:
            there = extension.extend(each, there, asked, images, work, progress, _chain)
    return there


def _chain(plan: export.Plan, schedule: Schedule) -> Chain:
    return Chain(plan.module, plan.method, schedule, plan.layer, plan.seed, plan.learned)
