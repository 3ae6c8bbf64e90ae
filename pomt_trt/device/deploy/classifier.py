"""Images -> class probabilities, by the engine of a bundle."""

from typing import Any

import numpy as np

from pomt_trt.core.metrics.classification import log_softmax
from pomt_trt.device.deploy.predictor import Predictor, listed


class Classifier(Predictor):
    """A Predictor of class probabilities."""

    def __call__(self, images: Any) -> np.ndarray:
        """Probabilities float32 (n, classes) of images, see Predictor.__call__."""
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
