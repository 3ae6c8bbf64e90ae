"""The logits that an accuracy estimate compares: those of the unreduced model and of a candidate on the same images."""

from typing import NamedTuple, Optional

import numpy as np

from pomt_trt.core.errors import InputError


class Pair(NamedTuple):
    """Logits (images, classes), or (images, classes, rows, columns) in segmentation, and the labels of the images."""

    reference: np.ndarray  # of the unreduced model
    logits: np.ndarray  # of the candidate, of the same shape
    labels: Optional[np.ndarray] = None  # (images,) classes, or (images, H, W) uint8 label maps; None: unlabelled

    def check(self, axes: str) -> None:
        """Checks the logits' shapes against their axes, such as "images, classes".

        Raises: InputError where shapes do not match, or there are no images.
        """
        if self.reference.ndim != len(axes.split(", ")) or self.reference.shape != self.logits.shape:
            raise InputError(
                "logits of shape {} cannot be paired with the unreduced model's {}: both must be ({}) of the same "
                "images. Compute both anew from the same data.".format(self.logits.shape, self.reference.shape, axes)
            )
        if not len(self.logits):
            raise InputError("there are no images to estimate an accuracy from. Give at least one.")
