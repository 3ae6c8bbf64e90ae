"""Decodes an image file into the model's colours, as timm does with `Image.convert`.

Resizing and cropping follow in host/data/image_batches (timm's transform) and device/deploy/preprocess (the same on a
board). 16-bit grey differs from timm: it becomes `value >> 8`, since Pillow's conversion makes every value above 255
white. EXIF orientation is ignored, as in timm, unless it is asked for. Both are logged once in a
process, at the first such image.
"""

import contextlib
import logging
import os
import stat
import warnings
from typing import Iterator, Set, Tuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pomt_trt.core.errors import InputError
from pomt_trt.core.metrics.segmentation import checked_labels

ADVICE = "Leave it out, or save it anew as JPEG or PNG."
ORIENTATION = 0x0112  # EXIF tag: 1 or absent is upright
BITS_PER_SAMPLE = 258  # TIFF tag
DEEP_GREY = "%s is a %d-bit grey image: its upper 8 bits are used (value >> %d). timm would make all above 255 white."
TURNED = (
    "%s has the EXIF orientation %d, which is ignored, as timm ignores it: turn the pixels, or compile with --exif."
)
LOGGER = logging.getLogger(__name__)
_said: Set[str] = set()


def open_image(path: str, advice: str = ADVICE, turned: bool = False) -> Image.Image:
    """Decodes a whole image file; of an animation, the first frame.

    Args:
        turned: turn the image by its EXIF orientation; otherwise an orientation is said and ignored.
        advice: what the message says to do with a file that cannot be read.
    Raises: InputError with the name and the reason, where the file is absent, not an image, truncated, far too large,
        or a program to run (EPS).
    """
    try:
        with _quiet(), open(_regular(path), "rb") as file:
            image = Image.open(file)
            if image.format == "EPS":  # Pillow would start Ghostscript on it
                raise InputError("EPS is a program, not a picture")
            image.load()
            image.filename = path
            if turned:
                return _upright(image)
            _say_orientation(image, path)
            return image
    except MemoryError:
        raise InputError("{} does not fit into memory. {}".format(path, advice)) from None
    except Exception as error:  # decoders raise anything: SyntaxError, struct.error, zlib.error, IndexError ...
        raise InputError("{}: {}. {}".format(path, _reason(error), advice)) from error


def open_label_map(path: str, size: Tuple[int, int], classes: int) -> np.ndarray:
    """The label map of an image: uint8 (height, width), see core/metrics/segmentation.checked_labels.

    Args:
        size: (width, height) of the image.
    Raises: InputError where it cannot be read, has another size, or holds a value that is not a class.
    """
    image = open_image(path, "Replace this label map, or take its image away.")
    return checked_labels(np.asarray(image), classes, path, size[::-1])


def in_colours(image: Image.Image, channels: int) -> Image.Image:
    """An image of any mode in the model's colours: RGB for 3 channels, grey (L) for 1. Transparency is dropped.

    Raises: InputError where Pillow cannot convert the mode.
    """
    bits = _grey_bits(image)
    if bits > 8:
        _say_once(DEEP_GREY, getattr(image, "filename", "") or "an image", bits, bits - 8)
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> (bits - 8)).clip(0, 255).astype(np.uint8))
    mode = "RGB" if channels == 3 else "L"
    try:
        with _quiet():
            return image if image.mode == mode else image.convert(mode)
    except ValueError as error:
        raise InputError("{}. {}".format(_reason(error), ADVICE)) from error


def _grey_bits(image: Image.Image) -> int:
    """Bits of a grey image that Pillow would clip at 255 (16, in TIFF files also 12), or 0.

    Mode I has 32 bits without a known range, so Pillow converts it. Exceptions: 16-bit PGM files have this mode too,
    and so have 16-bit PNG files in older Pillows.
    """
    if image.mode.startswith("I;16"):
        tags = getattr(image, "tag_v2", {})
        return int(tags.get(BITS_PER_SAMPLE, (16,))[0])
    return 16 if image.mode == "I" and image.format in ("PNG", "PPM") else 0


def _upright(image: Image.Image) -> Image.Image:
    """The image turned by its EXIF orientation; what _grey_bits asks for stays with it."""
    turned = ImageOps.exif_transpose(image)
    if turned is None:
        return image
    turned.format = image.format
    turned.filename = getattr(image, "filename", "")  # type: ignore[attr-defined]
    if hasattr(image, "tag_v2"):
        turned.tag_v2 = image.tag_v2  # type: ignore[attr-defined]
    return turned


def _say_orientation(image: Image.Image, path: str) -> None:
    """To be called while the file is open: Pillow reads the EXIF data of a TIFF file only now."""
    if TURNED in _said:
        return
    with contextlib.suppress(Exception):  # damaged EXIF data: the pixels are still good
        orientation = image.getexif().get(ORIENTATION, 1)
        if orientation in range(2, 9):
            _say_once(TURNED, path, orientation)


def _say_once(text: str, *values: object) -> None:
    if text not in _said:
        _said.add(text)
        LOGGER.warning(text, *values)


def _regular(path: str) -> str:
    """The path itself. Refuses a pipe or a device, on which open() could block for ever."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise InputError("a folder, not an image" if stat.S_ISDIR(mode) else "not a regular file")
    return path


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides Pillow's warnings (odd EXIF, palettes with transparency, many pixels), none of which changes a pixel."""
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
