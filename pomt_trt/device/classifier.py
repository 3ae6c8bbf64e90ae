"""A bundle's engine with its preprocessing: images -> class probabilities.

Makes a Classifier from a bundle, on the machine that runs engines; numpy and Pillow, never torch. Leaves out files of
results and the command line (infer.py).
"""

import logging
import os
from typing import Any, List, Optional

import numpy as np
from PIL import Image

from pomt_trt.core.agreement import log_softmax
from pomt_trt.core.bundle import open_bundle
from pomt_trt.core.errors import InputError
from pomt_trt.core.records import Bundle, Preprocessing
from pomt_trt.device import preprocess
from pomt_trt.device.engine import Runner, open_engine

logger = logging.getLogger(__name__)


class Classifier:
    """A bundle's chosen engine with its preprocessing. A context manager; use it from one thread at a time.

    Attributes: bundle (its manifest), batch_size (images in one call of the engine), labels (names of the classes, or
    an empty tuple).
    """

    def __init__(self, bundle: Bundle, runner: Runner) -> None:
        self.bundle = bundle
        self.batch_size = runner.input_shape[0]
        self.labels = bundle.model.labels
        self._runner = runner

    def __call__(self, images: Any) -> np.ndarray:
        """Probabilities, float32 (n, classes).

        Args:
            images: any number of paths, PIL images or uint8 arrays (H, W, C), or one uint8 array (n, H, W, C); arrays
                are already of the model's size. A single path or PIL image is a batch of one.

        Raises: InputError where an image cannot be read, or an array is of another type or shape.
        """
        if isinstance(images, (str, os.PathLike, Image.Image)):
            images = [images]
        images = images if isinstance(images, np.ndarray) else list(images)
        parts = [
            softmax(self.logits(self.normalised(images[start : start + self.batch_size])))
            for start in range(0, len(images), self.batch_size)
        ]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.empty((0, self.bundle.model.classes), np.float32)

    def normalised(self, images: Any) -> np.ndarray:
        """What `__call__` takes -> float32 (n, C, H, W) as the engine wants it."""
        preprocessing = self.bundle.model.preprocessing
        if not isinstance(images, np.ndarray):
            images = _stacked([_pixels(image, preprocessing) for image in images])
        shape = (preprocessing.height, preprocessing.width, preprocessing.channels)
        if images.dtype != np.uint8 or images.shape[1:] != shape:
            raise InputError(
                "images of type {} and shape {} do not fit: the model takes uint8 (n, {}, {}, {}). Give paths or PIL "
                "images to have them resized and cropped.".format(images.dtype, images.shape, *shape)
            )
        return preprocess.normalise(images, preprocessing)

    def logits(self, batch: np.ndarray) -> np.ndarray:
        """Logits float32 (n, classes) of a normalised, C-contiguous float32 batch (n, C, H, W), padded as needed."""
        size = self.batch_size
        if len(batch) == size:
            return self._runner.run(batch)  # type: ignore[no-any-return]
        parts = [self._padded(batch[start : start + size]) for start in range(0, len(batch), size)]
        return np.concatenate(parts) if parts else np.empty((0, self.bundle.model.classes), np.float32)

    def _padded(self, part: np.ndarray) -> np.ndarray:
        full = np.zeros(self._runner.input_shape, np.float32)
        full[: len(part)] = part
        return np.array(self._runner.run(full)[: len(part)])

    def close(self) -> None:
        """Frees the engine."""
        self._runner.close()

    def __enter__(self) -> "Classifier":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


def load(bundle: str, threads: Optional[int] = None, waiting: str = "default") -> Classifier:
    """Opens, verifies and loads a bundle.

    Args:
        threads: of the CPU; None: as many as the engine was built for.
        waiting: 'default' or 'passive', see device.engine.open_engine.

    Raises: InputError, CorruptArtifact, WrongDevice, MissingDependency.
    """
    manifest = open_bundle(bundle)
    if manifest.model.random_weights:
        logger.warning(
            "the weights of %s are random: its predictions mean nothing. Compile it with --pretrained or --checkpoint.",
            manifest.model.name,
        )
    return Classifier(manifest, open_engine(manifest.engine, bundle, threads=threads, waiting=waiting))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Logits (n, classes) -> probabilities, float32 of the same shape."""
    probabilities = np.exp(log_softmax(logits)).astype(np.float32)  # type: np.ndarray
    return probabilities


def _stacked(arrays: List[np.ndarray]) -> np.ndarray:
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) > 1:
        raise InputError(
            "arrays of shapes {} do not fit together. Give all in the model's size, or paths or PIL images.".format(
                " and ".join(map(str, shapes))
            )
        )
    return np.stack(arrays)


def _pixels(image: Any, preprocessing: Preprocessing) -> np.ndarray:
    if isinstance(image, np.ndarray):
        return image
    if isinstance(image, Image.Image):
        return preprocess.crop(image, preprocessing)
    if isinstance(image, (str, os.PathLike)):
        return preprocess.read(os.fspath(image), preprocessing)
    raise InputError("{} is no image. Give a path, a PIL image or a uint8 array.".format(type(image).__name__))
