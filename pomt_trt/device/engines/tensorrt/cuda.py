"""CUDA for one engine: context, stream, buffers and events by pycuda, and CUDA graphs by libcudart.

TensorRT and libcudart use the primary context of device 0, so a Session retains it instead of creating one. It pushes
the context for each use, since a context is current in one thread only.

There is no managed or mapped memory. On a Tegra the process crashes if the processor touches such memory while a kernel
runs, and no gain has been measured on a board.
"""

import contextlib
import ctypes
import ctypes.util
import threading
from typing import Any, Callable, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np

from pomt_trt.core.errors import MissingDependency, PomtError

LEAST_RUNTIME = 10010  # CUDA 10.1: from here on cudaStreamBeginCapture takes a mode
CLEAN_INSTANTIATE = 12000  # CUDA 12.0: from here on cudaGraphInstantiate takes flags instead of error outputs
THREAD_LOCAL = 1  # cudaStreamCaptureModeThreadLocal: calls of other threads do not break a capture
_LIBRARIES = ("libcudart.so", "/usr/local/cuda/lib64/libcudart.so") + tuple(
    "libcudart.so." + version for version in ("13", "12", "11.0", "10.2")
)


class Gpu(NamedTuple):
    """The GPU that engines run on."""

    name: str
    compute_capability: str  # such as 8.7
    memory_bytes: int


def gpu() -> Gpu:
    """CUDA device 0. It creates no context.

    Raises: MissingDependency if pycuda is not installed, or there is no CUDA device.
    """
    device = _driver().Device(0)
    return Gpu(
        name=device.name(),
        compute_capability="{}.{}".format(*device.compute_capability()),
        memory_bytes=device.total_memory(),
    )


def _driver() -> Any:
    try:
        import pycuda.driver as driver
    except ImportError as error:
        raise MissingDependency(
            "pycuda is not installed here, or does not load ({}), and TensorRT engines run through it. Where CUDA's "
            "toolkit is: PATH=$PATH:/usr/local/cuda/bin pip install pycuda; on a board see jetson/README.md.".format(
                error
            )
        ) from error
    try:
        driver.init()
        count = driver.Device.count()
    except driver.Error as error:
        raise MissingDependency("CUDA cannot be used here: {}. {}".format(error, _NO_DEVICE)) from error
    if not count:
        raise MissingDependency("CUDA sees no device here. {}".format(_NO_DEVICE))
    return driver


_NO_DEVICE = (
    "Engines of TensorRT run on a GPU: look with nvidia-smi (on a Jetson: is the user in those of the groups video and "
    "render that exist, and was the container started with --runtime nvidia?), or take --engine onnxruntime."
)


class Buffer(NamedTuple):
    """Memory of one input or output, on the host and on the device."""

    host: np.ndarray
    page_locked: Any  # pycuda's PagelockedHostAllocation that `host` views; None: `host` is pageable
    device: Any  # pycuda's DeviceAllocation; int(device) is the address


class Session:
    """The primary context of device 0 with one stream, for one engine.

    All CUDA calls go inside `with session.current():`, which lets in one thread at a time.
    """

    def __init__(self) -> None:
        self._driver = _driver()
        self._lock = threading.RLock()
        self._context = self._driver.Device(0).retain_primary_context()
        self._buffers: List[Buffer] = []
        self._closing: List[Callable[[], Any]] = []
        with self.current():
            self.stream = self._driver.Stream()
            flags = self._driver.event_flags
            self._done = self._driver.Event(int(flags.BLOCKING_SYNC) | int(flags.DISABLE_TIMING))

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Makes the context current in this thread, and keeps other threads out.

        Raises: PomtError for an error of CUDA inside the block.
        """
        with self._lock:
            self._context.push()
            try:
                yield
            except self._driver.Error as error:
                raise _reported(error) from error
            finally:
                self._driver.Context.pop()

    def buffer(self, shape: Sequence[int]) -> Buffer:
        """Float32 memory for an array of `shape`."""
        host = self._driver.pagelocked_empty(tuple(shape), np.float32)
        buffer = Buffer(host, host.base, self._driver.mem_alloc(host.nbytes))
        self._buffers.append(buffer)
        return buffer

    def pageable(self, buffer: Buffer) -> Buffer:
        """The same device memory with pageable host memory. It is freed with `buffer`."""
        return buffer._replace(host=np.empty(buffer.host.shape, np.float32), page_locked=None)

    @property
    def compute_capability(self) -> Tuple[int, int]:
        """Of device 0, such as (8, 7)."""
        major, minor = self._driver.Device(0).compute_capability()
        return major, minor

    def copy_in(self, buffer: Buffer) -> None:
        """Enqueues the copy of a buffer to the device."""
        self._driver.memcpy_htod_async(buffer.device, buffer.host, self.stream)

    def copy_out(self, buffer: Buffer) -> None:
        """Enqueues the copy of a buffer from the device."""
        self._driver.memcpy_dtoh_async(buffer.host, buffer.device, self.stream)

    def event(self) -> Any:
        """Enqueues an event: pycuda's, with time_till."""
        event = self._driver.Event()
        event.record(self.stream)
        return event

    def wait(self, passive: bool) -> None:
        """Waits for the stream: asleep until an event (passive), or polling without a pause."""
        if passive:
            self._done.record(self.stream)
            self._done.synchronize()
            return
        while not self.stream.is_done():
            pass
        self.stream.synchronize()  # raises the error of a kernel that failed

    def at_close(self, free: Callable[[], Any]) -> None:
        """Calls `free` on close, before the context is released; the last registered first."""
        self._closing.append(free)

    def close(self) -> None:
        """Frees everything. A second call does nothing."""
        if self._context is None:
            return
        with self.current():
            with contextlib.suppress(self._driver.Error):  # the caller has this error already
                self.stream.synchronize()
            for free in reversed(self._closing):
                free()
            for buffer in self._buffers:
                buffer.device.free()
                buffer.page_locked.free()  # now, while the context is current; the garbage collector might do it later
            self._closing, self._buffers = [], []
            self._done = self.stream = None
        self._context.detach()
        self._context = None


