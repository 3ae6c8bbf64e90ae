"""The stand-in `pycuda` and `pycuda.driver`: the modules, memory and copies.

There is no table of pycuda; the names, arguments and errors here are those of pycuda 2022.1, read in its source
(src/wrapper/wrap_cudadrv.cpp, src/cpp/cuda.hpp), and nothing else: no autoinit, no managed memory, no kernels, no
graphs. Calls without a current context fail as they do on a board.
"""

import time
import types
from typing import Any, Optional, Tuple

import numpy as np

from . import cuda_objects as objects
from .board import Board
from .cuda_objects import LogicError, MemoryError_, RuntimeError_, bound, require_context
from .enums import make as make_enum
from .memory import OutOfMemory, PageLocked


def make(board: Board) -> Tuple[types.ModuleType, types.ModuleType]:
    """The modules `pycuda` and `pycuda.driver`."""
    package, driver = types.ModuleType("pycuda"), types.ModuleType("pycuda.driver")
    vars(package).update(__path__=[], driver=driver)
    vars(driver).update(_Driver(board).names())
    return package, driver


class _Driver:
    """What the module holds, bound to one board."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def names(self) -> dict:
        kinds = (objects.Device, objects.Context, objects.Stream, objects.Event, objects.DeviceAllocation)
        classes = {each.__name__: bound(self.board, each) for each in kinds}
        functions = (self.init, self.mem_alloc, self.pagelocked_empty, self.memcpy_htod_async, self.memcpy_dtoh_async)
        names = dict(classes, **{function.__name__: function for function in functions})
        names.update(Error=objects.Error, LogicError=LogicError, MemoryError=MemoryError_, RuntimeError=RuntimeError_)
        return dict(names, event_flags=make_enum("event_flags", objects.EVENT_FLAGS))

    def init(self, flags: int = 0) -> None:
        if self.board.fault("no-device") is not None:
            raise RuntimeError_("cuInit failed: no CUDA-capable device is detected")
        self.board.initialised = True

    def mem_alloc(self, bytes: int) -> Any:
        require_context(self.board, "cuMemAlloc")
        try:
            return bound(self.board, objects.DeviceAllocation)(self.board.memory.allocate(int(bytes)))
        except OutOfMemory as error:
            raise MemoryError_("cuMemAlloc failed: out of memory") from error

    def pagelocked_empty(self, shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> np.ndarray:
        require_context(self.board)
        return np.asarray(PageLocked(shape, dtype))

    def memcpy_htod_async(self, dest: Any, src: Any, stream: Optional[Any] = None) -> None:
        require_context(self.board, "cuMemcpyHtoDAsync")
        queue, address = self.board.streams.queue(stream.handle if stream else 0), int(dest)
        queue.add(lambda: self._to_device(address, src))

    def memcpy_dtoh_async(self, dest: Any, src: Any, stream: Optional[Any] = None) -> None:
        require_context(self.board, "cuMemcpyDtoHAsync")
        queue, address = self.board.streams.queue(stream.handle if stream else 0), int(src)
        queue.add(lambda: self._to_host(dest, address))

    def _to_device(self, address: int, source: Any) -> None:
        host = _host_bytes(source)
        self._spend(source)
        self.board.memory.bytes_at(address, host.nbytes)[:] = host

    def _to_host(self, target: Any, address: int) -> None:
        host = _host_bytes(target)
        self._spend(target)
        if not host.flags.writeable:
            raise LogicError("cuMemcpyDtoH failed: the host buffer cannot be written")
        host[:] = self.board.memory.bytes_at(address, host.nbytes)

    def _spend(self, array: Any) -> None:
        """What a copy takes by the board's faults."""
        locked = isinstance(getattr(array, "base", None), PageLocked)
        time.sleep(float(self.board.fault("slow-page-locked" if locked else "slow-pageable") or 0) / 1e3)


def _host_bytes(array: Any) -> np.ndarray:
    if not isinstance(array, np.ndarray):
        return np.frombuffer(array, np.uint8)
    if not array.flags.c_contiguous:
        raise ValueError("ndarray is not contiguous")
    return array.reshape(-1).view(np.uint8)
