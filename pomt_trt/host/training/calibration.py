"""How many tokens trained thresholds remove in each block, on average: what a static schedule is made of.

Blocks are calibrated one after the other, on sequences that the blocks before have already reduced by whole numbers, as
they will be when the model runs. On the workstation. Leaves out schedules for other counts: see reducers.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pomt_trt.host.training.dynamic import Counts, Live, Thresholds, reduced_block, start


class Calibration(NamedTuple):
    """Per block, over the images."""

    merged_mean: tuple[float, ...]
    pruned_mean: tuple[float, ...]
    merged_std: tuple[float, ...]
    pruned_std: tuple[float, ...]
    static: tuple[Counts, ...]  # whole numbers that add up to the means


@torch.inference_mode()
def calibrate(
    vit: Any,
    thresholds: Sequence[Thresholds],
    batches: Iterable[Tensor],
    progress: Callable[[str], None] = lambda note: None,
) -> Calibration:
    """Counts that the thresholds give on images (B, C, H, W), all of whose sequences are kept in memory.

    Args: progress: called with a note after every block.
    """
    lives = [start(vit, images) for images in batches]
    means: list[tuple[float, float]] = []
    deviations: list[tuple[float, float]] = []
    static: list[Counts] = []
    for layer, (block, cut) in enumerate(zip(vit.blocks, thresholds, strict=True)):
        counts = _counted(block, lives, cut, vit.num_prefix_tokens)  # (images, 2)
        means.append(tuple(counts.mean(0).tolist()))
        deviations.append(tuple(counts.std(0, correction=0).tolist()))
        static = whole_counts(means, vit.patch_embed.num_patches)
        lives = [reduced_block(block, live, static[-1], vit.num_prefix_tokens)[0] for live in lives]
        progress(f"block {layer}: {static[-1].merged} merged, {static[-1].pruned} pruned")
    (merged, pruned), (merged_std, pruned_std) = zip(*means, strict=True), zip(*deviations, strict=True)
    return Calibration(merged, pruned, merged_std, pruned_std, tuple(static))


def _counted(block: Any, lives: Sequence[Live], cut: Thresholds, prefix_tokens: int) -> Tensor:
    found = [reduced_block(block, live, cut, prefix_tokens)[1] for live in lives]
    return torch.cat([torch.stack([one.merged, one.pruned], 1) for one in found]).double()


def whole_counts(means: Sequence[tuple[float, float]], patches: int) -> list[Counts]:
    """Whole numbers for each block's mean (merged, pruned): sums are rounded, so that errors do not add up.

    Args: patches: patch tokens entering block 0. One stays at least, and no more than half are merged at once.
    """
    counts: list[Counts] = []
    for block in range(1, len(means) + 1):
        merged = round(sum(mean for mean, _ in means[:block])) - sum(one.merged for one in counts)
        pruned = round(sum(mean for _, mean in means[:block])) - sum(one.pruned for one in counts)
        merged = min(max(merged, 0), patches // 2)
        pruned = min(max(pruned, 0), max(patches - merged - 1, 0))
        counts.append(Counts(merged, pruned))
        patches -= merged + pruned
    return counts
