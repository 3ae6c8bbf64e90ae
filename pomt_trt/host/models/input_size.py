"""The size of a model's input: height and width, whole patches each."""

import math

from timm.models.vision_transformer import VisionTransformer

from pomt_trt.core.errors import UsageError


def resize(module: VisionTransformer, size: tuple[int, int]) -> None:
    """Sets the size (height, width) of the input. Raises UsageError unless it is whole patches."""
    patch = module.patch_embed.patch_size
    if size[0] == size[1]:
        patch = (math.lcm(*patch),) * 2  # of a square image both sides must be whole
    if any(side < of or side % of for side, of in zip(size, patch)):
        below = tuple(side // of * of for side, of in zip(size, patch))
        above = tuple(side + of for side, of in zip(below, patch))
        sizes = " or ".join(_pixels(one) for one in (below, above) if min(one) > 0)
        raise UsageError(
            f"an image of {_pixels(size)} pixels is not whole patches of {_pixels(patch)}: take --img-size {sizes}."
        )
    module.set_input_size(img_size=size)


def _pixels(size: tuple[int, int]) -> str:
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"
