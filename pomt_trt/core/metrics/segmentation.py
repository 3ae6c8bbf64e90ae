"""A class for each pixel: label maps from the logits of patches, and how good they are beside the unreduced model's.

Makes label maps, and an AccuracyEstimate from two arrays of logits, on any machine; numpy alone. Leaves out files and
how pictures are cropped: accuracy is that at the model's own input size.
"""

from typing import Optional, Sequence, Tuple

import numpy as np

from pomt_trt.core.errors import InputError
from pomt_trt.core.metrics import classification
from pomt_trt.core.records import MIOU, PIXEL_AGREEMENT, AccuracyEstimate, Interval

IGNORED = 255  # in a label map: no class is known, or asked for
MOST_CLASSES = IGNORED  # a label map has one byte a pixel
RESAMPLES = 2000  # of the bootstrap: ends of an interval are then within a few per cent of its width
UNLABELLED = "no pixel of the images is labelled. Give label maps in which some are not 255."
BAND_BYTES = 16 << 20  # of logits that are upsampled at a time


def centres(cells: int, pixels: int) -> np.ndarray:
    """(pixels,) where the centres of pixels lie among those of as many cells: 0 is the first cell's centre."""
    return (np.arange(pixels) + 0.5) * (cells / pixels) - 0.5


def label_map(logits: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The likeliest class of each pixel, uint8 (len(rows), len(columns)); the lower on a tie.

    Logits are interpolated bilinearly between the centres of patches, and constant beyond the outermost: what torch's
    interpolate does without align_corners. Where one of the image's logits is not finite, all pixels are IGNORED.

    Args:
        logits: (classes, patch rows, patch columns) of one image.
        rows, columns: where the pixels' centres lie, counted in patches, see centres.
    """
    if not np.isfinite(logits).all():
        return np.full((len(rows), len(columns)), IGNORED, np.uint8)
    across = _interpolated(np.moveaxis(logits, 2, 0), columns)  # (W, classes, patch rows)
    across = np.ascontiguousarray(np.moveaxis(across, 0, 2).swapaxes(0, 1))  # (patch rows, classes, W)
    band = max(1, BAND_BYTES // across[0].nbytes)
    bands = [_interpolated(across, rows[start : start + band]).argmax(axis=1) for start in range(0, len(rows), band)]
    return np.concatenate(bands).astype(np.uint8)


def _interpolated(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Values (cells, ...) at places (n,) between the cells' centres -> (n, ...)."""
    inside = np.clip(places, 0, len(values) - 1)
    below = np.floor(inside).astype(np.intp)
    share = (inside - below).astype(values.dtype).reshape((-1,) + (1,) * (values.ndim - 1))
    mixed = values[below] * (1 - share) + values[np.minimum(below + 1, len(values) - 1)] * share  # type: np.ndarray
    return mixed


def checked_labels(labels: np.ndarray, classes: int, path: str, size: Tuple[int, int]) -> np.ndarray:
    """The pixels of a label file, uint8 (height, width), each a class or IGNORED.

    Args:
        size: (height, width) of its image.
    Raises: InputError, with the file and the first value that cannot be.
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


def paired(
    kind: str,
    reference_logits: np.ndarray,
    logits: np.ndarray,
    label_maps: Optional[np.ndarray],
    size: Tuple[int, int],
    candidate_id: str,
    source: str,
) -> AccuracyEstimate:
    """The accuracy of `logits`, and its drop against the unreduced model on the same images, with 95 % intervals.

    Mean intersection over union is over the classes that occur in the labels, of all images' pixels together. Pixel
    agreement is the share of pixels that the unreduced model gives the same class. Intervals come from resampling
    images, both models' at once; where all images are alike, as with R = 0 against itself, they have no width.

    Args:
        kind: "miou" (labels decide) or "pixel-agreement" (the unreduced model decides; its own accuracy is then 1).
        reference_logits: (n, classes, rows, columns) of the unreduced model, one row and column a patch.
        logits: (n, classes, rows, columns) of the candidate.
        label_maps: (n, H, W) uint8 for miou, None for agreement.
        size: (H, W), the model's input, at which pixels are compared.

    Raises: InputError where there are no images, no labelled pixel, or shapes do not match.
    """
    _check(kind, reference_logits, logits, label_maps, size)
    both = [_label_maps(one, size) for one in (reference_logits, logits)]
    if kind == PIXEL_AGREEMENT:
        scores = _agreements(*both)
    else:
        assert label_maps is not None
        scores = _mean_ious(both, label_maps, logits.shape[1])
    reference, this = scores  # (1 + RESAMPLES,) each: of all images, then of each resample
    return AccuracyEstimate(
        candidate_id=candidate_id,
        kind=kind,
        samples=len(logits),
        accuracy=float(this[0]),
        accuracy_ci=_interval(this[1:]),
        drop=float(reference[0] - this[0]),
        drop_ci=_interval(reference[1:] - this[1:]),
        kl_divergence=_kl_divergence(reference_logits, logits),
        source=source,
        constant_accuracy=None if label_maps is None or kind != MIOU else _constant_mean_iou(label_maps),
    )


def _check(
    kind: str, reference: np.ndarray, logits: np.ndarray, label_maps: Optional[np.ndarray], size: Tuple[int, int]
) -> None:
    assert kind in (MIOU, PIXEL_AGREEMENT), kind
    if reference.ndim != 4 or reference.shape != logits.shape:
        raise InputError(
            "logits of shape {} cannot be paired with the unreduced model's {}: both must be (images, classes, rows, "
            "columns) of the same images. Compute both anew from the same data.".format(logits.shape, reference.shape)
        )
    if not len(logits):
        raise InputError("there are no images to estimate an accuracy from. Give at least one.")
    if kind == MIOU:
        if label_maps is None or label_maps.shape != (len(logits),) + tuple(size):
            raise InputError(
                "label maps of shape {} do not match {} images of {} x {} pixels. Give one label map an image, or ask "
                "for agreement.".format(None if label_maps is None else label_maps.shape, len(logits), size[1], size[0])
            )
        if (label_maps == IGNORED).all():
            raise InputError(UNLABELLED)


def _label_maps(logits: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """(n, classes, rows, columns) -> uint8 (n, H, W)."""
    rows, columns = (centres(cells, pixels) for cells, pixels in zip(logits.shape[2:], size))
    return np.stack([label_map(one, rows, columns) for one in logits])


def _constant_mean_iou(label_maps: np.ndarray) -> Optional[float]:
    """Mean intersection over union where the commonest class answers for all pixels; None where there is one class."""
    labelled = label_maps[label_maps != IGNORED]
    share = classification.largest_share(labelled)
    return None if share is None else share / len(np.unique(labelled))


def _agreements(reference: np.ndarray, this: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Shares of equal pixels, the reference's with itself being 1; a pixel without a class agrees with nothing."""
    shares = ((reference == this) & (reference != IGNORED)).mean(axis=(1, 2))  # (n,)
    found = _weights(len(shares)) @ shares / len(shares)
    return np.ones_like(found), found


def _mean_ious(both: Sequence[np.ndarray], label_maps: np.ndarray, classes: int) -> Tuple[np.ndarray, np.ndarray]:
    """Mean intersection over union of two models' label maps (n, H, W)."""
    weights = _weights(len(label_maps))
    reference, this = (_mean_ious_of(counts(one, label_maps, classes), weights) for one in both)
    return reference, this


def mean_iou(counted: np.ndarray) -> float:
    """Mean intersection over union, over the classes that are labelled, from `counts` of all images.

    Raises: InputError where no pixel is labelled.
    """
    if not counted[:, 0].any():
        raise InputError(UNLABELLED)
    return float(_mean_ious_of(counted, np.ones((1, len(counted))))[0])


def counts(found: np.ndarray, label_maps: np.ndarray, classes: int) -> np.ndarray:
    """(n, 3, classes): each image's labelled pixels of a class, those found to be of it, and those that are both."""
    made = np.zeros((len(found), 3, classes))
    for image, (guess, label) in enumerate(zip(found, label_maps)):
        guess, label = guess[label != IGNORED], label[label != IGNORED]
        for row, values in enumerate((label, guess[guess != IGNORED], label[label == guess])):
            made[image, row] = np.bincount(values, minlength=classes)
    return made


def _mean_ious_of(counted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(n, 3, classes), (m, n) -> (m,) the mean over the classes that are labelled in what is weighted."""
    labelled, found, right = np.moveaxis(np.tensordot(weights, counted, axes=1), 1, 0)  # (m, classes) each
    ratios = np.where(labelled > 0, right / np.maximum(labelled + found - right, 1), 0.0)
    means = ratios.sum(axis=1) / np.maximum((labelled > 0).sum(axis=1), 1)  # type: np.ndarray
    return means


def _weights(images: int) -> np.ndarray:
    """(1 + RESAMPLES, images): every image once, then how often each is drawn in each resample."""
    random = np.random.RandomState(0)  # its stream is frozen (NEP 19)
    drawn = random.multinomial(images, np.full(images, 1 / images), size=RESAMPLES)
    return np.concatenate([np.ones((1, images)), drawn])


def _interval(values: np.ndarray) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _kl_divergence(reference: np.ndarray, logits: np.ndarray) -> float:
    """Mean over images and patches, image by image, to spare memory."""
    pairs = zip(np.moveaxis(reference, 1, -1), np.moveaxis(logits, 1, -1))
    return float(np.mean([classification.kl_divergence(*pair) for pair in pairs]))
