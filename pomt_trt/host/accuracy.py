"""Accuracy of candidates, each paired with the unreduced model on the same images.

Makes AccuracyEstimates, and each candidate's logits on the golden images, with which its graph is compared on ONNX
Runtime. On the workstation. Leaves out latency, and which candidate would be worth having.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from pomt_trt.core import agreement
from pomt_trt.core.records import AccuracyEstimate, Candidate
from pomt_trt.host import export, surgery
from pomt_trt.host.data import Images, normalised
from pomt_trt.host.reducers import Site

IMAGES_AT_ONCE = 32
LOGITS_AT_ONCE_BYTES = 256 << 20  # of a chunk of candidates; more candidates are done in several passes


class Estimated(NamedTuple):
    """What one candidate's stage finds."""

    candidate: Candidate
    estimate: AccuracyEstimate
    golden_logits: np.ndarray  # (g, classes), on the golden images
    golden_margins: np.ndarray  # (g,), smallest relative score margin at a cut


def kind_of(images: Images, random_weights: bool) -> str:
    """top1 where labels and trained weights make that mean something, else agreement with the unreduced model."""
    return agreement.TOP1 if images.labels is not None and not random_weights else agreement.AGREEMENT


def estimate(
    plan: export.Plan,
    unreduced: Candidate,
    candidates: Sequence[Candidate],
    images: Images,
    kind: str,
    progress: Callable[[str], None] = lambda note: None,
) -> Iterator[Estimated]:
    """Estimates each candidate on all images.

    The blocks before the first one that acts are computed once a batch and shared by all candidates.
    """
    reference = _module(plan, unreduced)
    per_candidate = len(images) * 4 * reference.vit.num_classes
    size = max(1, min(len(candidates) or 1, LOGITS_AT_ONCE_BYTES // max(1, per_candidate)))
    labels = images.labels.numpy() if images.labels is not None else None
    for start in range(0, len(candidates), size):
        chunk = candidates[start : start + size]
        modules = [_module(plan, candidate) for candidate in chunk]
        logits, margins = _logits(reference, modules, images, progress)
        for position, candidate in enumerate(chunk, start=1):
            found = agreement.paired(kind, logits[0], logits[position], labels, candidate.id, "host-fp32")
            golden = slice(0, export.GOLDEN_IMAGES)
            yield Estimated(candidate, found, logits[position][golden], margins[position][golden])


def verify(plan: export.Plan, done: Estimated, images: Images, folder: Path) -> float:
    """Compares a candidate's graph on ONNX Runtime with its golden logits; returns the largest relative difference.

    Raises: VerificationFailed if they disagree.
    """
    count = export.COMPARED_IMAGES
    batch = normalised(images.pixels(count), images.preprocessing)
    path = folder / f"{done.candidate.id}.onnx"
    return export.compare(path, batch, done.golden_logits[:count], done.golden_margins[:count], plan.batch_size)


def _module(plan: export.Plan, candidate: Candidate) -> surgery.ReducedViT:
    return surgery.with_schedule(plan.module, plan.method, candidate.schedule, layer=plan.layer, seed=plan.seed)


def _logits(
    reference: surgery.ReducedViT,
    modules: Sequence[surgery.ReducedViT],
    images: Images,
    progress: Callable[[str], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (1 + modules, n, classes), the reference's first, and margins (1 + modules, n)."""
    everyone = [reference, *modules]
    logits = np.empty((len(everyone), len(images), reference.vit.num_classes), np.float32)
    margins = np.full((len(everyone), len(images)), np.inf, np.float32)
    shared = min((_first_acting(module) for module in modules), default=0)
    done = 0
    with torch.inference_mode():
        for batch in images.batches(IMAGES_AT_ONCE):
            rows = slice(done, done + len(batch))
            common = None if shared < 0 else reference.run(reference.embed(batch), 0, shared)
            for position, module in enumerate(everyone):
                start = module.embed(batch) if common is None else common
                tokens = module.run(start, max(shared, 0), len(module.steps))
                logits[position, rows] = module.finish(tokens).numpy()
                if tokens.margin is not None:
                    margins[position, rows] = tokens.margin.numpy()
            done += len(batch)
            progress(f"{done} of {len(images)} images, {len(modules)} candidates")
    return logits, margins


def _first_acting(module: surgery.ReducedViT) -> int:
    """The first block that is not timm's own; -1 where tokens are removed before block 0, all blocks where none are."""
    for layer, step in enumerate(module.steps):
        if step is not None:
            return -1 if step.site is Site.INPUT else layer
    return len(module.steps)
