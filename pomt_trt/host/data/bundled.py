"""The pictures of the bundled models, also as a folder of files. digits.py and scenes.py draw them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pomt_trt.core.data.dataset import IMAGES, LABEL_MAPS
from pomt_trt.core.errors import UsageError
from pomt_trt.host.data import digits, scenes

Pictures = tuple[NDArray[np.uint8], NDArray[Any]]  # images (n, H, W) grey, 0 is black; labels (n,) or (n, H, W)


# By the name of the model: (seed, *, held_out) -> pictures. Each seed gives others, as many and in the same order.
BUNDLED: dict[str, Callable[..., Pictures]] = {"digits": digits.pictures, "scenes": scenes.pictures}


def write_folder(name: str, directory: str | Path, count: int | None = None) -> int:
    """Writes a model's held-out pictures as a labelled folder, see core/data/dataset; returns how many.

    One label a picture: `<label>/<nnnn>.png`. Label maps: `images/<nnnn>.png` and `labels/<nnnn>.png`.

    Args:
        directory: made where absent; files of the same name are replaced.
        count: how many pictures, from the first; None is all.
    Raises:
        UsageError: count is not between 1 and the number of held-out pictures.
        MissingDependency: scikit-learn is not installed.
    """
    images, labels = BUNDLED[name](held_out=True)
    count = len(images) if count is None else count
    if not 1 <= count <= len(images):
        raise UsageError(f"{count} pictures asked for; {name} holds out {len(images)}. Ask for 1 to {len(images)}.")
    for number, (image, label) in enumerate(zip(images[:count], labels[:count], strict=True)):
        files = {IMAGES: image, LABEL_MAPS: label} if label.ndim else {str(label): image}
        for folder, pixels in files.items():
            path = Path(directory, folder, f"{number:04d}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return count
