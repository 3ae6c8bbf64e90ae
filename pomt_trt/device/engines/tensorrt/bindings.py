"""The Python packages of TensorRT and TensorRT-RTX, with their log and progress monitor.

TensorRT reports failures by None or False; only its log gives the reason.
"""

import contextlib
import ctypes
import functools
import importlib
import logging
import re
from typing import Any, Callable, Dict, List, Optional

from pomt_trt.core.errors import MissingDependency

logger = logging.getLogger(__name__)
MOST_ERRORS = 3  # quoted in one message, since TensorRT repeats itself
_PACKAGES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
_INSTALL = {
    "tensorrt": "TensorRT's Python bindings are not installed here, or do not load ({}). On a Jetson: sudo apt-get "
    "install nvidia-jetpack, in a virtual environment made with --system-site-packages (never pip install tensorrt); "
    "elsewhere: pip install tensorrt.",
    "tensorrt-rtx": "TensorRT-RTX is not installed here, or does not load ({}). Install it: pip install "
    "'pomt-trt[rtx]' (Linux on x86-64; docs/tensorrt_rtx.md has the other ways).",
}


def package(engine: str) -> Any:
    """The Python package of an engine library, tensorrt or tensorrt-rtx.

    Raises: MissingDependency if it is not installed, is older than 8.2, or loads a native library of another version.
    """
    try:
        trt = importlib.import_module(_PACKAGES[engine])
    except (ImportError, OSError) as error:  # OSError: it cannot open its native library
        raise MissingDependency(_INSTALL[engine].format(error)) from error
    if not hasattr(trt, "EngineInspector"):
        raise MissingDependency(
            "TensorRT {} is too old: 8.2 (JetPack 4.6.1) brought the engine inspector and what else is needed. JetPack "
            "4.6 has 8.0: flash JetPack 4.6.1 or later; a TX2 takes up to 4.6.6.".format(trt.__version__)
        )
    _check_native(trt)
    return trt


def named(trt: Any) -> str:
    """Name and version for messages, such as TensorRT 10.3.0 or TensorRT-RTX 1.7.1.116."""
    return "{} {}".format({"tensorrt_rtx": "TensorRT-RTX"}.get(trt.__name__, "TensorRT"), trt.__version__)


def _check_native(trt: Any) -> None:
    """Raises MissingDependency if the loaded native library has another version than the bindings."""
    native = native_version(trt.__name__)
    bindings = ".".join(str(trt.__version__).split(".")[:3])
    if native is not None and native != bindings:
        raise MissingDependency(
            "the Python bindings of {} are version {}, and the native library that they load is version {}. Install "
            "both of one version, or correct LD_LIBRARY_PATH.".format(trt.__name__, bindings, native)
        )


def native_version(name: str) -> Optional[str]:
    """Version of the loaded native library, such as 1.7.1; None if none is loaded, or it has no version (before 10)."""
    stem = {"tensorrt": "libnvinfer", "tensorrt_rtx": "libtensorrt_rtx"}[name]
    with contextlib.suppress(OSError, AttributeError), open("/proc/self/maps") as maps:
        path = re.search(r"/\S*/{}\.so\S*".format(stem), maps.read())
        if path:
            library = ctypes.CDLL(path.group())
            parts = [getattr(library, "getInferLib{}Version".format(part)) for part in ("Major", "Minor", "Patch")]
            return ".".join(str(part()) for part in parts)
    return None


@functools.lru_cache(maxsize=None)  # one for each package, since TensorRT keeps the first that it gets
def log_of(trt: Any) -> Any:
    """The log of this process: a tensorrt.ILogger. Its `errors` are those since the last clear()."""
    levels = {trt.ILogger.WARNING: logging.INFO, trt.ILogger.INFO: logging.DEBUG}

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]
        """Keeps errors, and passes all messages to our logger. Warnings become INFO: most need no action."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: List[str] = []

        def log(self, severity: Any, msg: str) -> None:
            """TensorRT calls it, also from its own threads."""
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(" ".join(str(msg).split()))
            logger.log(levels.get(severity, logging.DEBUG), "TensorRT: %s", msg)

        def clear(self) -> None:
            """Deletes old errors. Call it before a step that may fail."""
            self.errors = []

        def reason(self) -> str:
            """The errors in one line."""
            if not self.errors:
                return "TensorRT does not say why"
            return "; ".join(self.errors[:MOST_ERRORS])

    return Log()


def monitor_of(trt: Any, report: Callable[[str], None]) -> Any:
    """A tensorrt.IProgressMonitor that reports the progress of a build; None before TensorRT 10."""
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        """Reports the steps of top-level phases. Those inside others are too short to read."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: Dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: Optional[str], num_steps: int) -> None:
            """TensorRT calls it, also from its own threads."""
            if parent_phase is None:
                self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            """Returns True: the build goes on."""
            if phase_name in self._steps:
                report("{}, step {} of {}".format(phase_name, step + 1, self._steps[phase_name]))
            return True

        def phase_finish(self, phase_name: str) -> None:
            """Does nothing: the next phase reports itself."""

    return Monitor()
