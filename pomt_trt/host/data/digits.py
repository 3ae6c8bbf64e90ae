"""Handwritten digits on a black canvas: data for the bundled `digits` model.

The 8x8 samples come with scikit-learn, so nothing is downloaded.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pomt_trt.core.errors import MissingDependency

CANVAS_PX = 28
DIGIT_PX = 14
SAMPLE_MAXIMUM = 16  # grey levels of a sample are 0..16; Source: sklearn.datasets.load_digits
SPLIT_SEED = 0  # of the split that the shipped weights were trained on

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


def pictures(seed: int = 0, *, held_out: bool) -> tuple[Images, Labels]:
    """One side of the split, each sample at a random place. Classes take turns: 0, 1, ... 9, 0, ...

    Args:
        seed: of the places. Samples and order are always the same. For training, use a new one for each epoch.
        held_out: the quarter of the samples that nothing was trained on, instead of the others.
    Returns:
        images (n, 28, 28) uint8 grey, 0 is black; labels (n,) int64, 0..9.
    Raises:
        MissingDependency: scikit-learn is not installed.
    """
    digits, labels = samples(held_out=held_out)
    # RandomState: its stream is the same under every numpy (NEP 19).
    places = np.random.RandomState(seed).randint(CANVAS_PX - DIGIT_PX + 1, size=(len(digits), 2))
    images = np.zeros((len(digits), CANVAS_PX, CANVAS_PX), np.uint8)
    for image, sample, (top, left) in zip(images, digits, places, strict=True):
        image[top : top + DIGIT_PX, left : left + DIGIT_PX] = sample
    return images, labels


def samples(*, held_out: bool) -> tuple[Images, Labels]:
    """One side of the split, without a canvas: images (n, 14, 14) uint8 grey; labels (n,) int64, classes in turns.

    Raises: MissingDependency if scikit-learn is not installed.
    """
    images, labels = _load()
    chosen = _split(labels, held_out=held_out)
    return np.stack([_enlarge(sample) for sample in images[chosen]]), labels[chosen]


def _load() -> tuple[NDArray[Any], Labels]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingDependency(
            "the digits are part of scikit-learn, which is not installed here; "
            "install with: pip install 'pomt-trt[host]'"
        ) from error
    digits = load_digits()
    return digits.images, digits.target.astype(np.int64)  # (n, 8, 8), (n,)


def _split(labels: Labels, *, held_out: bool) -> NDArray[np.intp]:
    """Sample numbers of one side of the split: of every class, a quarter (rounded) is held out."""
    random = np.random.RandomState(SPLIT_SEED)
    rank = np.empty(len(labels), np.intp)  # place of a sample in its shuffled class
    quarter = np.empty(len(labels), np.intp)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rank[members] = random.permutation(len(members))
        quarter[members] = round(len(members) / 4)
    order = np.lexsort((labels, rank))  # classes take turns, so the first ten show every digit
    chosen: NDArray[np.intp] = order[(rank < quarter)[order] == held_out]
    return chosen


def _enlarge(sample: NDArray[Any]) -> Images:
    """(8, 8) of 0..16 -> (14, 14) of 0..255; bilinear, since bicubic would ring into the background."""
    grey = np.rint(sample * (255 / SAMPLE_MAXIMUM)).astype(np.uint8)
    return np.asarray(Image.fromarray(grey).resize((DIGIT_PX, DIGIT_PX), Image.Resampling.BILINEAR))
