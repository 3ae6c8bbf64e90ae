"""Compares logits by NVIDIA's Polygraphy, where it is installed (Python 3.8, and for TensorRT 8.5 or later).

Polygraphy compares element by element. We limit the error of the median image, relative to its largest expected logit.
So Polygraphy gets one element for each image: the worst logit, divided by the image's largest expected one.
"""

import importlib
import importlib.util
import sys
from typing import Any, Dict, List

import numpy as np

from pomt_trt.core.records import DeviceSpec

POLYGRAPHY_FROM = (8, 5)  # the first TensorRT that Polygraphy supports


def is_installed() -> bool:
    """Whether Polygraphy is installed and this Python can import it."""
    return sys.version_info >= (3, 8) and importlib.util.find_spec("polygraphy") is not None


def name() -> str:
    """Such as polygraphy 0.53.6."""
    package: Any = importlib.import_module("polygraphy")
    return "polygraphy {}".format(package.__version__)


def supports(device: DeviceSpec) -> bool:
    """Whether Polygraphy supports the device's engine library."""
    release = tuple(int(part) for part in device.engine_version.split(".")[:2])
    return device.engine != "tensorrt" or release >= POLYGRAPHY_FROM


def passes(logits: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    """Polygraphy's verdict on logits (n, ...) beside the expected ones: median error <= tolerance."""
    from polygraphy import comparator
    from polygraphy.logger import G_LOGGER

    results = comparator.RunResults()
    for runner, outputs in zip(("engine", "expected"), _worst(logits, expected)):
        results.add([outputs], runner_name=runner)
    # Older releases only have CompareFunc.simple, which Polygraphy 0.60 removes.
    simple = getattr(comparator, "SimpleCompareFunc", None) or comparator.CompareFunc.simple
    compare = simple(rtol=0, atol=tolerance, check_error_stat="median")
    with G_LOGGER.verbosity(G_LOGGER.CRITICAL):  # it prints to stdout, which is for our results
        return bool(comparator.Comparator.compare_accuracy(results, compare_func=compare))


def _worst(logits: np.ndarray, expected: np.ndarray) -> List[Dict[str, np.ndarray]]:
    """The logit of each image that is off most, in both arrays, divided by the image's largest expected logit."""
    rows = [array.reshape(len(array), -1).astype(np.float64) for array in (logits, expected)]
    worst = np.abs(rows[0] - rows[1]).argmax(axis=1)[:, None]
    scale = np.abs(rows[1]).max(axis=1, keepdims=True) + 1e-12
    return [{"logits": np.take_along_axis(row / scale, worst, axis=1)} for row in rows]
