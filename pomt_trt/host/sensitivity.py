"""What a cut of tokens in one block costs: the KL divergence from the unreduced model on a few images.

The search for schedules adds these costs up (core/schedules/schedule_pareto).
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from pomt_trt.core.errors import UsageError
from pomt_trt.core.records import SEARCHED, Candidate, Schedule, Sensitivity
from pomt_trt.core.storage.learned import LEARNED
from pomt_trt.host import accuracy, reducers
from pomt_trt.host.data.image_batches import Images
from pomt_trt.host.graphs import export
from pomt_trt.host.reducers.common.contract import Site

IMAGES = 128
COUNTS = 6  # to which a block is cut


def check(method: str, layer: int | None) -> None:
    """Raises UsageError for a method that removes nothing within blocks, or that learned where to remove."""
    if method in LEARNED:
        raise UsageError(
            f"--schedule search moves where tokens go, and {method} has learned that. Use --method pomt, topk or tome, "
            "or leave --schedule out."
        )
    reducer = reducers.find(method)
    if reducer.site(layer) is not Site.MID or reducer.most_removable(100) == 0:
        raise UsageError(
            f"--schedule search spreads removal over the blocks, and {method} removes nothing within them. "
            "Use --method pomt, topk or tome, or leave --schedule out."
        )


def counts(tokens: int, lowest: int) -> tuple[int, ...]:
    """Counts to cut to, descending, evenly spaced down to `lowest`."""
    return tuple(sorted({round(x) for x in np.linspace(tokens, lowest, COUNTS + 1)} - {tokens}, reverse=True))


def removable(method: str, tokens: int, prefix_tokens: int) -> tuple[int, ...]:
    """The most that the method can remove in one block, for each count 0..tokens that enters it."""
    reducer = reducers.find(method)
    return tuple(max(0, reducer.most_removable(max(0, count - prefix_tokens))) for count in range(tokens + 1))


def unmeasured(plan: export.Plan, unreduced: Schedule, images: Images, lowest: int) -> Sensitivity:
    """A Sensitivity without rows, for cuts down to `lowest` tokens."""
    tokens, prefix = unreduced.tokens_before, unreduced.prefix_tokens
    most = removable(plan.method, tokens, prefix)
    return Sensitivity(plan.method, min(IMAGES, len(images)), counts(tokens, lowest), most, ())


def measure(
    plan: export.Plan,
    unreduced: Candidate,
    images: Images,
    kind: str,
    begun: Sensitivity,
    progress: Callable[[str], None] = lambda note: None,
) -> Iterator[Sensitivity]:
    """Yields the Sensitivity after each block, with one row more each time.

    Args:
        begun: from `unmeasured`, or the last one of an interrupted call.
    """
    few = dataclasses.replace(
        images, stored=images.stored[:IMAGES], labels=None if images.labels is None else images.labels[:IMAGES]
    )
    estimator = accuracy.Estimator(plan, unreduced, few, kind)
    plain, measured = unreduced.schedule, begun
    for block in range(len(measured.kl), plain.depth):
        cuts = {count: _cut(measured, plain, block, count) for count in measured.counts}
        made = [Candidate(plan.method, cut, plan.batch_size, plan.precision, SEARCHED) for cut in cuts.values() if cut]
        kl = {done.candidate.schedule: done.estimate.kl_divergence for done in estimator.estimate(made, progress)}
        row = tuple(float("nan") if cut is None else kl[cut] for cut in cuts.values())
        measured = measured._replace(kl=measured.kl + (row,))
        yield measured


def _cut(measured: Sensitivity, plain: Schedule, block: int, count: int) -> Schedule | None:
    """The cut to `count` in `block`, and in the next ones where one block cannot remove so many. None: impossible."""
    tokens = [plain.tokens_before] * (block + 1)
    while len(tokens) <= plain.depth:
        tokens.append(tokens[-1] - min(tokens[-1] - count, measured.removable[tokens[-1]]))
    return Schedule(tuple(tokens), plain.prefix_tokens) if tokens[-1] == count else None
