"""A stand-in `tensorrt` (or `tensorrt_rtx`) and `pycuda` for each release, for machines without a Jetson.

It exposes the names, members, enum values and argument lists of that release's bindings (tests/data/tensorrt_api) and
nothing more, reads graphs as that release's parser does (tests/data/onnx_ops.json), runs them by ONNX Runtime, and
fails as TensorRT fails: None and False, with the reason in the logger only. It shows our bookkeeping and nothing about
TensorRT: not its speed, not its numbers, not which kernels it picks, not what a GPU does with memory.

In one process, as a context manager, `board` being there to look into and to change faults:

    with simulator.installed("10.3.0") as board:
        import tensorrt

In child processes: `environment(release, faults)` is what to add to os.environ; it puts tests/simulator/site first on
PYTHONPATH, whose tensorrt, tensorrt_rtx and pycuda read POMT_SIMULATED_TENSORRT and POMT_SIMULATED_FAULTS (board.py).
"""

import contextlib
import os
import sys
from typing import Any, Dict, Iterator, Optional

from . import cuda, generated, plugins
from .basics import DimsCore, LoggerCore, host_memory_class
from .board import ORIN, THOR, TX2, XAVIER, Board, Device
from .building import BuilderCore
from .loading import RuntimeCore
from .parsing import ParserCore
from .plan import header as plan_header
from .tables import RELEASES, RTX

__all__ = ["ORIN", "RELEASES", "RTX", "THOR", "TX2", "XAVIER", "Board", "Device", "environment", "installed", "modules"]
__all__ += ["ALL", "engine_of", "plan_header", "modules_of_environment"]

ALL = RELEASES + (RTX,)

RELEASE_VARIABLE, FAULTS_VARIABLE = "POMT_SIMULATED_TENSORRT", "POMT_SIMULATED_FAULTS"
SITE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "site")

_BEHAVIOURS: Dict[str, Any] = {"Builder": BuilderCore, "Runtime": RuntimeCore, "OnnxParser": ParserCore}
_BEHAVIOURS.update({"Logger": LoggerCore, "IHostMemory": host_memory_class})
_BEHAVIOURS.update(dict.fromkeys(("Dims", "Dims2", "Dims3", "Dims4", "DimsHW"), DimsCore))


def modules(board: Board) -> Dict[str, Any]:
    """The modules of one board by their names in sys.modules."""
    package, driver = cuda.make(board)
    return {
        board.table.package: generated.make(board, _BEHAVIOURS, {"get_plugin_registry": plugins.registry}),
        "pycuda": package,
        "pycuda.driver": driver,
    }


@contextlib.contextmanager
def installed(release: str, device: Optional[Device] = None, faults: str = "") -> Iterator[Board]:
    """Puts the modules into sys.modules for as long as the block lasts.

    Raises: AssertionError where a context is left on this thread's stack, as pycuda aborts then at exit.
    """
    board = Board(release, device, faults)
    made = modules(board)
    before = {name: sys.modules.get(name) for name in made}
    sys.modules.update(made)
    try:
        yield board
    finally:
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
    assert not board.contexts, "a CUDA context is left on the stack: push and pop come in pairs"


def environment(release: str, faults: str = "") -> Dict[str, str]:
    """Variables for a child process that shall find the stand-ins."""
    paths = [SITE] + list(filter(None, [os.environ.get("PYTHONPATH")]))
    return {"PYTHONPATH": os.pathsep.join(paths), RELEASE_VARIABLE: release, FAULTS_VARIABLE: faults}


def engine_of(release: str) -> str:
    """The name of the engine library that a release is."""
    return "tensorrt-rtx" if release == RTX else "tensorrt"


def modules_of_environment() -> Dict[str, Any]:
    """The modules that the environment asks for; at exit a context left on the stack aborts, as with pycuda."""
    import atexit

    board = Board(os.environ[RELEASE_VARIABLE], faults=os.environ.get(FAULTS_VARIABLE, ""))

    def check() -> None:
        if board.contexts:
            print("PyCUDA ERROR: The context stack was not empty upon module cleanup.", file=sys.stderr)
            sys.stderr.flush()
            os.abort()

    atexit.register(check)
    return modules(board)
