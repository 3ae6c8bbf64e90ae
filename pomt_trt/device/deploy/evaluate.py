"""Accuracy of a bundle's engine itself, paired with its R = 0 engine and with what the host expected.

Makes an Evaluation from a bundle and a folder of images, on the machine that runs engines: top-1, or in segmentation
mIoU at the model's input size. Leaves out latency; without labels, or where the weights are random, it speaks of
agreement with R = 0, not of accuracy.
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
    MIOU,
    AccuracyEstimate,
    Bundle,
    Candidate,
    ClassOrder,
    Engine,
    Preprocessing,
    Row,
    Selection,
)
from pomt_trt.core.storage.bundle import open_bundle
from pomt_trt.device.deploy import deployed, preprocess
from pomt_trt.device.deploy.predictor import Predictor

logger = logging.getLogger(__name__)
CHUNK = 32  # images decoded at a time; both engines see the same pixels

ProgressT = Callable[[int, int], None]  # images done, images in all


class Picture(NamedTuple):
    """An image that was read."""

    item: Item
    pixels: np.ndarray  # (H, W, C) uint8
    label: Any  # class, label map (H, W) uint8, or None


class Evaluation(NamedTuple):
    """What the engines do on real images, beside what the host had estimated for them."""

    engine: AccuracyEstimate  # the chosen engine, paired with the R = 0 engine on the same images; source engine
    unreduced: AccuracyEstimate  # the R = 0 engine itself
    host: Row  # the selection's row of the chosen candidate: the host's estimate
    host_kind: str  # of accuracy, see core/metrics/accuracy: what the host's row speaks of
    host_expected: Optional[bool]  # the host's accuracy is within the engine's interval; None where that says nothing
    skipped: Tuple[str, ...]  # images that could not be read
    class_order: Optional[ClassOrder] = None  # how names of classes in the data became labels


def evaluate(
    bundle_folder: str,
    data: str,
    samples: int,
    seed: int,
    threads: Optional[int] = None,
    progress: Optional[ProgressT] = None,
    class_order: Optional[str] = None,
) -> Evaluation:
    """Runs the bundle's two engines on the same images and compares their predictions; says how classes were read.

    An image that cannot be read is skipped with a warning, and listed.

    Args:
        data: folder or CSV file of images, see core.dataset.find_for.
        samples: at most so many images, drawn with `seed`.
        threads: of the CPU; None: as many as the engines were built for.
        progress: called with the images done and the images in all.
        class_order: natural, string or a file of class names; None: as at the compile, or as the names say.

    Raises: InputError where no image can be used, or labels do not match the head; CorruptArtifact; WrongDevice.
    """
    bundle = open_bundle(bundle_folder)
    found = dataset.sample(dataset.find_for(data, bundle.model, class_order, bundle.class_order), samples, seed)
    say_classes(found.class_order, bundle.model.labels)
    with _predictor(bundle, bundle.engine, bundle_folder, threads) as reduced:
        with _predictor(bundle, bundle.unreduced_engine, bundle_folder, threads) as unreduced:
            chunks = list(_logits(found.items, reduced, unreduced, progress or _silent))
    if not chunks:
        raise InputError("none of the {} images in {} can be read. Replace them.".format(len(found.items), data))
    used = [picture for chunk, _, _ in chunks for picture in chunk]
    skipped = sorted({item.path for item in found.items} - {picture.item.path for picture in used})
    labels = np.array([picture.label for picture in used]) if found.kind == "labelled" else None
    logits = np.concatenate([part for _, part, _ in chunks])  # (n, ...)
    unreduced_logits = np.concatenate([part for _, _, part in chunks])  # (n, ...)
    evaluation = _evaluation(bundle, unreduced_logits, logits, labels, skipped)
    return evaluation._replace(class_order=found.class_order)


def _evaluation(
    bundle: Bundle,
    unreduced_logits: np.ndarray,
    logits: np.ndarray,
    labels: Optional[np.ndarray],
    skipped: Sequence[str],
) -> Evaluation:
    kind, look = accuracy.kind_of(bundle.model, labels is not None), bundle.model.preprocessing

    def paired(found: np.ndarray, candidate: Candidate) -> AccuracyEstimate:
        return accuracy.paired(kind, look, Pair(unreduced_logits, found, labels), candidate.id, "engine")

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
    """Whether host and engine estimate the same number.

    The mIoU of few images is not that of many with more noise: it is a ratio, over the classes that happen to occur.
    """
    if engine.kind != selection.accuracy_kind:
        return False
    return engine.kind != MIOU or engine.samples == selection.accuracy_images


def _predictor(bundle: Bundle, engine: Engine, folder: str, threads: Optional[int]) -> Predictor:
    return deployed.of(bundle, deployed.open_one(bundle, engine, folder, threads, "passive"))


def _logits(
    items: Sequence[Item], reduced: Predictor, unreduced: Predictor, progress: ProgressT
) -> Iterator[Tuple[List[Picture], np.ndarray, np.ndarray]]:
    """(pictures, logits (n, ...), R = 0's logits (n, ...)) of the readable images, chunk by chunk."""
    size = max(CHUNK // reduced.batch_size, 1) * reduced.batch_size  # whole batches: only the last is padded
    for start in range(0, len(items), size):
        chunk = _readable(items[start : start + size], reduced.bundle)
        if chunk:
            batch = reduced.normalised([picture.pixels for picture in chunk])
            yield chunk, reduced.logits(batch), unreduced.logits(batch)
        progress(min(start + size, len(items)), len(items))


def _readable(items: Sequence[Item], bundle: Bundle) -> List[Picture]:
    """Images that cannot be read are skipped; labels that cannot be right stop everything."""
    look, pictures = bundle.model.preprocessing, []
    for item in items:
        try:
            pixels, size = preprocess.read_sized(item.path, look)
        except InputError as error:
            logger.warning("skipped: %s", error)
            continue
        label = item.label if item.label_map is None else _labels(item.label_map, size, bundle.model.classes, look)
        pictures.append(Picture(item, pixels, label))
    return pictures


def _labels(path: str, size: Tuple[int, int], classes: int, look: Preprocessing) -> np.ndarray:
    """The label map of an image of that (width, height), cropped as the image."""
    return preprocess.crop_labels(open_label_map(path, size, classes), look)


def _silent(done: int, total: int) -> None:
    pass
