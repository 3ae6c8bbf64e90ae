"""Accuracy of candidates in PyTorch, each paired with the unreduced model on the same images.

A candidate's logits on the golden images are kept: its graph is compared with them on ONNX Runtime.
"""

import contextlib
import ctypes
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from pomt_trt.core.metrics import accuracy
from pomt_trt.core.metrics.pair import Pair
from pomt_trt.core.records import AccuracyEstimate, Candidate
from pomt_trt.host.data.image_batches import Images, normalised
from pomt_trt.host.graphs import comparison, export
from pomt_trt.host.models import token_reduction
from pomt_trt.host.reducers.common.contract import Tokens

LOGGER = logging.getLogger(__name__)
IMAGES_AT_ONCE = 16
CANDIDATES_AT_ONCE = 4  # in one pass over the images; an interrupted pass is lost
MOST_LOGITS_BYTES = 512 << 20  # of all candidates in a pass; logits of patches are large
KEPT_TOKENS_BYTES = 512 << 20  # of sequences that enter the first acting block, kept for later candidates


class Estimated(NamedTuple):
    """The result for one candidate."""

    candidate: Candidate
    estimate: AccuracyEstimate
    golden_logits: np.ndarray  # (g, ...), on the golden images
    golden_margins: np.ndarray  # (g,), smallest relative score margin


class Estimator:
    """Estimates candidates on one set of images, in one call or in many.

    The unreduced model runs once. The blocks before the first acting one run once for each batch and pass; once in all
    where their outputs fit into memory.
    """

    def __init__(self, plan: export.Plan, unreduced: Candidate, images: Images, kind: str) -> None:
        self._plan, self._images, self._kind = plan, images, kind
        self._reference = plan.reduced(unreduced.schedule)
        self._shape = (len(images), *self._reference.logits_shape)
        self._at_once = min(CANDIDATES_AT_ONCE, max(1, MOST_LOGITS_BYTES // (4 * math.prod(self._shape))))
        self._reference_logits: np.ndarray | None = None
        self._kept: dict[tuple[int, int], Tokens] = {}  # (block, number of the batch) -> tokens that enter it

    def estimate(
        self, candidates: Sequence[Candidate], progress: Callable[[str], None] = lambda note: None
    ) -> Iterator[Estimated]:
        """Each candidate's accuracy on all images. A low accuracy of the unreduced model gives a warning.

        Args:
            progress: called with a note after every batch.
        """
        if self._reference_logits is None:
            self._reference_logits = self._logits([self._reference], progress)[0][0]
        labels = self._images.labels.numpy() if self._images.labels is not None else None
        golden, look = slice(0, export.GOLDEN_IMAGES), self._images.preprocessing
        for start in range(0, len(candidates), self._at_once):
            chunk = candidates[start : start + self._at_once]
            modules = [self._plan.reduced(candidate.schedule) for candidate in chunk]
            logits, margins = self._logits(modules, progress)
            for candidate, own, margin in zip(chunk, logits, margins):
                paired = accuracy.paired(
                    self._kind, look, Pair(self._reference_logits, own, labels), candidate.id, "host-fp32"
                )
                doubt = accuracy.doubt(paired) if candidate.schedule.removed == 0 else None
                if doubt is not None:
                    LOGGER.warning("%s", doubt)
                yield Estimated(candidate, paired, own[golden], margin[golden])
            _give_back_memory()

    def _logits(
        self, modules: Sequence[token_reduction.ReducedViT], progress: Callable[[str], None]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Logits (modules, n, ...) and margins (modules, n) on all images."""
        count = len(self._images)
        logits = np.empty((len(modules), *self._shape), np.float32)
        margins = np.full((len(modules), count), np.inf, np.float32)
        shared = min(_first_acting(module) for module in modules)

        def compute(number: int) -> None:
            rows = slice(number * IMAGES_AT_ONCE, (number + 1) * IMAGES_AT_ONCE)
            with torch.inference_mode():  # each thread has a mode of its own
                batch = normalised(self._images.stored[rows], self._images.preprocessing)
                common = self._entering(shared, number, batch)
                for position, module in enumerate(modules):
                    tokens = module.run(common, shared, len(module.steps))
                    logits[position, rows] = module.finish(tokens).numpy()
                    if tokens.margin is not None:
                        margins[position, rows] = tokens.margin.numpy()

        numbers = range(-(-count // IMAGES_AT_ONCE))
        with _one_thread_a_batch() as pool:
            for done, _ in enumerate(pool.map(compute, numbers), start=1):
                progress(f"{min(done * IMAGES_AT_ONCE, count)} of {count} images, {len(modules)} candidates")
        return logits, margins

    def _entering(self, block: int, number: int, batch: torch.Tensor) -> Tokens:
        """The tokens of one batch that enter a block; kept where memory allows."""
        kept = self._kept.get((block, number))
        if kept is not None:
            return kept
        tokens = self._reference.run(self._reference.embed(batch), 0, block)
        if len(self._images) * tokens.x[0].nbytes <= KEPT_TOKENS_BYTES:
            self._kept[block, number] = tokens
        return tokens


@contextlib.contextmanager
def _one_thread_a_batch() -> Iterator[ThreadPoolExecutor]:
    """A pool that runs as many batches at a time as torch has threads, each on one thread.

    Why: small models spend more time distributing an operator over threads than computing it.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def _give_back_memory() -> None:
    """Returns freed memory to the system.

    glibc keeps memory that many threads have freed: 4 MB for each candidate of a DeiT-S, which engines need.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def verify(plan: export.Plan, done: Estimated, images: Images, folder: Path) -> float:
    """Compares a candidate's graph on ONNX Runtime with its golden logits; returns the largest relative difference.

    Raises: VerificationFailed if they disagree.
    """
    count = export.COMPARED_IMAGES
    batch = next(images.batches(count))
    path = folder / f"{done.candidate.id}.onnx"
    logits, margins = done.golden_logits[:count], done.golden_margins[:count]
    return comparison.compare(path, batch, logits, margins, plan.batch_size, plan.written)


def _first_acting(module: token_reduction.ReducedViT) -> int:
    """The first block with a step; the number of blocks where there is none."""
    return next((layer for layer, step in enumerate(module.steps) if step is not None), len(module.steps))
