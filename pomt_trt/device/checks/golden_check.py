"""The golden check: whether a new engine computes the logits of its graph on the golden images.

It finds kernels that compute wrong values on this machine. It does not estimate accuracy, which the host does.
"""

import os
from typing import Any, Dict, NamedTuple, Optional

import numpy as np

from pomt_trt.core.errors import CorruptArtifact
from pomt_trt.core.metrics.parity import Parity, compare
from pomt_trt.core.records import Preprocessing
from pomt_trt.device.deploy import predictor, preprocess
from pomt_trt.device.engines.contract import Runner


class Golden(NamedTuple):
    """The golden images and their expected logits."""

    pixels: np.ndarray  # (n, H, W, C) uint8
    logits: np.ndarray  # (n, ...) of R = 0


class Verdict(NamedTuple):
    """The result of a golden check."""

    passed: bool
    parity: Optional[Parity]  # None: no logits were expected, so they only had to be finite
    source: str  # file of the expected logits; "" if there was none

    def details(self) -> Dict[str, Any]:
        """The entry in an engine's record."""
        if self.parity is None:
            return {"finite": self.passed}
        return dict(self.parity._asdict(), source=self.source)

    def reason(self) -> str:
        """Why the engine failed."""
        if self.parity is None or not np.isfinite(self.parity.error):
            return "the engine's logits are not finite: a value overflows in its precision. {}".format(_ADVICE)
        return (
            "the engine's logits differ from {0} by {1.error:.1e} in the median of {1.compared} images, relative to an "
            "image's largest; {1.allowed:.0e} is allowed. {2}".format(self.source, self.parity, _ADVICE)
        )


_ADVICE = (
    "Profile again with --precision fp32, or another TensorRT; polygraphy run finds the layer (pomt-trt verify prints "
    "the line)."
)


def golden(path: str) -> Golden:
    """Reads golden.npz as export writes it.

    Raises: CorruptArtifact.
    """
    return Golden(**arrays(path, ("pixels", "logits")))


def judge(
    runner: Runner,
    inputs: Golden,
    preprocessing: Preprocessing,
    precision: str,
    expected: Optional[str] = None,
    is_unreduced: bool = False,
) -> Verdict:
    """Runs an engine on the golden images.

    Args:
        expected: file of the candidate's logits and score margins on these images. Without it, logits only have to be
            finite, except for R = 0, whose expected logits are in `inputs`.
    """
    logits = predictor.run(runner, preprocess.normalise(inputs.pixels, preprocessing))
    if expected is not None and os.path.isfile(expected):
        candidate = arrays(expected, ("logits", "margins"))
        parity = compare(logits, candidate["logits"], candidate["margins"], precision)
        return Verdict(parity.passed, parity, os.path.basename(expected))
    if is_unreduced:
        parity = compare(logits, inputs.logits, None, precision)
        return Verdict(parity.passed, parity, "golden.npz")
    return Verdict(bool(np.isfinite(logits).all()), None, "")


def arrays(path: str, names: Any) -> Dict[str, np.ndarray]:
    """Reads the named arrays of an .npz file.

    Raises: CorruptArtifact if it is absent or damaged, or lacks an array.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except Exception as error:  # numpy and zipfile raise anything: ValueError, BadZipFile, KeyError, OSError ...
        raise CorruptArtifact(
            "{} cannot be read: {}. Copy it again, or export again: pomt-trt export.".format(path, error)
        ) from error
