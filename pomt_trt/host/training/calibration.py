"""How many tokens trained thresholds remove in each block, on average. A static schedule is made of these means.

Blocks are calibrated one after the other. Each sees sequences that earlier blocks have reduced by whole counts, as when
the model runs.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pomt_trt.host.training.dynamic import Counts, Live, Thresholds, reduced_block, start


class Calibration(NamedTuple):
    """Means and standard deviations over the images, one entry for each block."""

    merged_mean: tuple[float, ...]
    pruned_mean: tuple[float, ...]
    merged_std: tuple[float, ...]
    pruned_std: tuple[float, ...]
    static: tuple[Counts, ...]  # whole counts whose cumulative sums are nearest to those of the means


@torch.inference_mode()
def calibrate(
    vit: Any,
    thresholds: Sequence[Thresholds],
    batches: Iterable[Tensor],
    progress: Callable[[str], None] = lambda note: None,
) -> Calibration:
    """The counts that the thresholds give on batches of images (B, C, H, W). All sequences are kept in memory.

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
    removed = [reduced_block(block, live, cut, prefix_tokens)[1] for live in lives]
    return torch.cat([torch.stack([one.merged, one.pruned], 1) for one in removed]).double()


def whole_counts(means: Sequence[tuple[float, float]], patches: int) -> list[Counts]:
    """Whole counts for each block's mean (merged, pruned). Cumulative sums are rounded, so errors do not add up.

    Args: patches: patch tokens entering block 0. At least one stays, and a block merges half of them at most.
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
