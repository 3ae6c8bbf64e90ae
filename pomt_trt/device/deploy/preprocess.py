"""Image file -> array, with the same pixels as timm's evaluation transform, by PIL and numpy.

Label maps are resized and cropped in the same way, to the nearest pixel. `places` maps the image to its crop.
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
MOST_PIXELS = 180 * 1000 * 1000  # after resizing, so that a thin strip cannot fill the memory; about Pillow's own limit


def read(path: str, preprocessing: Preprocessing) -> np.ndarray:
    """Image file -> uint8 (H, W, C), resized and cropped.

    Raises: InputError with the file's name, see open_image and crop.
    """
    return read_sized(path, preprocessing)[0]


def read_sized(path: str, preprocessing: Preprocessing) -> Tuple[np.ndarray, Tuple[int, int]]:
    """(pixels as from read, (width, height) of the image itself)."""
    image = open_image(path, turned=preprocessing.exif)
    try:
        return crop(image, preprocessing), image.size
    except InputError as error:
        raise InputError("{}: {}".format(path, error)) from error


def crop(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """PIL image of any mode -> uint8 (H, W, C): converted, resized, and cropped or padded; not normalised.

    Raises: InputError if Pillow cannot convert the mode (LAB), or the aspect ratio gives no pixels or too many.
    """
    image = in_colours(image, preprocessing.channels)
    fill = (0,) * preprocessing.channels
    if preprocessing.crop_mode == "border":
        fill = tuple(round(255 * value) for value in preprocessing.mean)
    pixels = np.asarray(_fitted(image, preprocessing, preprocessing.interpolation, fill))
    return pixels.reshape(preprocessing.height, preprocessing.width, preprocessing.channels)  # grey is (H, W)


def crop_labels(labels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Label map uint8 (height, width) -> uint8 (H, W), resized and cropped as its image; padding is IGNORED.

    Raises: InputError, see crop.
    """
    return np.asarray(_fitted(Image.fromarray(labels), preprocessing, "nearest", (IGNORED,)))


def places(size: Tuple[int, int], preprocessing: Preprocessing) -> Tuple[np.ndarray, np.ndarray]:
    """Positions of an image's own pixels in its crop: (rows (height,), columns (width,)), in pixels of the crop.

    0 is the centre of the crop's first pixel. Positions below -0.5 or from H - 0.5 (W - 0.5) on were cropped away.

    Args:
        size: (width, height) of the image.
    """
    wanted = preprocessing.height, preprocessing.width
    resized = _resized_size(size, _scale(preprocessing), preprocessing.crop_mode)
    positions = []
    for own, have, want in zip(size[::-1], resized, wanted):
        margin = _margin(max(have, want), want) - (max(have, want) - have) // 2
        positions.append((np.arange(own) + 0.5) * (have / own) - 0.5 - margin)
    return positions[0], positions[1]


def normalise(pixels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """uint8 (..., H, W, C) -> float32 (..., C, H, W), C-contiguous: scaled to 0..1, minus mean, over std."""
    planes = np.moveaxis(pixels, -1, -3).astype(np.float32, order="C")  # (..., C, H, W)
    planes /= np.float32(255)
    planes -= np.array(preprocessing.mean, np.float32).reshape(-1, 1, 1)
    planes /= np.array(preprocessing.std, np.float32).reshape(-1, 1, 1)
    return planes


def _fitted(image: Image.Image, preprocessing: Preprocessing, interpolation: str, fill: Tuple[int, ...]) -> Image.Image:
    """Resizes, then crops or pads to the model's size."""
    size = _resized_size(image.size, _scale(preprocessing), preprocessing.crop_mode)
    return _centre(_resized(image, size, interpolation), preprocessing.height, preprocessing.width, fill)


def _scale(preprocessing: Preprocessing) -> Tuple[int, int]:
    """(height, width) to resize to, before the aspect ratio is kept."""
    crop_pct = preprocessing.crop_pct
    return math.floor(preprocessing.height / crop_pct), math.floor(preprocessing.width / crop_pct)


def _resized_size(size: Tuple[int, int], scale: Tuple[int, int], crop_mode: str) -> Tuple[int, int]:
    """(height, width) before cropping, rounded as by torchvision's Resize and timm's ResizeKeepRatio.

    Args:
        size: (width, height) of the image.
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
    """The central height x width pixels. A smaller image is padded first; an odd pixel goes to the right or bottom."""
    have_width, have_height = image.size
    padded_width, padded_height = max(width, have_width), max(height, have_height)
    if (padded_width, padded_height) != image.size:
        canvas = Image.new(image.mode, (padded_width, padded_height), fill if len(fill) > 1 else fill[0])
        canvas.paste(image, ((padded_width - have_width) // 2, (padded_height - have_height) // 2))
        image = canvas
    top, left = _margin(padded_height, height), _margin(padded_width, width)
    return image.crop((left, top, left + width, top + height))


def _margin(have: int, want: int) -> int:
    """Number of pixels to crop at the top or left."""
    return int(round((have - want) / 2.0))
