"""Images -> label maps, by the engine of a bundle."""

import os
from typing import Any, List, Tuple

import numpy as np

from pomt_trt.core.data.images import open_image
from pomt_trt.core.metrics.segmentation import IGNORED, label_map
from pomt_trt.core.records import Preprocessing
from pomt_trt.device.deploy import preprocess
from pomt_trt.device.deploy.predictor import Predictor, listed


class Segmenter(Predictor):
    """A Predictor of label maps."""

    def __call__(self, images: Any) -> List[np.ndarray]:
        """For each image its label map, uint8 (height, width) in the image's own size. See Predictor.__call__.

        A pixel is its class, or 255 where preprocessing cropped the image, and where logits are not finite.
        """
        images, preprocessing = listed(images), self.bundle.model.preprocessing
        label_maps = []
        for start in range(0, len(images), self.batch_size):
            part = [_opened(image, preprocessing.exif) for image in images[start : start + self.batch_size]]
            logits = self.logits(self.normalised(part))
            label_maps += [own_label_map(one, _size(image), preprocessing) for one, image in zip(logits, part)]
        return label_maps


def own_label_map(logits: np.ndarray, size: Tuple[int, int], preprocessing: Preprocessing) -> np.ndarray:
    """Logits (classes, rows, columns) of an image -> label map uint8 (height, width) in its own size.

    It is IGNORED outside the crop.

    Args:
        size: (width, height) of the image.
    """
    places = preprocess.places(size, preprocessing)
    cells, pixels = logits.shape[1:], (preprocessing.height, preprocessing.width)
    rows, columns = ((at + 0.5) * (cell / count) - 0.5 for at, cell, count in zip(places, cells, pixels))
    labels = label_map(logits, rows, columns)
    for axis, (at, count) in enumerate(zip(places, pixels)):
        outside = (at < -0.5) | (at >= count - 0.5)
        labels[(slice(None),) * axis + (outside,)] = IGNORED
    return labels


def _opened(image: Any, turned: bool) -> Any:
    """Decodes an image file; returns anything else unchanged."""
    return open_image(os.fspath(image), turned=turned) if isinstance(image, (str, os.PathLike)) else image


def _size(image: Any) -> Tuple[int, int]:
    """(width, height)."""
    return (image.shape[1], image.shape[0]) if isinstance(image, np.ndarray) else image.size
