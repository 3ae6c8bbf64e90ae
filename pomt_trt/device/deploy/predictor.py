"""Images -> logits, by the engine of a bundle: the base of Classifier and Segmenter."""

import os
from typing import Any, List

import numpy as np
from PIL import Image

from pomt_trt.core.errors import InputError
from pomt_trt.core.records import Bundle, Preprocessing
from pomt_trt.device.deploy import preprocess
from pomt_trt.device.engines.contract import Runner


class Predictor:
    """An engine of a bundle with its preprocessing. It is a context manager. Only one thread at a time may use it.

    Attributes: bundle (its manifest), batch_size (images in one call of the engine), labels (class names, or an empty
    tuple).
    """

    def __init__(self, bundle: Bundle, runner: Runner) -> None:
        self.bundle = bundle
        self.batch_size = runner.input_shape[0]
        self.labels = bundle.model.labels
        self._runner = runner

    def __call__(self, images: Any) -> Any:
        """The predictions for any number of images.

        Args:
            images: paths, PIL images or uint8 arrays (H, W, C), or one uint8 array (n, H, W, C). Arrays must have the
                model's size. A single path or PIL image is a batch of one.

        Raises: InputError if an image cannot be read, or an array has another type or shape.
        """
        raise NotImplementedError

    def normalised(self, images: Any) -> np.ndarray:
        """Images as for __call__ -> float32 (n, C, H, W) for the engine.

        Raises: InputError, see __call__.
        """
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
        """Logits of normalised images, see run."""
        return run(self._runner, batch)

    def close(self) -> None:
        """Frees the engine."""
        self._runner.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


def run(runner: Runner, images: np.ndarray) -> np.ndarray:
    """Logits float32 (n, ...) of normalised images, C-contiguous float32 (n, C, H, W). The last batch is padded."""
    size = runner.input_shape[0]
    if len(images) == size:
        return runner.run(images)  # type: ignore[no-any-return]
    starts = range(0, max(len(images), 1), size)  # even no image takes one run, which tells the shape of logits
    return np.concatenate([_padded(runner, images[start : start + size]) for start in starts])


def _padded(runner: Runner, part: np.ndarray) -> np.ndarray:
    full = np.zeros(runner.input_shape, np.float32)
    full[: len(part)] = part
    return np.array(runner.run(full)[: len(part)])


def listed(images: Any) -> Any:
    """Images as a list or one array. A single path or PIL image becomes a list of one."""
    if isinstance(images, (str, os.PathLike, Image.Image)):
        images = [images]
    return images if isinstance(images, np.ndarray) else list(images)


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
