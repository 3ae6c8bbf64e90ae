"""Several handwritten digits on one black canvas, each pixel labelled: data for the bundled `scenes` model.

The digits and their split are those of digits.py: a held-out scene shows held-out digits alone.
"""

import numpy as np
from numpy.typing import NDArray

from pomt_trt.host.data import digits
from pomt_trt.host.data.digits import CANVAS_PX, DIGIT_PX

CLASSES = ("background", *map(str, range(10)))  # a pixel's label is a place in this list
MOST_DIGITS = 4
TRIES = 30  # random places to try before a digit is left out
INK = 64  # grey level, of 255, from which a pixel belongs to its digit

Images = NDArray[np.uint8]
LabelMaps = NDArray[np.uint8]


def pictures(seed: int = 0, *, held_out: bool) -> tuple[Images, LabelMaps]:
    """For each digit of one side of the split, a scene with it and up to three others. None covers another.

    Args:
        seed: of the other digits and of all places. First digits and order are always the same.
        held_out: see digits.pictures.
    Returns:
        images (n, 28, 28) uint8 grey, 0 is black; label maps (n, 28, 28) uint8, 0 is background, d + 1 the digit d.
    Raises:
        MissingDependency: scikit-learn is not installed.
    """
    samples, labels = digits.samples(held_out=held_out)
    random = np.random.RandomState(seed)  # its stream is the same under every numpy (NEP 19)
    images = np.zeros((len(samples), CANVAS_PX, CANVAS_PX), np.uint8)
    label_maps = np.zeros_like(images)
    for first, (image, label_map) in enumerate(zip(images, label_maps, strict=True)):
        for number in (first, *random.randint(len(samples), size=MOST_DIGITS - 1)):
            place = _free_place(image, samples[number], random)
            if place is not None:
                image[place] += samples[number]
                label_map[place][samples[number] >= INK] = labels[number] + 1
    return images, label_maps


def _free_place(image: Images, digit: Images, random: np.random.RandomState) -> tuple[slice, slice] | None:
    """A random place where the digit covers no other's ink. None after TRIES places."""
    for top, left in random.randint(CANVAS_PX - DIGIT_PX + 1, size=(TRIES, 2)):
        place = slice(top, top + DIGIT_PX), slice(left, left + DIGIT_PX)
        if not np.logical_and(image[place], digit).any():
            return place
    return None
