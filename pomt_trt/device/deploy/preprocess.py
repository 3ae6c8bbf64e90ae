"""Image file -> array, exactly as timm's evaluation transform makes it, with PIL and numpy alone.

Makes float32 (B, C, H, W) from image files and a Preprocessing record, on any machine; label maps go the same way, to
the nearest pixel, and places in an image's own pixels back. Leaves out which files, in which order, and how a file is
decoded (core/data/images).
"""

import math
from typing import Tuple

import numpy as np
from PIL import Image

from pomt_trt.core.data.images import in_colours, open_image
from pomt_trt.core.errors import InputError
from pomt_trt.core.metrics.segmentation import IGNORED
from pomt_trt.core.records import Preprocessing

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
CROP_MODES = ("center", "squash", "border")
MOST_PIXELS = (
    180 * 1000 * 1000
)  # after resizing; about where Pillow stops reading, so that a thin strip cannot fill memory


def read(path: str, preprocessing: Preprocessing) -> np.ndarray:
    """Image file -> uint8 (H, W, C), resized and cropped: `crop` after `open_image`, errors with the file's name.

    Raises: InputError.
    """
    return read_sized(path, preprocessing)[0]


def read_sized(path: str, preprocessing: Preprocessing) -> Tuple[np.ndarray, Tuple[int, int]]:
    """As read, with the image's own (width, height)."""
    image = open_image(path)
    try:
        return crop(image, preprocessing), image.size
    except InputError as error:
        raise InputError("{}: {}".format(path, error)) from error


def crop(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """PIL image of any mode -> uint8 (H, W, C): converted, resized and cropped (or padded), not yet normalised.

    Raises: InputError where Pillow has no conversion from the mode (LAB), or the aspect ratio leaves no pixels or far
    too many.
    """
    image = in_colours(image, preprocessing.channels)
    fill = (0,) * preprocessing.channels
    if preprocessing.crop_mode == "border":
        fill = tuple(round(255 * value) for value in preprocessing.mean)
    pixels = np.asarray(_fitted(image, preprocessing, preprocessing.interpolation, fill))
    return pixels.reshape(preprocessing.height, preprocessing.width, preprocessing.channels)  # grey comes as (H, W)


def crop_labels(labels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """A label map uint8 (height, width) as its image is resized and cropped: uint8 (H, W), IGNORED where it is padded.

    Raises: InputError, as crop.
    """
    return np.asarray(_fitted(Image.fromarray(labels), preprocessing, "nearest", (IGNORED,)))


def places(size: Tuple[int, int], preprocessing: Preprocessing) -> Tuple[np.ndarray, np.ndarray]:
    """Where an image's own pixels lie in its crop: (rows (height,), columns (width,)), counted in pixels of the crop.

    The centre of the crop's first pixel is 0; what lies below -0.5 or beyond the last half pixel was cropped away.

    Args:
        size: (width, height) of the image.
    """
    wanted = preprocessing.height, preprocessing.width
    resized = _resized_size(size, _scale(preprocessing), preprocessing.crop_mode)
    found = []
    for own, have, want in zip(size[::-1], resized, wanted):
        margin = _margin(max(have, want), want) - (max(have, want) - have) // 2
        found.append((np.arange(own) + 0.5) * (have / own) - 0.5 - margin)
    return found[0], found[1]


def normalise(pixels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """uint8 (..., H, W, C) -> float32 (..., C, H, W), C-contiguous: scaled to 0..1, minus mean, over std."""
    planes = np.moveaxis(pixels, -1, -3).astype(np.float32, order="C")  # (..., C, H, W)
    planes /= np.float32(255)
    planes -= np.array(preprocessing.mean, np.float32).reshape(-1, 1, 1)
    planes /= np.array(preprocessing.std, np.float32).reshape(-1, 1, 1)
    return planes


def _fitted(image: Image.Image, preprocessing: Preprocessing, interpolation: str, fill: Tuple[int, ...]) -> Image.Image:
    """Resized, then cropped or padded to the model's size."""
    size = _resized_size(image.size, _scale(preprocessing), preprocessing.crop_mode)
    return _centre(_resized(image, size, interpolation), preprocessing.height, preprocessing.width, fill)


def _scale(preprocessing: Preprocessing) -> Tuple[int, int]:
    """(height, width) that pictures are resized to, as far as their ratio allows."""
    crop_pct = preprocessing.crop_pct
    return math.floor(preprocessing.height / crop_pct), math.floor(preprocessing.width / crop_pct)


def _resized_size(size: Tuple[int, int], scale: Tuple[int, int], crop_mode: str) -> Tuple[int, int]:
    """(height, width) before cropping, with the roundings of torchvision's Resize and timm's ResizeKeepRatio.

    Args:
        size: (width, height) of the picture.
    """
    if crop_mode not in CROP_MODES:
        raise InputError("unknown crop mode '{}'. Use one of: {}.".format(crop_mode, ", ".join(CROP_MODES)))
    if crop_mode == "squash":
        return scale
    width, height = size
    if crop_mode == "center" and scale[0] == scale[1]:  # torchvision: the short side exact, the long side truncated
        long = int(scale[0] * max(width, height) / min(width, height))
        return (long, scale[0]) if width <= height else (scale[0], long)
    ratios = height / scale[0], width / scale[1]
    ratio = max(ratios) if crop_mode == "border" else min(ratios)  # timm: both sides rounded
    return round(height / ratio), round(width / ratio)


def _resized(image: Image.Image, size: Tuple[int, int], interpolation: str) -> Image.Image:
    height, width = size
    if not 0 < height * width <= MOST_PIXELS:
        raise InputError(
            "a picture of {} x {} pixels would become {} x {} when resized. "
            "Its aspect ratio is too extreme for this model: crop it first.".format(*image.size, width, height)
        )
    if interpolation not in INTERPOLATIONS:
        raise InputError("unknown interpolation '{}'. Use one of: {}.".format(interpolation, ", ".join(INTERPOLATIONS)))
    if image.size == (width, height):
        return image
    return image.resize((width, height), getattr(getattr(Image, "Resampling", Image), interpolation.upper()))


def _centre(image: Image.Image, height: int, width: int, fill: Tuple[int, ...]) -> Image.Image:
    """The central height x width pixels; a smaller picture is padded first, the odd pixel to the right and bottom."""
    have_width, have_height = image.size
    padded_width, padded_height = max(width, have_width), max(height, have_height)
    if (padded_width, padded_height) != image.size:
        canvas = Image.new(image.mode, (padded_width, padded_height), fill if len(fill) > 1 else fill[0])
        canvas.paste(image, ((padded_width - have_width) // 2, (padded_height - have_height) // 2))
        image = canvas
    top, left = _margin(padded_height, height), _margin(padded_width, width)
    return image.crop((left, top, left + width, top + height))


def _margin(have: int, want: int) -> int:
    """What is cropped away at the top or left."""
    return int(round((have - want) / 2.0))
