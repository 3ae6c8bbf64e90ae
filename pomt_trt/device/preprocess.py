"""Image file -> array, exactly as timm's evaluation transform makes it, with PIL and numpy alone.

Makes float32 (B, C, H, W) from image files and a Preprocessing record, on any machine; label maps go the same way, to
the nearest pixel, and places in an image's own pixels back. Leaves out which files, and in which order. One stated
difference: 16-bit grey keeps its upper 8 bits, where Pillow's own conversion (and so timm's) makes everything above
255 white.
"""

import contextlib
import math
import os
import stat
import warnings
from typing import Iterator, Tuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from pomt_trt.core.errors import InputError
from pomt_trt.core.records import Preprocessing
from pomt_trt.core.segmentation import IGNORED

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
CROP_MODES = ("center", "squash", "border")
MOST_PIXELS = (
    180 * 1000 * 1000
)  # after resizing; about where Pillow stops reading, so that a thin strip cannot fill memory
ADVICE = "Leave it out, or save it anew as JPEG or PNG."


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


def open_image(path: str) -> Image.Image:
    """Decodes a whole image file; EXIF orientation is ignored, as in timm, and of an animation the first frame counts.

    Raises: InputError, with the name and the reason, where the file is absent, no image, truncated, far too large, or
    in a format that is a program to run (EPS).
    """
    try:
        with _quiet(), open(_regular(path), "rb") as file:
            image = Image.open(file)
            if image.format == "EPS":  # Pillow would start Ghostscript on it
                raise InputError("EPS is a program, not a picture")
            image.load()
            return image
    except MemoryError:
        raise InputError("{} does not fit into memory. {}".format(path, ADVICE)) from None
    except Exception as error:  # decoders raise anything: SyntaxError, struct.error, zlib.error, IndexError ...
        raise InputError("{}: {}. {}".format(path, _reason(error), ADVICE)) from error


def _regular(path: str) -> str:
    """The path itself; a pipe or device, on which open() could wait for ever, is refused."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise InputError("a folder, not an image" if stat.S_ISDIR(mode) else "not a regular file")
    return path


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Pillow's warnings (odd EXIF, palettes with transparency, many pixels) change no pixel and help nobody here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, UnidentifiedImageError):
        return "not an image of any known format"
    if isinstance(error, Image.DecompressionBombError):
        return "too many pixels to be a picture (" + " ".join(str(error).split()[2:5]).strip("(") + ")"
    return " ".join(str(error).rstrip(".").split()) or type(error).__name__


def crop(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """PIL image of any mode -> uint8 (H, W, C): converted, resized and cropped (or padded), not yet normalised.

    Raises: InputError where Pillow has no conversion from the mode (LAB), or the aspect ratio leaves no pixels or far
    too many.
    """
    image = _with_channels(image, preprocessing.channels)
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


def _with_channels(image: Image.Image, channels: int) -> Image.Image:
    """RGB for three channels, grey for one; transparency is dropped, as timm drops it."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        upper = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255)
        image = Image.fromarray(upper.astype(np.uint8))
    mode = "RGB" if channels == 3 else "L"
    try:
        with _quiet():
            return image if image.mode == mode else image.convert(mode)
    except ValueError as error:
        raise InputError("{}. {}".format(_reason(error), ADVICE)) from error


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
