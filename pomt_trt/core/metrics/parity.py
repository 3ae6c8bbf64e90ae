"""Whether an engine computes what its graph says.

error = median over images of  max |logits - expected| / max |expected|.  It passes where error <= TOLERANCE.
An image is compared where the score margin of its cut exceeds LEAST_MARGIN. Why: below it rounding decides which token
is kept, so that both results are right.
"""

import math
from typing import Dict, NamedTuple, Optional

import numpy as np

from pomt_trt.core.errors import InputError

# By precision. bf16 has 8 bits of mantissa: each rounding is off by at most 2^-8, and a residual stream is rounded
# twice a block. In the deepest ViT (40 blocks), independent errors add up to sqrt(80) x 2^-8 = 3.5e-2; about twice
# that is allowed.
TOLERANCE: Dict[str, float] = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 8e-2}
# Relative score margin, by precision: 1e-5 in fp32 (sums of hundreds of terms), otherwise one unit of the format.
LEAST_MARGIN: Dict[str, float] = {"fp32": 1e-5, "fp16": 2.0**-10, "bf16": 2.0**-7}


class Parity(NamedTuple):
    """How far logits are from those expected."""

    images: int
    compared: int  # images whose cut is clear
    error: float  # infinite where a logit of any image is not finite; 0 where no cut is clear
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether the error is allowed. Where no cut is clear, it is enough that logits are finite."""
        return self.error <= self.allowed


def compare(
    logits: np.ndarray, expected: np.ndarray, margins: Optional[np.ndarray] = None, precision: str = "fp32"
) -> Parity:
    """Compares logits (n, ...) with the expected ones of the same images: a row of classes, or one for each patch.

    Args:
        margins: (n,) smallest relative score margin of each image; None: nothing was ranked, all are compared.
    Raises: InputError where shapes do not match, or there are no images.
    """
    if logits.ndim < 2 or logits.shape != expected.shape or not len(logits):
        raise InputError(
            "logits of shape {} cannot be compared with {}: both must be (images, classes ...) of the same images. "
            "Export again.".format(logits.shape, expected.shape)
        )
    clear = np.full(len(logits), True) if margins is None else margins > LEAST_MARGIN[precision]
    error = float(np.median(relative_errors(logits, expected)[clear])) if clear.any() else 0.0
    if not np.isfinite(logits).all():
        error = math.inf
    return Parity(len(logits), int(clear.sum()), error, TOLERANCE[precision])


def relative_errors(logits: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """(n,) the largest difference of an image's logits (n, ...), relative to its largest expected one."""
    axes = tuple(range(1, expected.ndim))
    errors = np.abs(logits - expected).max(axis=axes) / (np.abs(expected).max(axis=axes) + 1e-12)  # type: np.ndarray
    return errors
