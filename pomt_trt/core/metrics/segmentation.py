"""Label maps from the logits of patches, and the accuracy of segmentation at the model's input size."""

from typing import Optional, Sequence, Tuple

import numpy as np

from pomt_trt.core.errors import InputError
from pomt_trt.core.metrics import classification
from pomt_trt.core.metrics.pair import Pair
from pomt_trt.core.metrics.resampling import interval, resampled
from pomt_trt.core.records import MIOU, PIXEL_AGREEMENT, AccuracyEstimate

IGNORED = 255  # in a label map: a pixel that has no class, or does not count
MOST_CLASSES = IGNORED  # a label map has one byte a pixel
UNLABELLED = "no pixel of the images is labelled. Give label maps in which some are not 255."
BAND_BYTES = 16 << 20  # of logits that are upsampled at a time


def centres(cells: int, pixels: int) -> np.ndarray:
    """(pixels,) positions of pixel centres in units of cells; 0 is the centre of the first cell."""
    return (np.arange(pixels) + 0.5) * (cells / pixels) - 0.5


def label_map(logits: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The most likely class of each pixel, uint8 (len(rows), len(columns)); the lower one on a tie.

    Logits are interpolated bilinearly between patch centres, and constant beyond the outermost ones, as torch's
    interpolate does without align_corners. Where a logit of the image is not finite, all pixels are IGNORED.

    Args:
        logits: (classes, patch rows, patch columns) of one image.
        rows, columns: positions of the pixels' centres in units of patches, see centres.
    """
    if not np.isfinite(logits).all():
        return np.full((len(rows), len(columns)), IGNORED, np.uint8)
    across = _interpolated(np.moveaxis(logits, 2, 0), columns)  # (W, classes, patch rows)
    across = np.ascontiguousarray(np.moveaxis(across, 0, 2).swapaxes(0, 1))  # (patch rows, classes, W)
    band = max(1, BAND_BYTES // across[0].nbytes)
    bands = [_interpolated(across, rows[start : start + band]).argmax(axis=1) for start in range(0, len(rows), band)]
    return np.concatenate(bands).astype(np.uint8)


def _interpolated(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Values (cells, ...) interpolated at positions (n,) in units of cells -> (n, ...)."""
    inside = np.clip(places, 0, len(values) - 1)
    below = np.floor(inside).astype(np.intp)
    share = (inside - below).astype(values.dtype).reshape((-1,) + (1,) * (values.ndim - 1))
    mixed = values[below] * (1 - share) + values[np.minimum(below + 1, len(values) - 1)] * share  # type: np.ndarray
    return mixed


def checked_labels(labels: np.ndarray, classes: int, path: str, size: Tuple[int, int]) -> np.ndarray:
    """The label map of an image, uint8 (height, width), each pixel a class or IGNORED.

    Args:
        size: (height, width) of its image.
    Raises: InputError that names the file and its first wrong value.
    """
    if labels.dtype != np.uint8 or labels.ndim != 2:
        raise InputError(
            "{} is no label map: it holds {} of shape {}. Save class numbers, one byte a pixel: 8-bit grey, or a "
            "palette.".format(path, labels.dtype, labels.shape)
        )
    if labels.shape != size:
        raise InputError(
            "{} has {} x {} pixels, its image {} x {}. A label map has the size of its image.".format(
                path, labels.shape[1], labels.shape[0], size[1], size[0]
            )
        )
    wrong = labels[(labels >= classes) & (labels != IGNORED)]
    if len(wrong):
        raise InputError(
            "{} holds the label {}, the model has {} classes: 0 to {}, and {} for pixels that do not count. Correct "
            "the file, or take the model that belongs to it.".format(path, wrong[0], classes, classes - 1, IGNORED)
        )
    return labels


def paired(kind: str, pair: Pair, size: Tuple[int, int], candidate_id: str, source: str) -> AccuracyEstimate:
    """The accuracy of a candidate and its drop against the unreduced model, with 95 % intervals.

    Mean intersection over union (mIoU) is over the classes that occur in the labels, of all images' pixels together.
    Pixel agreement is the share of pixels to which the unreduced model gives the same class. Intervals are bootstrap
    percentiles over images, with the same images drawn for both models. Where all images score alike, as R = 0 against
    itself does, an interval has no width.

    Args:
        kind: "miou" (labels decide) or "pixel-agreement" (the unreduced model decides; its own accuracy is then 1).
        pair: logits (images, classes, rows, columns), one row and column a patch, and label maps for miou.
        size: (H, W), the model's input, at which pixels are compared.
        source: what computed the logits, such as "host-fp32" or "engine".
    Raises: InputError where there are no images, no labelled pixel, or shapes do not match.
    """
    assert kind in (MIOU, PIXEL_AGREEMENT), kind
    pair.check("images, classes, rows, columns")
    labels = _checked_label_maps(pair, size) if kind == MIOU else None
    both = [_label_maps(logits, size) for logits in (pair.reference, pair.logits)]
    scores = _agreements(*both) if labels is None else _mean_ious(both, labels, pair.logits.shape[1])
    reference, candidate = scores  # (1 + RESAMPLES,) each: of all images, then of each resample
    return AccuracyEstimate(
        candidate_id=candidate_id,
        kind=kind,
        samples=len(pair.logits),
        accuracy=float(candidate[0]),
        accuracy_ci=interval(candidate[1:]),
        drop=float(reference[0] - candidate[0]),
        drop_ci=interval(reference[1:] - candidate[1:]),
        kl_divergence=_kl_divergence(pair.reference, pair.logits),
        source=source,
        constant_accuracy=None if labels is None else _constant_mean_iou(labels),
    )


def _checked_label_maps(pair: Pair, size: Tuple[int, int]) -> np.ndarray:
    labels = pair.labels
    if labels is None or labels.shape != (len(pair.logits),) + tuple(size):
        raise InputError(
            "label maps of shape {} do not match {} images of {} x {} pixels. Give one label map an image, or ask "
            "for agreement.".format(None if labels is None else labels.shape, len(pair.logits), size[1], size[0])
        )
    if (labels == IGNORED).all():
        raise InputError(UNLABELLED)
    return labels


def _label_maps(logits: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """(n, classes, rows, columns) -> uint8 (n, H, W)."""
    rows, columns = (centres(cells, pixels) for cells, pixels in zip(logits.shape[2:], size))
    return np.stack([label_map(one, rows, columns) for one in logits])


def _constant_mean_iou(label_maps: np.ndarray) -> Optional[float]:
    """mIoU if every pixel is given the most frequent class; None where there is only one class."""
    labelled = label_maps[label_maps != IGNORED]
    share = classification.largest_share(labelled)
    return None if share is None else share / len(np.unique(labelled))


def _agreements(reference: np.ndarray, candidate: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Shares of equal pixels, which is 1 for the reference itself; a pixel without a class agrees with nothing."""
    shares = ((reference == candidate) & (reference != IGNORED)).mean(axis=(1, 2))  # (n,)
    means = resampled(lambda weights: weights @ shares / len(shares), len(shares))
    return np.ones_like(means), means


def _mean_ious(both: Sequence[np.ndarray], label_maps: np.ndarray, classes: int) -> Tuple[np.ndarray, np.ndarray]:
    """mIoU of two models' label maps (n, H, W)."""
    counted = [counts(one, label_maps, classes) for one in both]

    def of_both(weights: np.ndarray) -> np.ndarray:
        return np.stack([_mean_ious_of(one, weights) for one in counted], axis=1)

    values = resampled(of_both, len(label_maps))  # (1 + resamples, 2)
    return values[:, 0], values[:, 1]


def mean_iou(counted: np.ndarray) -> float:
    """mIoU over the classes that are labelled, from `counts` of all images.

    Raises: InputError where no pixel is labelled.
    """
    if not counted[:, 0].any():
        raise InputError(UNLABELLED)
    return float(_mean_ious_of(counted, np.ones((1, len(counted))))[0])


def counts(predicted: np.ndarray, label_maps: np.ndarray, classes: int) -> np.ndarray:
    """(n, 3, classes): each image's pixels labelled as a class, predicted to be it, and both."""
    counted = np.zeros((len(predicted), 3, classes))
    for image, (guess, label) in enumerate(zip(predicted, label_maps)):
        guess, label = guess[label != IGNORED], label[label != IGNORED]
        for row, values in enumerate((label, guess[guess != IGNORED], label[label == guess])):
            counted[image, row] = np.bincount(values, minlength=classes)
    return counted


def _mean_ious_of(counted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(n, 3, classes), (m, n) -> (m,) mIoU of each weighting, over the classes that it has labels of."""
    labelled, predicted, right = np.moveaxis(np.tensordot(weights, counted, axes=1), 1, 0)  # (m, classes) each
    ratios = np.where(labelled > 0, right / np.maximum(labelled + predicted - right, 1), 0.0)
    means = ratios.sum(axis=1) / np.maximum((labelled > 0).sum(axis=1), 1)  # type: np.ndarray
    return means


def _kl_divergence(reference: np.ndarray, logits: np.ndarray) -> float:
    """Mean over images and patches; image by image, to save memory."""
    pairs = zip(np.moveaxis(reference, 1, -1), np.moveaxis(logits, 1, -1))
    return float(np.mean([classification.kl_divergence(*pair) for pair in pairs]))
