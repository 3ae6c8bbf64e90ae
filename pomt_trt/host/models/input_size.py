"""The size of a model's input: height and width, whole patches each."""

from typing import Any

from pomt_trt.core.errors import UsageError
from pomt_trt.host import backbones


def resize(module: Any, size: tuple[int, int]) -> None:
    """Sets the size (height, width) of the input. Raises UsageError unless it is whole patches."""
    side_px = backbones.of(module).patch_px
    patch = (side_px, side_px)
    if any(side < of or side % of for side, of in zip(size, patch)):
        below = tuple(side // of * of for side, of in zip(size, patch))
        above = tuple(side + of for side, of in zip(below, patch))
        sizes = " or ".join(_pixels(one) for one in (below, above) if min(one) > 0)
        raise UsageError(
            f"an image of {_pixels(size)} pixels is not whole patches of {_pixels(patch)}: take --img-size {sizes}."
        )
    backbones.of(module).resize(*size)


def _pixels(size: tuple[int, ...]) -> str:
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"
