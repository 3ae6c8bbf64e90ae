"""Accuracy of a bundle's engine itself, paired with its R = 0 engine and with what the host expected.

Makes an Evaluation from a bundle and a folder of images, on the machine that runs engines. Leaves out latency; without
labels, or where the weights are random, it speaks of agreement with R = 0, not of accuracy.
"""

import logging
from typing import Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from pomt_trt.core import agreement, dataset
from pomt_trt.core.bundle import open_bundle
from pomt_trt.core.dataset import Item
from pomt_trt.core.errors import InputError
from pomt_trt.core.records import AccuracyEstimate, Bundle, Engine, Row
from pomt_trt.device import preprocess
from pomt_trt.device.classifier import Classifier
from pomt_trt.device.engine import open_engine

logger = logging.getLogger(__name__)
CHUNK = 32  # images decoded at a time; both engines see the same pixels

ProgressT = Callable[[int, int], None]  # images done, images in all


class Evaluation(NamedTuple):
    """What the engines do on real images, beside what the host had estimated for them."""

    engine: AccuracyEstimate  # the chosen engine, paired with the R = 0 engine on the same images; source engine
    unreduced: AccuracyEstimate  # the R = 0 engine itself
    host: Row  # the selection's row of the chosen candidate: the host's estimate
    host_kind: str  # top1 or agreement, what the host's row speaks of
    host_expected: Optional[bool]  # the host's accuracy is within the engine's interval; None where kinds differ
    skipped: Tuple[str, ...]  # images that could not be read


def evaluate(
    bundle_folder: str,
    data: str,
    samples: int,
    seed: int,
    threads: Optional[int] = None,
    progress: Optional[ProgressT] = None,
) -> Evaluation:
    """Runs the bundle's two engines on the same images and compares their predictions.

    An image that cannot be read is skipped with a warning, and listed.

    Args:
        data: folder or CSV file of images, see core.dataset.find.
        samples: at most so many images, drawn with `seed`.
        threads: of the CPU; None: as many as the engines were built for.
        progress: called with the images done and the images in all.

    Raises: InputError where no image can be used, or labels do not match the head; CorruptArtifact; WrongDevice.
    """
    bundle = open_bundle(bundle_folder)
    found = dataset.sample(dataset.find(data, bundle.model.classes, bundle.model.labels), samples, seed)
    with _classifier(bundle, bundle.engine, bundle_folder, threads) as reduced:
        with _classifier(bundle, bundle.unreduced_engine, bundle_folder, threads) as unreduced:
            chunks = list(_logits(found.items, reduced, unreduced, progress or _silent))
    if not chunks:
        raise InputError("none of the {} images in {} can be read. Replace them.".format(len(found.items), data))
    items = [item for used, _, _ in chunks for item in used]
    skipped = sorted({item.path for item in found.items} - {item.path for item in items})
    labels = None
    if found.kind == "labelled" and not bundle.model.random_weights:
        labels = np.array([item.label for item in items])
    logits = np.concatenate([part for _, part, _ in chunks])  # (n, classes)
    unreduced_logits = np.concatenate([part for _, _, part in chunks])  # (n, classes)
    return _evaluation(bundle, unreduced_logits, logits, labels, skipped)


def _evaluation(
    bundle: Bundle,
    unreduced_logits: np.ndarray,
    logits: np.ndarray,
    labels: Optional[np.ndarray],
    skipped: Sequence[str],
) -> Evaluation:
    kind = agreement.AGREEMENT if labels is None else agreement.TOP1
    engine = agreement.paired(kind, unreduced_logits, logits, labels, bundle.candidate.id, "engine")
    unreduced = agreement.paired(kind, unreduced_logits, unreduced_logits, labels, bundle.unreduced.id, "engine")
    host, host_kind = bundle.selection.chosen, bundle.selection.accuracy_kind
    expected = None
    if host_kind == kind and host.accuracy is not None:
        expected = engine.accuracy_ci[0] <= host.accuracy <= engine.accuracy_ci[1]
    return Evaluation(engine, unreduced, host, host_kind, expected, tuple(skipped))


def _classifier(bundle: Bundle, engine: Engine, folder: str, threads: Optional[int]) -> Classifier:
    return Classifier(bundle, open_engine(engine, folder, threads=threads, waiting="passive"))


def _logits(
    items: Sequence[Item], reduced: Classifier, unreduced: Classifier, progress: ProgressT
) -> Iterator[Tuple[List[Item], np.ndarray, np.ndarray]]:
    """(items, logits (n, classes), R = 0's logits (n, classes)) of the readable images, chunk by chunk."""
    size = max(CHUNK // reduced.batch_size, 1) * reduced.batch_size  # whole batches: only the last is padded
    for start in range(0, len(items), size):
        chunk = _readable(items[start : start + size], reduced)
        if chunk:
            batch = reduced.normalised([pixels for _, pixels in chunk])
            yield [item for item, _ in chunk], reduced.logits(batch), unreduced.logits(batch)
        progress(min(start + size, len(items)), len(items))


def _readable(items: Sequence[Item], classifier: Classifier) -> List[Tuple[Item, np.ndarray]]:
    pairs = []
    for item in items:
        try:
            pairs.append((item, preprocess.read(item.path, classifier.bundle.model.preprocessing)))
        except InputError as error:
            logger.warning("skipped: %s", error)
    return pairs


def _silent(done: int, total: int) -> None:
    pass
