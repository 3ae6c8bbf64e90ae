"""Devices, contexts, streams and events of the stand-in pycuda.driver, and its errors.

Each class is bound to a board by a subclass of the same name, since a module pycuda.driver knows one machine.
"""

import functools
from typing import Any, Callable, Optional, Tuple

from .board import Board
from .memory import IllegalAddress, Moment

EVENT_FLAGS = {"DEFAULT": 0, "BLOCKING_SYNC": 1, "DISABLE_TIMING": 2, "INTERPROCESS": 4}


class Error(Exception):
    """pycuda.driver.Error"""


LogicError, MemoryError_, RuntimeError_ = (
    type(name, (Error,), {}) for name in ("LogicError", "MemoryError", "RuntimeError")
)


@functools.lru_cache(maxsize=None)
def bound(board: Board, kind: type) -> Any:
    """The class of this kind on a board; the same one at every call."""
    return type(kind.__name__, (kind,), {"_board": board, "__module__": "pycuda._driver"})


class _OnBoard:
    _board: Board


class Device(_OnBoard):
    """One GPU, number 0."""

    def __init__(self, number: int) -> None:
        if not self._board.initialised:
            raise LogicError("cuDeviceGet failed: initialization error")
        if number != 0:
            raise LogicError("cuDeviceGet failed: invalid device ordinal")

    @classmethod
    def count(cls) -> int:
        if not cls._board.initialised:
            raise LogicError("cuDeviceGetCount failed: initialization error")
        return 1

    def name(self) -> str:
        return self._board.device.name

    def compute_capability(self) -> Tuple[int, int]:
        return self._board.device.compute_capability

    def total_memory(self) -> int:
        return self._board.device.memory_bytes

    def retain_primary_context(self) -> "Context":
        context: Context = bound(self._board, Context)()
        return context


class Context(_OnBoard):
    """The primary context; push makes it current in this thread."""

    def __init__(self) -> None:
        self._detached = False

    def push(self) -> None:
        if self._detached:
            raise LogicError("cuCtxPushCurrent failed: invalid device context")
        self._board.contexts.append(self)

    @classmethod
    def pop(cls) -> None:
        if not cls._board.contexts:
            raise LogicError("context::pop failed: invalid device context - cannot pop non-current context")
        cls._board.contexts.pop()

    def detach(self) -> None:
        if self._detached:
            raise LogicError("context::detach failed: invalid device context - cannot detach from invalid context")
        self._detached = True
        if self._board.contexts and self._board.contexts[-1] is self:
            self._board.contexts.pop()


class Stream(_OnBoard):
    """Work in order."""

    def __init__(self, flags: int = 0) -> None:
        require_context(self._board)
        self.handle = self._board.streams.create()

    def synchronize(self) -> None:
        require_context(self._board, "cuStreamSynchronize")
        checked("cuStreamSynchronize", self._board.streams.queue(self.handle).drain)

    def is_done(self) -> bool:
        require_context(self._board, "cuStreamQuery")
        queue = self._board.streams.queue(self.handle)
        checked("cuStreamQuery", queue.step)
        return queue.empty()


class Event(_OnBoard):
    """A point in a stream; milliseconds lie between two."""

    def __init__(self, flags: int = 0) -> None:
        require_context(self._board)
        self._moment = Moment()
        self._timed = not int(flags) & EVENT_FLAGS["DISABLE_TIMING"]

    def record(self, stream: Optional[Stream] = None) -> "Event":
        require_context(self._board, "cuEventRecord")
        self._moment.record(self._board.streams.queue(stream.handle if stream else 0))
        return self

    def synchronize(self) -> "Event":
        require_context(self._board, "cuEventSynchronize")
        checked("cuEventSynchronize", self._moment.wait)
        return self

    def time_since(self, event: "Event") -> float:
        require_context(self._board, "cuEventElapsedTime")
        if not (self._timed and event._timed) or None in (self._moment.queue, event._moment.queue):
            raise LogicError("cuEventElapsedTime failed: invalid resource handle")
        if self._moment.passed_s is None or event._moment.passed_s is None:
            raise RuntimeError_("cuEventElapsedTime failed: device not ready")
        return (self._moment.passed_s - event._moment.passed_s) * 1e3

    def time_till(self, event: "Event") -> float:
        return event.time_since(self)


class DeviceAllocation(_OnBoard):
    """Device memory; int() of it is the address."""

    def __init__(self, address: int) -> None:
        self._address: Optional[int] = address

    def __int__(self) -> int:
        if self._address is None:
            raise LogicError("device_allocation::free failed: invalid resource handle")
        return self._address

    __index__ = __int__

    def free(self) -> None:
        require_context(self._board, "cuMemFree")
        self._board.memory.free(int(self))
        self._address = None

    def __del__(self) -> None:
        if self._address is not None:
            self._board.memory.free(self._address)


def require_context(board: Board, call: str = "") -> None:
    """Raises LogicError where this thread has no current context; without a call, as making an object does."""
    if not board.contexts and call:
        raise LogicError("{} failed: invalid device context".format(call))
    if not board.contexts:
        raise LogicError("explicit_context_dependent failed: invalid device context - no currently active context?")


def checked(call: str, work: Callable[[], Any]) -> None:
    try:
        work()
    except IllegalAddress as error:
        raise LogicError("{} failed: an illegal memory access was encountered ({})".format(call, error)) from error