def _reported(what: Any) -> PomtError:
    return PomtError(
        "CUDA reports: {}. If memory ran out, close other programs, or take a smaller --batch-size; else look at the "
        "end of dmesg, and run the same command again.".format(what)
    )


class GraphUnavailable(Exception):
    """There is no CUDA graph, for this reason. The caller enqueues the work for each run instead."""


class Graph:
    """Work on a session's stream that was captured once and is launched as a unit. It is freed with the session."""

    def __init__(self, session: Session, enqueue: Callable[[], bool]) -> None:
        """Captures the work that `enqueue` puts on the stream. `enqueue` must have run once before.

        Raises: GraphUnavailable if libcudart is absent or too old, or the work cannot be captured.
        """
        self._library = library = _cudart()
        self._stream, self._executable = ctypes.c_void_p(session.stream.handle), ctypes.c_void_p()
        graph = ctypes.c_void_p()
        _check(library, "cudaStreamBeginCapture", self._stream, ctypes.c_int(THREAD_LOCAL))
        try:
            succeeded = enqueue()
        finally:  # end the capture in any case, or the stream stays unusable
            ended = library.cudaStreamEndCapture(self._stream, ctypes.byref(graph))
        if not succeeded or ended != 0 or not graph.value:
            library.cudaGetLastError()  # clears the error, or the next CUDA call would report it
            raise GraphUnavailable("the engine cannot be captured: {}".format(_text(library, ended)))
        try:
            _check(library, "cudaGraphInstantiate", ctypes.byref(self._executable), graph, *_options(library))
        finally:
            library.cudaGraphDestroy(graph)
        session.at_close(lambda: library.cudaGraphExecDestroy(self._executable))

    def launch(self) -> None:
        """Enqueues the work.

        Raises: PomtError.
        """
        error = self._library.cudaGraphLaunch(self._executable, self._stream)
        if error:
            raise _reported("cudaGraphLaunch: {}".format(_text(self._library, error)))


def _cudart() -> Any:
    """libcudart with its argument types set.

    Raises: GraphUnavailable.
    """
    library = load_cudart()
    version = _version(library)
    if version < LEAST_RUNTIME:
        raise GraphUnavailable("libcudart {} is too old for CUDA graphs".format(version))
    library.cudaGraphLaunch.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    return library


def load_cudart() -> Any:
    """libcudart.

    Raises: GraphUnavailable.
    """
    on_path = ctypes.util.find_library("cudart")
    for name in ((on_path,) if on_path else ()) + _LIBRARIES:
        with contextlib.suppress(OSError):
            return ctypes.CDLL(name)
    raise GraphUnavailable("libcudart is not found")


def _version(library: Any) -> int:
    """Such as 12060 for CUDA 12.6."""
    number = ctypes.c_int()
    try:
        _check(library, "cudaRuntimeGetVersion", ctypes.byref(number))
    except AttributeError as error:
        raise GraphUnavailable("libcudart is not usable: {}".format(error)) from error
    return number.value


def _options(library: Any) -> Tuple[Any, ...]:
    """The last arguments of cudaGraphInstantiate, which depend on the version."""
    if _version(library) >= CLEAN_INSTANTIATE:
        return (ctypes.c_ulonglong(0),)
    return (None, None, ctypes.c_size_t(0))


def _check(library: Any, call: str, *arguments: Any) -> None:
    error = getattr(library, call)(*arguments)
    if error:
        library.cudaGetLastError()
        raise GraphUnavailable("{}: {}".format(call, _text(library, error)))


def _text(library: Any, error: int) -> str:
    if not error:
        return "nothing was captured"
    library.cudaGetErrorString.restype = ctypes.c_char_p
    return (library.cudaGetErrorString(error) or b"error %d" % error).decode("ascii", "replace")
