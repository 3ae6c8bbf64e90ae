"""Whether an engine computes what its graph says: its logits beside the expected ones on the same images.

Makes a Parity from two arrays of logits, on any machine. Leaves out what ran, and accuracies (agreement.py).

An image whose cut is closer than rounding may keep another token, and both are right: such images are not compared.
"""

import math
from typing import Dict, NamedTuple, Optional

import numpy as np

from pomt_trt.core.errors import InputError

# Most that the median over images may differ, relative to an image's largest logit, by precision. bf16 keeps 8 bits of
# mantissa: each rounding is off by 2^-8 at most, and a residual stream is rounded twice a block. In the deepest ViT, of
# 40 blocks, such errors add up, as independent ones do, to sqrt(80) x 2^-8 = 3.5e-2; twice that, and some, is allowed.
TOLERANCE: Dict[str, float] = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 8e-2}
# Below this relative score margin rounding may decide which token is kept: 1e-5 in fp32 (sums of hundreds of terms),
# else one unit of the format.
LEAST_MARGIN: Dict[str, float] = {"fp32": 1e-5, "fp16": 2.0**-10, "bf16": 2.0**-7}


class Parity(NamedTuple):
    """How far logits are from those expected."""

    images: int
    compared: int  # those whose cut is clear
    error: float  # median over the images compared, relative; infinite where a logit is not finite
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether the error is allowed. Where no cut is clear, logits need only be finite."""
        return self.error <= self.allowed


def compare(
    found: np.ndarray, expected: np.ndarray, margins: Optional[np.ndarray] = None, precision: str = "fp32"
) -> Parity:
    """Logits (n, ...) beside the expected ones, judged as `precision` allows.

    Args:
        margins: (n,) smallest relative score margin of each image; None: nothing was ranked.
    """
    error = median_relative_error(found, expected, margins, LEAST_MARGIN[precision])
    return Parity(len(found), int(_clear(len(found), margins, precision).sum()), error, TOLERANCE[precision])


def median_relative_error(
    found: np.ndarray, expected: np.ndarray, margins: Optional[np.ndarray] = None, least_margin: float = 1e-5
) -> float:
    """The median over images of the largest difference of a logit, relative to the image's largest expected logit.

    Infinite where a found logit is not finite, in any image; 0 where no image's margin is above least_margin.

    Args:
        found, expected: logits (n, ...) of the same images: a row of classes, or one for each patch.
        margins: (n,) smallest relative score margin of each image; None: nothing was ranked, all are compared.
    Raises: InputError where shapes do not match, or there are no images.
    """
    if found.ndim < 2 or found.shape != expected.shape or not len(found):
        raise InputError(
            "logits of shape {} cannot be compared with {}: both must be (images, classes ...) of the same images. "
            "Export again.".format(found.shape, expected.shape)
        )
    if not np.isfinite(found).all():
        return math.inf
    errors = relative_errors(found, expected)
    clear = errors if margins is None else errors[margins > least_margin]
    return float(np.median(clear)) if len(clear) else 0.0


def relative_errors(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """(n,) the largest difference of an image's logits (n, ...), relative to its largest expected one."""
    axes = tuple(range(1, expected.ndim))
    errors = np.abs(found - expected).max(axis=axes) / (np.abs(expected).max(axis=axes) + 1e-12)  # type: np.ndarray
    return errors


def _clear(images: int, margins: Optional[np.ndarray], precision: str) -> np.ndarray:
    return np.ones(images, bool) if margins is None else margins > LEAST_MARGIN[precision]
