"""The packages of TensorRT and TensorRT-RTX as they are installed here, and the log that alone says why they failed.

On the machine that runs engines. Leaves out building and running (trt_build, trt_runner). What a release can is asked
of its attributes, never of its version's number.
"""

import contextlib
import ctypes
import importlib
import logging
import re
from typing import Any, Callable, Dict, List, Optional

from pomt_trt.core.errors import MissingDependency

logger = logging.getLogger(__name__)
MOST_SAID = 3  # errors quoted in a message; TensorRT repeats itself


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

    Raises: MissingDependency where it is not installed, is older than 8.2, or loads native libraries of another
        version.
    """
    try:
        trt = importlib.import_module(_PACKAGES[engine])
    except (ImportError, OSError) as error:  # OSError: of a library that it opens itself
        raise MissingDependency(_INSTALL[engine].format(error)) from error
    if not hasattr(trt, "EngineInspector"):
        raise MissingDependency(
            "TensorRT {} is too old: 8.2 (JetPack 4.6.1) brought the engine inspector and what else is needed. JetPack "
            "4.6 has 8.0: flash JetPack 4.6.1 or later; a TX2 takes up to 4.6.6.".format(trt.__version__)
        )
    _check_native(trt)
    return trt


def named(trt: Any) -> str:
    """TensorRT 10.3.0, or TensorRT-RTX 1.7.1.116, in words."""
    return "{} {}".format({"tensorrt_rtx": "TensorRT-RTX"}.get(trt.__name__, "TensorRT"), trt.__version__)


def _check_native(trt: Any) -> None:
    """Raises MissingDependency where the native library in this process is of another version than the bindings."""
    native = _native_version(trt.__name__)
    bindings = ".".join(str(trt.__version__).split(".")[:3])
    if native is not None and native != bindings:
        raise MissingDependency(
            "the Python bindings of {} are version {}, and the native library that they load is version {}. Install "
            "both of one version, or correct LD_LIBRARY_PATH.".format(trt.__name__, bindings, native)
        )


def _native_version(name: str) -> Optional[str]:
    """Such as 1.7.1; None where no such library is loaded, or it does not say (before TensorRT 10)."""
    stem = {"tensorrt": "libnvinfer", "tensorrt_rtx": "libtensorrt_rtx"}[name]
    with contextlib.suppress(OSError, AttributeError), open("/proc/self/maps") as maps:
        found = re.search(r"(/\S*/{}\.so\S*)".format(stem), maps.read())
        if found:
            library = ctypes.CDLL(found.group(1))
            parts = [getattr(library, "getInferLib{}Version".format(part)) for part in ("Major", "Minor", "Patch")]
            return ".".join(str(part()) for part in parts)
    return None


_logs: Dict[Any, Any] = {}  # by ILogger: one for the package, since TensorRT keeps the first that it is given


def log_of(trt: Any) -> Any:
    """This process's log: a tensorrt.ILogger whose `errors` are what was reported since clear()."""
    if trt.ILogger not in _logs:
        _logs[trt.ILogger] = _log_class(trt)()
    return _logs[trt.ILogger]


def _log_class(trt: Any) -> Any:
    levels = {trt.ILogger.WARNING: logging.INFO, trt.ILogger.INFO: logging.DEBUG}

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]
        """Keeps errors; passes everything on to our own log, warnings as information: most concern nobody."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: List[str] = []

        def log(self, severity: Any, msg: str) -> None:
            """Called by TensorRT, from its own threads too."""
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(" ".join(str(msg).split()))
            logger.log(levels.get(severity, logging.DEBUG), "TensorRT: %s", msg)

        def clear(self) -> None:
            """Forgets errors, before something that may fail."""
            self.errors = []

        def said(self) -> str:
            """The errors as one line."""
            if not self.errors:
                return "TensorRT does not say why"
            return "; ".join(self.errors[:MOST_SAID])

    return Log


def monitor_of(trt: Any, told: Callable[[str], None]) -> Any:
    """A tensorrt.IProgressMonitor that tells how far a build is; None where the release has none (before 10)."""
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        """Tells the steps of phases that are part of no other; those inside come and go too fast."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: Dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: Optional[str], num_steps: int) -> None:
            """Called by TensorRT, from its own threads too."""
            if parent_phase is None:
                self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            """True: go on."""
            if phase_name in self._steps:
                told("{}, step {} of {}".format(phase_name, step + 1, self._steps[phase_name]))
            return True

        def phase_finish(self, phase_name: str) -> None:
            """Nothing: the next phase tells of itself."""

    return Monitor()
