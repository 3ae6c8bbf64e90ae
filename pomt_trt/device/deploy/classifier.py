"""A bundle's engine with its preprocessing: images -> class probabilities.

Makes a Classifier from a bundle, on the machine that runs engines; numpy and Pillow, never torch. Leaves out files of
results and the command line (infer.py).
"""

from typing import Any

import numpy as np

from pomt_trt.core.metrics.classification import log_softmax
from pomt_trt.device.deploy.predictor import Predictor, listed


class Classifier(Predictor):
    """A bundle's chosen engine with its preprocessing. A context manager; use it from one thread at a time."""

    def __call__(self, images: Any) -> np.ndarray:
        """Probabilities, float32 (n, classes).

        Args:
            images: any number of paths, PIL images or uint8 arrays (H, W, C), or one uint8 array (n, H, W, C); arrays
                are already of the model's size. A single path or PIL image is a batch of one.

        Raises: InputError where an image cannot be read, or an array is of another type or shape.
        """
        images = listed(images)
        parts = [
            softmax(self.logits(self.normalised(images[start : start + self.batch_size])))
            for start in range(0, len(images), self.batch_size)
        ]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.empty((0, self.bundle.model.classes), np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Logits (n, classes) -> probabilities, float32 of the same shape."""
    probabilities = np.exp(log_softmax(logits)).astype(np.float32)  # type: np.ndarray
    return probabilities
