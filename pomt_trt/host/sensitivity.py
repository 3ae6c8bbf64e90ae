"""What it costs in accuracy to cut tokens, block by block: the proxy by which schedules are searched.

Makes a Sensitivity from a model and a few images. On the workstation. Leaves out what a cut gains, and how cuts in
several blocks add up (core/schedules/schedule_pareto).
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

IMAGES = 128
COUNTS = 6  # at which a block is cut


def check(method: str, layer: int | None) -> None:
    """Raises UsageError for a method that does not remove tokens within blocks, or has learned where it does."""
    if method in LEARNED:
        raise UsageError(
            f"--schedule search moves where tokens go, and {method} has learned that. Use --method pomt, topk or tome, "
            "or leave --schedule out."
        )
    reducer = reducers.find(method)
    if reducer.site(layer) is not reducers.Site.MID or reducer.most_removable(100) == 0:
        raise UsageError(
            f"--schedule search spreads removal over the blocks, and {method} removes nothing within them. "
            "Use --method pomt, topk or tome, or leave --schedule out."
        )


def counts(tokens: int, lowest: int) -> tuple[int, ...]:
    """The counts to cut down to, descending, evenly down to `lowest`."""
    return tuple(sorted({round(x) for x in np.linspace(tokens, lowest, COUNTS + 1)} - {tokens}, reverse=True))


def removable(method: str, tokens: int, prefix_tokens: int) -> tuple[int, ...]:
    """What the method can remove in one block at most, for each count up to `tokens` that enters it."""
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
    """The Sensitivity block by block: each has one row more, the last is whole.

    Args:
        begun: `unmeasured`, or what an interrupted call gave last.
    """
    few = dataclasses.replace(
        images, stored=images.pixels(IMAGES), labels=None if images.labels is None else images.labels[:IMAGES]
    )
    estimator = accuracy.Estimator(plan, unreduced, few, kind)
    plain, found = unreduced.schedule, begun
    for block in range(len(found.kl), plain.depth):
        cuts = {count: _cut(found, plain, block, count) for count in found.counts}
        asked = [Candidate(plan.method, cut, plan.batch_size, plan.precision, SEARCHED) for cut in cuts.values() if cut]
        kl = {done.candidate.schedule: done.estimate.kl_divergence for done in estimator.estimate(asked, progress)}
        row = tuple(float("nan") if cut is None else kl[cut] for cut in cuts.values())
        found = found._replace(kl=found.kl + (row,))
        yield found


def _cut(found: Sensitivity, plain: Schedule, block: int, count: int) -> Schedule | None:
    """From `block` on down to `count` as fast as the method can, in one block mostly; None where it cannot."""
    tokens = [plain.tokens_before] * (block + 1)
    while len(tokens) <= plain.depth:
        tokens.append(tokens[-1] - min(tokens[-1] - count, found.removable[tokens[-1]]))
    return Schedule(tuple(tokens), plain.prefix_tokens) if tokens[-1] == count else None
