"""What an engine needs of CUDA: the primary context, one stream, buffers on both sides, events, graphs.

Makes a Session on device 0 by pycuda, and Graphs by a few calls on libcudart, since pycuda has none. On the machine
that runs engines. Leaves out what is enqueued. No managed or mapped memory: on a Tegra the processor's touching it
while a kernel runs is a crash, and what they would save has not been measured on a board.

TensorRT and libcudart use the device's primary context, so it is retained here and never made anew; it is pushed for
each use, since a context is current in one thread only.
"""

import contextlib
import ctypes
import ctypes.util
import threading
from typing import Any, Callable, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np

from pomt_trt.core.errors import MissingDependency, PomtError

LEAST_RUNTIME = 10010  # CUDA 10.1: cudaStreamBeginCapture takes a mode since
CLEAN_INSTANTIATE = 12000  # cudaGraphInstantiate takes flags instead of an error's node, log and its size
THREAD_LOCAL = 1  # cudaStreamCaptureModeThreadLocal: what other threads do meanwhile is their own affair
_LIBRARIES = ("libcudart.so", "/usr/local/cuda/lib64/libcudart.so", "libcudart.so.13", "libcudart.so.12") + (
    "libcudart.so.11.0",
    "libcudart.so.10.2",
)


class Gpu(NamedTuple):
    """The GPU that engines run on."""

    name: str
    compute_capability: str  # such as 8.7
    multiprocessors: int
    memory_bytes: int


