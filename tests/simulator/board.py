"""The board that is simulated: its device, its memory, and what is to go wrong on it.

One Board is shared by the stand-in tensorrt and pycuda of one installation. Faults come from the environment variable
POMT_SIMULATED_FAULTS or from the caller, separated by commas:

    no-device               pycuda finds none
    out-of-memory=NAME      a build of a graph whose path holds NAME dies of SIGKILL, as by the kernel's OOM killer
    none-build=NAME         ... returns None, and says why through the logger only
    foreign-cache           every timing cache is of another device
    build-noise=MS          every engine is slower than its graph by 0 to so many ms, drawn once a build
    wrong-logits=RELATIVE   every engine multiplies its output by 1 + RELATIVE, from random signs
    nan-logits=NAME         engines of graphs whose path holds NAME give NaN
    false-execution         every execution returns False
    slow-page-locked=MS     every copy from or to page-locked memory takes so much longer
    slow-pageable=MS        ... from or to any other memory of the host

NAME may be left out: then it is every graph.
"""

import threading
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from . import memory, tables

_ON_PATHS = ("out-of-memory", "none-build", "nan-logits")
FAULTS = _ON_PATHS + ("no-device", "foreign-cache", "build-noise", "wrong-logits", "false-execution")
FAULTS += ("slow-page-locked", "slow-pageable")


class Device(NamedTuple):
    """A GPU as CUDA describes it."""

    name: str
    compute_capability: Tuple[int, int]
    memory_bytes: int
    cuda: Tuple[int, int]


TX2 = Device("NVIDIA Tegra X2", (6, 2), 8 << 30, (10, 2))
XAVIER = Device("Xavier", (7, 2), 16 << 30, (11, 4))
ORIN = Device("Orin", (8, 7), 32 << 30, (12, 6))
THOR = Device("NVIDIA Thor", (11, 0), 128 << 30, (13, 0))
RTX_4090 = Device("NVIDIA GeForce RTX 4090", (8, 9), 24 << 30, (13, 0))
_DEVICES = {"8.2": TX2, "8.5": XAVIER, "8.6.1": ORIN._replace(cuda=(12, 2)), "10.3.0": ORIN, "10.13.3": THOR}
_DEVICES.update({"10.16.1": ORIN._replace(cuda=(13, 2)), "11.4.0": THOR._replace(cuda=(13, 2))})
_DEVICES[tables.RTX] = RTX_4090


class Board:
    """A device with one release of TensorRT, its memory and the contexts of its threads."""

    def __init__(self, release: str, device: Optional[Device] = None, faults: str = "") -> None:
        self.table = tables.load(release)
        self.parser = tables.parser_limits(release)
        self.device = device or _DEVICES[release]
        self.faults = _faults(faults)
        self.memory = memory.DeviceMemory(self.device.memory_bytes)
        self.streams = memory.Streams()
        self.initialised = False
        self._threads = threading.local()

    @property
    def contexts(self) -> List[Any]:
        """The stack of CUDA contexts of this thread, current last."""
        if not hasattr(self._threads, "stack"):
            self._threads.stack = []
        stack: List[Any] = self._threads.stack
        return stack

    def fault(self, name: str, path: str = "") -> Optional[str]:
        """The fault's setting where it is on, for this path where it names one; None where it is off."""
        setting = self.faults.get(name)
        if name in _ON_PATHS and setting is not None and setting not in path:
            return None
        return setting


def _faults(text: str) -> Dict[str, str]:
    faults = {}
    for part in filter(None, text.split(",")):
        name, _, setting = part.partition("=")
        if name not in FAULTS:
            raise ValueError("fault '{}' is not known. Choose from: {}.".format(name, ", ".join(FAULTS)))
        faults[name] = setting
    return faults
