"""An engine beside ONNX Runtime and known logits, run and compared by NVIDIA's Polygraphy where it is installed.

Makes Parities, on the machine that runs engines; Python 3.8 and, for TensorRT, 8.5 or later. The judgement is
core/metrics/parity's here as elsewhere: Polygraphy's own compares element by element, where the median image is meant.
Leaves out what is compared with what (verify.py), and Polygraphy's TrtRunner: the engine runs as it is deployed.
"""

import importlib
import importlib.util
import sys
from typing import Any, Callable, Dict, List

import numpy as np

from pomt_trt.core.metrics import parity
from pomt_trt.core.records import DeviceSpec
from pomt_trt.device.checks import golden_check
from pomt_trt.device.engines.contract import Runner

POLYGRAPHY_FROM = (8, 5)  # the first TensorRT that today's Polygraphy imports
ENGINE, LOGITS = "engine", "logits"


def is_installed() -> bool:
    """Whether there is a Polygraphy that this Python can import."""
    return sys.version_info >= (3, 8) and importlib.util.find_spec("polygraphy") is not None


def version() -> str:
    """Polygraphy's."""
    return str(importlib.import_module("polygraphy").__version__)  # type: ignore[attr-defined]


def takes(device: DeviceSpec) -> bool:
    """Whether Polygraphy serves a device's engine library."""
    release = tuple(int(part) for part in device.engine_version.split(".")[:2])
    return device.engine != "tensorrt" or release >= POLYGRAPHY_FROM


def compare(
    runner: Runner,
    images: np.ndarray,
    known: Dict[str, np.ndarray],
    sessions: Dict[str, Callable[[], Any]],
    judge: Callable[[np.ndarray, np.ndarray], parity.Parity],
) -> Dict[str, parity.Parity]:
    """How far an engine is from everything it is held against, by name.

    Args:
        images: (n, C, H, W), normalised.
        known: logits (n, classes) of others.
        sessions: ONNX Runtime sessions on graphs of the engine's batch, opened when they are due.
        judge: (found, expected) -> Parity.
    """
    from polygraphy.backend.onnxrt import OnnxrtRunner
    from polygraphy.comparator import Comparator, RunResults
    from polygraphy.logger import G_LOGGER

    runners = [_wrapped(runner)] + [OnnxrtRunner(opened, name=name) for name, opened in sessions.items()]
    batches = [{"image": batch} for batch in golden_check.batches(images, runner.input_shape[0])]
    whole = RunResults()  # one iteration, since all images are judged together
    judging = _Judging(judge)
    with G_LOGGER.verbosity(G_LOGGER.CRITICAL):  # it prints, and stdout is for results
        for name, results in Comparator.run(runners, data_loader=batches):
            logits = np.concatenate([result[LOGITS] for result in results])[: len(images)]
            whole.add([{LOGITS: logits}], runner_name=name)
        for name, logits in known.items():
            whole.add([{LOGITS: logits}], runner_name=name)
        pairs = [(0, other) for other in range(1, len(whole))]
        Comparator.compare_accuracy(whole, comparisons=pairs, compare_func=judging)
    return dict(zip([*sessions, *known], judging.found))


class _Judging:
    """Polygraphy's comparison of one iteration of two runners; keeps what was found."""

    def __init__(self, judge: Callable[[np.ndarray, np.ndarray], parity.Parity]) -> None:
        self._judge = judge
        self.found: List[parity.Parity] = []

    def __call__(self, found: Any, expected: Any) -> Dict[str, bool]:
        self.found.append(self._judge(found[LOGITS], expected[LOGITS]))
        return {LOGITS: self.found[-1].passed}


def _wrapped(runner: Runner) -> Any:
    """A Runner that is open as Polygraphy's."""
    from polygraphy.backend.base import BaseRunner
    from polygraphy.common import TensorMetadata

    class Wrapped(BaseRunner):  # type: ignore[misc]
        def activate_impl(self) -> None:
            """It is open already, and closed by whoever opened it."""

        def deactivate_impl(self) -> None:
            """See activate_impl."""

        def get_input_metadata_impl(self) -> Any:
            return TensorMetadata().add("image", np.dtype(np.float32), tuple(runner.input_shape))

        def infer_impl(self, feed_dict: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
            self.inference_time = 0.0  # asked for; times are latency.py's matter
            return {LOGITS: runner.run(feed_dict["image"])}

    return Wrapped(name=ENGINE)
