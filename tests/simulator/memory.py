"""Device memory and streams: nothing happens on a stream before somebody waits for it.

Work that is put on a stream is kept until the stream, or an event on it, is synchronised or asked about. So a result
read too early, a host buffer overwritten too soon and a buffer freed too soon are errors here as they are on a board.
Fresh memory and freed page-locked memory are full of 0xFF, which is NaN. Leaves out everything of a GPU's speed.
"""

import bisect
import functools
import time
from typing import Any, Callable, Dict, List, Optional

import numpy as np

_FIRST_ADDRESS = 0x7F0000000000
_ALIGNMENT = 512


class IllegalAddress(Exception):
    """An address that is not, or no longer, that of an allocation."""


class OutOfMemory(Exception):
    """More than the board has."""


class DeviceMemory:
    """Allocations by their address."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self._next = _FIRST_ADDRESS
        self._blocks: Dict[int, np.ndarray] = {}

    @property
    def used_bytes(self) -> int:
        return sum(block.nbytes for block in self._blocks.values())

    def allocate(self, size: int) -> int:
        """The address of `size` fresh bytes, never one that was used before."""
        if size <= 0 or self.used_bytes + size > self.capacity_bytes:
            raise OutOfMemory("{} bytes".format(size))
        address = self._next
        self._blocks[address] = np.full(size, 0xFF, np.uint8)
        self._next += (size // _ALIGNMENT + 2) * _ALIGNMENT
        return address

    def free(self, address: int) -> None:
        if self._blocks.pop(address, None) is None:
            raise IllegalAddress(hex(address))

    def bytes_at(self, address: int, size: int) -> np.ndarray:
        """The `size` bytes at an address, which may lie inside an allocation."""
        starts = sorted(self._blocks)
        position = bisect.bisect_right(starts, address) - 1
        if position >= 0:
            offset = address - starts[position]
            block = self._blocks[starts[position]]
            if offset + size <= block.nbytes:
                return block[offset : offset + size]
        raise IllegalAddress("{} bytes at {}".format(size, hex(address)))


class Queue:
    """Work of one stream, in order."""

    def __init__(self) -> None:
        self._waiting: List[Callable[[], None]] = []

    def add(self, work: Callable[[], None]) -> None:
        self._waiting.append(work)

    def step(self) -> bool:
        """Does the oldest piece of work; False where there is none."""
        if not self._waiting:
            return False
        self._waiting.pop(0)()
        return True

    def drain(self, until: Optional[Callable[[], bool]] = None) -> None:
        """Does everything, or until something has come true."""
        while not (until and until()) and self.step():
            pass

    def empty(self) -> bool:
        return not self._waiting


class Streams:
    """Queues by the handle that stands for a stream; 0 is the default stream."""

    def __init__(self) -> None:
        self._queues: Dict[int, Queue] = {0: Queue()}

    def create(self) -> int:
        handle = 0x55550000 + 64 * len(self._queues)
        self._queues[handle] = Queue()
        return handle

    def queue(self, handle: int) -> Queue:
        """Raises IllegalAddress for what is no stream of ours."""
        if handle not in self._queues:
            raise IllegalAddress("stream {}".format(hex(handle)))
        return self._queues[handle]


class Moment:
    """A point in a stream's work, and when it was passed: what an event records."""

    def __init__(self) -> None:
        self.queue: Optional[Queue] = None
        self.passed_s: Optional[float] = None
        self._records = 0

    def record(self, queue: Queue) -> None:
        self.queue, self.passed_s = queue, None
        self._records += 1
        queue.add(functools.partial(self._pass, self._records))

    def done(self) -> bool:
        return self.queue is None or self.passed_s is not None

    def wait(self) -> None:
        if self.queue is not None:
            self.queue.drain(until=self.done)

    def _pass(self, record: int) -> None:
        if record == self._records:
            self.passed_s = time.perf_counter()


class PageLocked:
    """Host memory that `numpy.asarray` turns into an array whose `base` this is, as pycuda's allocations do."""

    def __init__(self, shape: Any, dtype: Any) -> None:
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self._array = np.empty(shape, dtype)
        self._array.view(np.uint8).fill(0xFF)
        self.__array_interface__ = self._array.__array_interface__

    def free(self) -> None:
        """Fills the memory with 0xFF: a freed page is not to be read, here it can be noticed."""
        self._array.view(np.uint8).fill(0xFF)