def gpu() -> Gpu:
    """CUDA device 0; no context is made.

    Raises: MissingDependency where pycuda is not installed, or there is no CUDA device.
    """
    driver = _driver()
    device = driver.Device(0)
    return Gpu(
        name=device.name(),
        compute_capability="{}.{}".format(*device.compute_capability()),
        multiprocessors=device.get_attribute(driver.device_attribute.MULTIPROCESSOR_COUNT),
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
    """One input or output: memory on both sides."""

    host: np.ndarray
    page_locked: Any  # pycuda's PagelockedHostAllocation, which `host` shows; None: `host` is pageable
    device: Any  # pycuda's DeviceAllocation; int() of it is the address


class Session:
    """The primary context of device 0 with one stream, for one engine; close gives all of it back.

    `with session.current():` around everything that touches CUDA, which lets one thread in at a time.
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

        Raises: PomtError for what CUDA reports meanwhile.
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
        made = Buffer(host, host.base, self._driver.mem_alloc(host.nbytes))
        self._buffers.append(made)
        return made

    def pageable(self, buffer: Buffer) -> Buffer:
        """The same device memory behind pageable memory of the host. It goes with `buffer`."""
        return buffer._replace(host=np.empty(buffer.host.shape, np.float32), page_locked=None)

    @property
    def compute_capability(self) -> Tuple[int, int]:
        """Such as (8, 7)."""
        major, minor = self._driver.Device(0).compute_capability()
        return major, minor

    def copy_in(self, buffer: Buffer) -> None:
        """Enqueues the copy of a buffer to the device."""
        self._driver.memcpy_htod_async(buffer.device, buffer.host, self.stream)

    def copy_out(self, buffer: Buffer) -> None:
        """Enqueues the copy of a buffer from the device."""
        self._driver.memcpy_dtoh_async(buffer.host, buffer.device, self.stream)

    def event(self) -> Any:
        """An event that has been enqueued now, for elapsed_ms."""
        made = self._driver.Event()
        made.record(self.stream)
        return made

    def wait(self, passive: bool) -> None:
        """Until the stream has done all that was enqueued: asleep (passive), or asking without pause."""
        if passive:
            self._done.record(self.stream)
            self._done.synchronize()
            return
        while not self.stream.is_done():
            pass
        self.stream.synchronize()  # done: it raises what a kernel failed of

    def at_close(self, free: Callable[[], Any]) -> None:
        """Has `free` called before the context goes, later ones first."""
        self._closing.append(free)

    def close(self) -> None:
        """Gives everything back; harmless where that was done before."""
        if self._context is None:
            return
        with self.current():
            with contextlib.suppress(self._driver.Error):  # it was told where it happened
                self.stream.synchronize()
            for free in reversed(self._closing):
                free()
            for buffer in self._buffers:
                buffer.device.free()
                buffer.page_locked.free()  # here, where the context is current, and not whenever Python comes to it
            self._closing, self._buffers = [], []
            self._done = self.stream = None
        self._context.detach()
        self._context = None


def _reported(what: Any) -> PomtError:
    return PomtError(
        "CUDA reports: {}. If memory ran out, close other programs, or take a smaller --batch-size; else look at the "
        "end of dmesg, and run the same command again.".format(what)
    )


def elapsed_ms(start: Any, end: Any) -> float:
    """Milliseconds between two events that the device has passed."""
    return float(start.time_till(end))


class GraphUnavailable(Exception):
    """No CUDA graph can be had, and why; what it would run is then enqueued each time."""


class Graph:
    """What a stream was told, captured once, to be launched as one."""

    def __init__(self, library: Any, stream: int, enqueue: Callable[[], bool]) -> None:
        """Captures what `enqueue` enqueues on `stream`; it must have run once before.

        Raises: GraphUnavailable.
        """
        self._library, self._stream = library, ctypes.c_void_p(stream)
        self._executable = ctypes.c_void_p()
        graph = ctypes.c_void_p()
        _check(library, "cudaStreamBeginCapture", self._stream, ctypes.c_int(THREAD_LOCAL))
        try:
            went = enqueue()
        finally:  # a capture that was begun must end, or the stream is of no more use
            ended = library.cudaStreamEndCapture(self._stream, ctypes.byref(graph))
        if not went or ended != 0 or not graph.value:
            library.cudaGetLastError()  # which would be reported by the next call of anybody
            raise GraphUnavailable("the engine cannot be captured: {}".format(_text(library, ended)))
        try:
            _check(library, "cudaGraphInstantiate", ctypes.byref(self._executable), graph, *_options(library))
        finally:
            library.cudaGraphDestroy(graph)

    def launch(self) -> None:
        """Enqueues all of it.

        Raises: PomtError.
        """
        error = self._library.cudaGraphLaunch(self._executable, self._stream)
        if error:
            raise _reported("cudaGraphLaunch: {}".format(_text(self._library, error)))

    def close(self) -> None:
        """Frees it."""
        self._library.cudaGraphExecDestroy(self._executable)


def capture(session: Session, enqueue: Callable[[], bool]) -> Graph:
    """A Graph of what `enqueue` enqueues on the session's stream, freed with the session.

    Raises: GraphUnavailable where libcudart is absent or too old, or the work cannot be captured.
    """
    graph = Graph(_cudart(), session.stream.handle, enqueue)
    session.at_close(graph.close)
    return graph


def _cudart() -> Any:
    """libcudart, with argument types set.

    Raises: GraphUnavailable.
    """
    library = _loaded()
    version = _version(library)
    if version < LEAST_RUNTIME:
        raise GraphUnavailable("libcudart {} has no graphs as they are used here".format(version))
    library.cudaGetErrorString.restype = ctypes.c_char_p
    library.cudaGraphLaunch.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    return library


def _loaded() -> Any:
    found = ctypes.util.find_library("cudart")
    for name in ((found,) if found else ()) + _LIBRARIES:
        with contextlib.suppress(OSError):
            return ctypes.CDLL(name)
    raise GraphUnavailable("libcudart is not found")


def _version(library: Any) -> int:
    """Such as 12060 for CUDA 12.6."""
    number = ctypes.c_int()
    try:
        _check(library, "cudaRuntimeGetVersion", ctypes.byref(number))
    except AttributeError as error:
        raise GraphUnavailable("libcudart is none: {}".format(error)) from error
    return number.value


def _options(library: Any) -> Tuple[Any, ...]:
    """The arguments of cudaGraphInstantiate after the graph."""
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
