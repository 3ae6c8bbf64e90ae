"""The accuracy of a bundle's engine on a folder of images, beside the R = 0 engine and the host's estimate.

Which kind of accuracy: core/metrics/accuracy. Without labels, or with random weights, it is the agreement with R = 0.
"""

import logging
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from pomt_trt.core.data import dataset
from pomt_trt.core.data.class_order import say_classes
from pomt_trt.core.data.dataset import Item
from pomt_trt.core.data.images import open_label_map
from pomt_trt.core.errors import InputError
from pomt_trt.core.metrics import accuracy
from pomt_trt.core.metrics.pair import Pair
from pomt_trt.core.records import (
    AccuracyEstimate,
    Bundle,
    Candidate,
    ClassOrder,
    Engine,
    Row,
    Selection,
)
from pomt_trt.core.storage.bundle import open_bundle
from pomt_trt.device.deploy import deployed, preprocess
from pomt_trt.device.deploy.predictor import Predictor

logger = logging.getLogger(__name__)
CHUNK = 32  # images that are decoded at a time, for both engines

ProgressT = Callable[[int, int], None]  # images done, total images


class ImageSource(NamedTuple):
    """The images to evaluate on."""

    data: str  # folder or CSV file, see core.data.dataset.find_for
    samples: int  # at most so many images
    seed: int  # of the random sample
    class_order: Optional[str] = None  # natural, string or a file of class names; None: as at the compile, or by names


class Picture(NamedTuple):
    """An image that was read."""

    item: Item
    pixels: np.ndarray  # (H, W, C) uint8
    label: Any  # class, label map (H, W) uint8, or None


class Evaluation(NamedTuple):
    """Results of both engines on the images, and the host's estimate."""

    engine: AccuracyEstimate  # of the chosen engine, paired with the R = 0 engine on the same images
    unreduced: AccuracyEstimate  # of the R = 0 engine
    host: Row  # the host's estimate: the selection's row of the chosen candidate
    host_kind: str  # kind of accuracy in that row, see core/metrics/accuracy
    host_expected: Optional[bool]  # the host's accuracy lies within the engine's interval; None: not comparable
    skipped: Tuple[str, ...]  # images that could not be read
    class_order: Optional[ClassOrder] = None  # how class names became labels


def evaluate(
    bundle_folder: str, source: ImageSource, threads: Optional[int] = None, progress: Optional[ProgressT] = None
) -> Evaluation:
    """Runs both engines of a bundle on the same images and compares their predictions.

    An image that cannot be read is skipped with a warning, and listed.

    Args:
        threads: CPU threads; None: as many as the engines were built for.

    Raises: InputError if no image can be used, or labels do not match the head; CorruptArtifact; WrongDevice.
    """
    bundle = open_bundle(bundle_folder)
    images = dataset.find_for(source.data, bundle.model, source.class_order, bundle.class_order)
    images = dataset.sample(images, source.samples, source.seed)
    say_classes(images.class_order, bundle.model.labels)
    with _predictor(bundle, bundle.engine, bundle_folder, threads) as reduced:
        with _predictor(bundle, bundle.unreduced_engine, bundle_folder, threads) as unreduced:
            chunks = list(_logits(images.items, reduced, unreduced, progress or (lambda done, total: None)))
    if not chunks:
        message = "none of the {} images in {} can be read. Replace them."
        raise InputError(message.format(len(images.items), source.data))
    used = [picture for chunk, _, _ in chunks for picture in chunk]
    skipped = sorted({item.path for item in images.items} - {picture.item.path for picture in used})
    labels = np.array([picture.label for picture in used]) if images.kind == "labelled" else None
    logits = np.concatenate([part for _, part, _ in chunks])  # (n, ...)
    unreduced_logits = np.concatenate([part for _, _, part in chunks])  # (n, ...)
    evaluation = _evaluation(bundle, unreduced_logits, logits, labels, skipped)
    return evaluation._replace(class_order=images.class_order)


def _evaluation(
    bundle: Bundle,
    unreduced_logits: np.ndarray,
    logits: np.ndarray,
    labels: Optional[np.ndarray],
    skipped: Sequence[str],
) -> Evaluation:
    kind, look = accuracy.kind_of(bundle.model, labels is not None), bundle.model.preprocessing

    def paired(own_logits: np.ndarray, candidate: Candidate) -> AccuracyEstimate:
        return accuracy.paired(kind, look, Pair(unreduced_logits, own_logits, labels), candidate.id, "engine")

    engine, unreduced = paired(logits, bundle.candidate), paired(unreduced_logits, bundle.unreduced)
    doubt = accuracy.doubt(unreduced)
    if doubt is not None:
        logger.warning("%s", doubt)
    host, host_kind = bundle.selection.chosen, bundle.selection.accuracy_kind
    expected = None
    if host.accuracy is not None and _comparable(engine, bundle.selection):
        expected = engine.accuracy_ci[0] <= host.accuracy <= engine.accuracy_ci[1]
    return Evaluation(engine, unreduced, host, host_kind, expected, tuple(skipped))


def _comparable(engine: AccuracyEstimate, selection: Selection) -> bool:
    """Whether host and engine estimate the same quantity.

    mIoU and the accuracy of nearest neighbours depend on which images there are.
    """
    if engine.kind != selection.accuracy_kind:
        return False
    return not accuracy.depends_on_number(engine.kind) or engine.samples == selection.accuracy_images


def _predictor(bundle: Bundle, engine: Engine, folder: str, threads: Optional[int]) -> Predictor:
    return deployed.predictor_of(bundle, deployed.open_checked(bundle, engine, folder, threads, "passive"))


def _logits(
    items: Sequence[Item], reduced: Predictor, unreduced: Predictor, progress: ProgressT
) -> Iterator[Tuple[List[Picture], np.ndarray, np.ndarray]]:
    """(pictures, logits (n, ...), R = 0's logits (n, ...)) of the readable images, chunk by chunk."""
    size = max(CHUNK // reduced.batch_size, 1) * reduced.batch_size  # whole batches; only the last is padded
    for start in range(0, len(items), size):
        chunk = _readable(items[start : start + size], reduced.bundle)
        if chunk:
            batch = reduced.normalised([picture.pixels for picture in chunk])
            yield chunk, reduced.logits(batch), unreduced.logits(batch)
        progress(min(start + size, len(items)), len(items))


def _readable(items: Sequence[Item], bundle: Bundle) -> List[Picture]:
    """Reads images and labels. An unreadable image is skipped; a wrong label map raises InputError."""
    look, pictures = bundle.model.preprocessing, []
    for item in items:
        try:
            pixels, size = preprocess.read_sized(item.path, look)
        except InputError as error:
            logger.warning("skipped: %s", error)
            continue
        label: Any = item.label
        if item.label_map is not None:
            label = preprocess.crop_labels(open_label_map(item.label_map, size, bundle.model.classes), look)
        pictures.append(Picture(item, pixels, label))
    return pictures
