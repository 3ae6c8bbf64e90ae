"""The accuracy gate: whether a freshly built engine computes what its graph says, on the golden images.

Makes a Parity from an engine that is open, on the machine that runs engines. Leaves out what an engine that fails is
(device/timing/worker says), and accuracies: the host estimates those, the gate only looks for kernels that go wrong
here.
"""

import os
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np

from pomt_trt.core.errors import CorruptArtifact
from pomt_trt.core.metrics.parity import Parity, compare
from pomt_trt.core.records import Preprocessing
from pomt_trt.device.deploy import preprocess
from pomt_trt.device.engines.contract import Runner


class Golden(NamedTuple):
    """What engines are held against."""

    pixels: np.ndarray  # (n, H, W, C) uint8
    logits: np.ndarray  # (n, ...) of R = 0


class Verdict(NamedTuple):
    """What the gate found. `parity` is None where no logits are known to compare with: these need only be finite."""

    passed: bool
    parity: Optional[Parity]
    source: str  # file of the expected logits; "" where there was none

    def told(self) -> Dict[str, Any]:
        """For an engine's details."""
        if self.parity is None:
            return {"finite": self.passed}
        return dict(self.parity._asdict(), source=self.source)

    def reason(self) -> str:
        """Why an engine does not pass."""
        if self.parity is None or not np.isfinite(self.parity.error):
            return "the engine's logits are not finite: something overflows in its precision. {}".format(_WAY_OUT)
        return (
            "the engine's logits differ from {} by {:.1e} in the median of {} images, relative to an image's largest; "
            "{:.0e} is allowed. {}".format(
                self.source, self.parity.error, self.parity.compared, self.parity.allowed, _WAY_OUT
            )
        )


_WAY_OUT = (
    "Profile again with --precision fp32, or another TensorRT; polygraphy run finds the layer (pomt-trt verify prints "
    "the line)."
)


def golden(path: str) -> Golden:
    """golden.npz as export writes it.

    Raises: CorruptArtifact where it is not that.
    """
    held = arrays(path, ("pixels", "logits"))
    return Golden(held["pixels"], held["logits"])


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
        expected: file of the candidate's own logits and score margins on these images; where it is not there, logits
            need only be finite, but for R = 0, whose own are those of `inputs`.
    """
    found = run(runner, preprocess.normalise(inputs.pixels, preprocessing))
    if expected is not None and os.path.isfile(expected):
        held = arrays(expected, ("logits", "margins"))
        parity = compare(found, held["logits"], held["margins"], precision)
        return Verdict(parity.passed, parity, os.path.basename(expected))
    if is_unreduced:
        parity = compare(found, inputs.logits, None, precision)
        return Verdict(parity.passed, parity, "golden.npz")
    return Verdict(bool(np.isfinite(found).all()), None, "")


def run(runner: Runner, images: np.ndarray) -> np.ndarray:
    """Logits (n, ...) of normalised images (n, C, H, W); the last batch is filled up with its last image."""
    parts: List[np.ndarray] = [runner.run(batch) for batch in batches(images, runner.input_shape[0])]
    return np.concatenate(parts)[: len(images)]


def batches(images: np.ndarray, size: int) -> List[np.ndarray]:
    """Images (n, C, H, W) in batches as engines take them; the last is filled up with the last image."""
    short = -len(images) % size
    padded = np.concatenate([images, np.repeat(images[-1:], short, axis=0)]) if short else images
    return [np.ascontiguousarray(padded[start : start + size]) for start in range(0, len(padded), size)]


def arrays(path: str, names: Any) -> Dict[str, np.ndarray]:
    """The arrays of those names in an .npz.

    Raises: CorruptArtifact where it is absent, damaged, or lacks one.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except Exception as error:  # numpy and zipfile raise anything: ValueError, BadZipFile, KeyError, OSError ...
        raise CorruptArtifact(
            "{} cannot be read: {}. Copy it again, or export again: pomt-trt export.".format(path, error)
        ) from error
