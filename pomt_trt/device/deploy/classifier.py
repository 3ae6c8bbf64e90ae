"""Images -> an array with a row for each, by the engine of a bundle: probabilities, features or values."""

from typing import Any, Callable

import numpy as np

from pomt_trt.core.metrics.classification import log_softmax
from pomt_trt.core.metrics.outputs import sigmoid
from pomt_trt.device.deploy.predictor import Predictor, listed


def softmax(logits: np.ndarray) -> np.ndarray:
    """Logits (n, classes) -> probabilities, float32 of the same shape."""
    probabilities = np.exp(log_softmax(logits)).astype(np.float32)  # type: np.ndarray
    return probabilities


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Logits (n, labels) -> the probability of each label by itself, float32 of the same shape."""
    return sigmoid(logits).astype(np.float32)


def unchanged(logits: np.ndarray) -> np.ndarray:
    """The outputs themselves."""
    return logits


class Rows(Predictor):
    """A Predictor with a row for each image: float32 (n, outputs)."""

    of_logits: Callable[[np.ndarray], np.ndarray] = staticmethod(unchanged)

    def __call__(self, images: Any) -> np.ndarray:
        """The rows of images, see Predictor.__call__."""
        images = listed(images)
        parts = [
            self.of_logits(self.logits(self.normalised(images[start : start + self.batch_size])))
            for start in range(0, len(images), self.batch_size)
        ]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.empty((0, self.bundle.model.classes), np.float32)


class Classifier(Rows):
    """A Predictor of class probabilities, which sum to 1."""

    of_logits = staticmethod(softmax)


class MultiLabelClassifier(Rows):
    """A Predictor of the probability of each label, or of the only one."""

    of_logits = staticmethod(probabilities)


class Embedder(Rows):
    """A Predictor of features."""


class Regressor(Rows):
    """A Predictor of values."""
