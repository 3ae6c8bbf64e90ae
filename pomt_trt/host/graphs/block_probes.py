"""Graphs whose latency tells what a block costs (core/schedules/block_costs).

They stand beside a graph set and share its weights, so that one folder of engines and one reference serve both.
"""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from pomt_trt.core.records import Candidate, Family, Schedule
from pomt_trt.core.schedules.block_costs import PLAIN
from pomt_trt.host.data.image_batches import Images
from pomt_trt.host.graphs import export
from pomt_trt.host.models import token_reduction
from pomt_trt.host.reducers.common.contract import Tokens


class Probe(token_reduction.ReducedViT):
    """A model whose block 0 gets only the first tokens of the sequence, as many as the schedule says.

    Its logits mean nothing. Its blocks cost what the same blocks cost in any schedule.
    """

    def embed(self, image: Tensor) -> Tokens:
        """The sequence that enters block 0."""
        tokens, count = super().embed(image), self.schedule.tokens_before
        return tokens._replace(x=tokens.x[:, :count]).moved(lambda rows: rows[:, :count])  # (B, N of the schedule, C)


class ProbePlan(export.Plan):
    """A plan that exports probes."""

    def reduced(self, schedule: Schedule) -> Probe:
        """The probe with that schedule."""
        return Probe(self.module, self.method, schedule, self.layer, self.seed, self.learned)


def extend(
    plan: export.Plan,
    graph_set: Family,
    probes: Sequence[Candidate],
    images: Images,
    work: Path,
    progress: export.Progress = lambda id: None,
) -> Family:
    """The graph set with the graphs of these probes; see export.extend."""
    of_method = ProbePlan(*plan)
    for each in (of_method._replace(method=PLAIN, layer=None, plugin=False), of_method):
        chosen = [probe for probe in probes if probe.method == each.method]
        if chosen:
            graph_set = export.extend(each, graph_set, chosen, images, work, progress)
    return graph_set
