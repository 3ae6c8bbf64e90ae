"""A bundle's engine with its preprocessing: images -> label maps.

Makes a Segmenter from a bundle, on the machine that runs engines; numpy and Pillow, never torch. Leaves out the command
line (infer.py), files of results (answers.py), and how good label maps are (core/metrics/segmentation).
"""

import os
from typing import Any, List, Tuple

import numpy as np

from pomt_trt.core.data.images import open_image
from pomt_trt.core.metrics.segmentation import IGNORED, label_map
from pomt_trt.core.records import Preprocessing
from pomt_trt.device.deploy import preprocess
from pomt_trt.device.deploy.predictor import Predictor, listed


class Segmenter(Predictor):
    """A bundle's chosen engine with its preprocessing. A context manager; use it from one thread at a time."""

    def __call__(self, images: Any) -> List[np.ndarray]:
        """A label map for each image, uint8 (height, width) of its own size: the class of each pixel.

        255 where the model did not look, since preprocessing cropped it away, and where logits are not finite.

        Args:
            images: any number of paths, PIL images or uint8 arrays (H, W, C), or one uint8 array (n, H, W, C); arrays
                are already of the model's size. A single path or PIL image is a batch of one.

        Raises: InputError where an image cannot be read, or an array is of another type or shape.
        """
        images, look = listed(images), self.bundle.model.preprocessing
        found = []
        for start in range(0, len(images), self.batch_size):
            part = [_opened(image) for image in images[start : start + self.batch_size]]
            logits = self.logits(self.normalised(part))
            found += [own_label_map(one, _size(image), look) for one, image in zip(logits, part)]
        return found


def own_label_map(logits: np.ndarray, size: Tuple[int, int], preprocessing: Preprocessing) -> np.ndarray:
    """Logits (classes, rows, columns) of one image -> uint8 (height, width) in its own pixels, IGNORED beyond its crop.

    Args:
        size: (width, height) of the image.
    """
    places = preprocess.places(size, preprocessing)
    cells, pixels = logits.shape[1:], (preprocessing.height, preprocessing.width)
    rows, columns = ((at + 0.5) * (cell / count) - 0.5 for at, cell, count in zip(places, cells, pixels))
    found = label_map(logits, rows, columns)
    for axis, (at, count) in enumerate(zip(places, pixels)):
        outside = (at < -0.5) | (at >= count - 0.5)
        found[(slice(None),) * axis + (outside,)] = IGNORED
    return found


def _opened(image: Any) -> Any:
    """An image file decoded, anything else as it is."""
    return open_image(os.fspath(image)) if isinstance(image, (str, os.PathLike)) else image


def _size(image: Any) -> Tuple[int, int]:
    """(width, height)."""
    return (image.shape[1], image.shape[0]) if isinstance(image, np.ndarray) else image.size
