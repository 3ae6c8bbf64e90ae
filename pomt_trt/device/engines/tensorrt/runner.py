"""A TensorRT engine that runs: host array in, host logits out, through staging and device buffers.

Makes a Runner from a serialised engine. On the machine it was built on. Leaves out building (trt_build) and what CUDA
needs (cuda). Named inputs and outputs where the release has them, numbered bindings before TensorRT 8.5.
"""

import logging
import statistics
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from pomt_trt.core.errors import BuildFailed, CorruptArtifact, MissingDependency, WrongDevice
from pomt_trt.device.engines.contract import GpuTimes, Runner
from pomt_trt.device.engines.tensorrt import cuda, staging
from pomt_trt.device.engines.tensorrt.bindings import log_of
from pomt_trt.device.engines.tensorrt.kernel_cache import KernelFiles, Kernels

logger = logging.getLogger(__name__)
TIMED_RUNS = 20  # whose median tells where the time goes


class Tensor(NamedTuple):
    """An input or output of an engine."""

    name: str
    is_input: bool
    shape: Tuple[int, ...]
    dtype: Any


class TrtRunner(Runner):
    """One execution context with its buffers and stream. Threads may share it: they take turns."""

    def __init__(
        self,
        trt: Any,
        path: str,
        waiting: str,
        cuda_graph: bool,
        kernels: KernelFiles,
        asked_staging: Optional[str] = None,
    ) -> None:
        """Loads an engine file, with the kernels that were compiled for it earlier.

        Args:
            asked_staging: see staging.chosen.
        Raises: CorruptArtifact where TensorRT refuses it, WrongDevice where it is of another release or for other GPUs,
            MissingDependency where the driver is too old, BuildFailed where it does not run.
        """
        self._passive, self._asked_staging = waiting == "passive", asked_staging
        self._log = log_of(trt)
        self._enqueue: Any = None  # enqueues one run; False where TensorRT refuses
        self._launch: Any = None  # that, or a CUDA graph of it
        self._context: Any = None
        self._engine: Any = None
        self._kernels: Optional[Kernels] = None
        self._session: Optional[cuda.Session] = cuda.Session()
        try:
            with self._session.current():
                self._load(trt, path, kernels)
                self._launch, self._cuda_graph = self._prepared(cuda_graph)
        except BaseException:
            self.close()
            raise

    def _load(self, trt: Any, path: str, kernels: KernelFiles) -> None:
        assert self._session is not None
        self._session.at_close(self._forget)
        self._log.clear()
        self._runtime = trt.Runtime(self._log)
        with open(path, "rb") as file:
            data = file.read()
        _check_validity(trt, self._runtime, data, path)
        self._engine = self._runtime.deserialize_cuda_engine(data)
        self._kernels = Kernels(trt, self._engine, kernels) if self._engine is not None else None
        self._context = self._kernels.context(self._engine) if self._kernels is not None else None
        if self._context is None:
            raise CorruptArtifact(
                "{} cannot be loaded: {}. Build it again: pomt-trt build WORK.".format(path, self._log.said())
            )
        tensors = tensors_of(trt, self._engine)
        shapes = [tensor.shape for tensor in tensors if tensor.is_input]
        if len(shapes) != 1 or len(tensors) != 2 or any(tensor.dtype != trt.DataType.FLOAT for tensor in tensors):
            raise CorruptArtifact(
                "{} has {}; one float32 input and one output were expected. Build it again: pomt-trt build "
                "WORK.".format(path, ", ".join("{} ({})".format(tensor.name, tensor.dtype) for tensor in tensors))
            )
        self.input_shape = shapes[0]  # type: ignore[assignment]
        self._bind(tensors)

    def _bind(self, tensors: List[Tensor]) -> None:
        """Makes buffers and the call that enqueues one run."""
        assert self._session is not None
        buffers = [self._session.buffer(tensor.shape) for tensor in tensors]
        given, result = buffers if tensors[0].is_input else buffers[::-1]
        session = self._session
        self._input, self._output, self._memory = staging.chosen(
            session, given, result, lambda: session.wait(self._passive), self._asked_staging
        )
        stream, context = self._session.stream.handle, self._context
        assert context is not None
        addresses = [int(buffer.device) for buffer in buffers]
        if hasattr(context, "set_tensor_address"):
            for tensor, address in zip(tensors, addresses):
                if not context.set_tensor_address(tensor.name, address):
                    raise BuildFailed("TensorRT takes no memory for {}: {}.".format(tensor.name, self._log.said()))
            self._enqueue = lambda: context.execute_async_v3(stream)
        else:
            self._enqueue = lambda: context.execute_async_v2(addresses, stream)

    def _prepared(self, cuda_graph: bool) -> Tuple[Callable[[], Any], str]:
        """What to call for a run, and whether that is a CUDA graph; after a first run, which a capture needs."""
        assert self._session is not None
        self._plainly()
        self._session.wait(self._passive)
        if not cuda_graph:
            return self._plainly, "off: not asked for"
        try:
            return cuda.capture(self._session, self._enqueue).launch, "on"
        except cuda.GraphUnavailable as error:
            logger.info("no CUDA graph: %s", error)
            return self._plainly, "off: {}".format(error)

    def _plainly(self) -> None:
        if not self._enqueue():
            raise BuildFailed(
                "the engine does not run: {}. Build it again: pomt-trt build WORK; if it stays, ask: pomt-trt "
                "doctor.".format(self._log.said())
            )

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Logits (batch, ...) of `batch`."""
        session = self._opened()
        with session.current():
            np.copyto(self._input.host, batch)
            session.copy_in(self._input)
            self._launch()
            session.copy_out(self._output)
            session.wait(self._passive)
            logits: np.ndarray = self._output.host.copy()
        return logits

    def gpu_times(self, batch: np.ndarray) -> GpuTimes:
        """Medians over some runs."""
        session = self._opened()
        with session.current():
            np.copyto(self._input.host, batch)
            seen = [self._timed(session) for _ in range(TIMED_RUNS)]
        return GpuTimes(*[statistics.median(column) for column in zip(*seen)])

    def _timed(self, session: cuda.Session) -> List[float]:
        """Milliseconds of each part of one run."""
        events = [session.event()]
        for part in (lambda: session.copy_in(self._input), self._launch, lambda: session.copy_out(self._output)):
            part()
            events.append(session.event())
        session.wait(self._passive)
        return [cuda.elapsed_ms(*pair) for pair in zip(events, events[1:])]

    def modes(self) -> Dict[str, Any]:
        """Memory, waiting and CUDA graph."""
        waiting = "asleep until an event" if self._passive else "asking the stream without pause"
        return {"memory": self._memory, "waiting": waiting, "cuda_graph": self._cuda_graph}

    def kernels(self) -> Optional[bytes]:
        """What TensorRT-RTX compiled; None for other releases."""
        with self._opened().current():
            return self._kernels.data() if self._kernels is not None else None

    def close(self) -> None:
        """Frees engine, buffers and stream; harmless where that was done before."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _forget(self) -> None:
        """Drops all that belongs to TensorRT, while the buffers that it was told of are still there."""
        if self._launch is not None and self._kernels is not None:
            self._kernels.save()
        self._enqueue = self._launch = self._context = self._kernels = self._engine = self._runtime = None

    def _opened(self) -> cuda.Session:
        assert self._session is not None, "the runner is closed"
        return self._session


def _check_validity(trt: Any, runtime: Any, data: bytes, path: str) -> None:
    """Raises an error with the reason where the library says that a serialised engine cannot run on this machine."""
    if not hasattr(runtime, "get_engine_validity"):
        return
    validity, diagnostics = runtime.get_engine_validity(data)
    if validity != trt.EngineValidity.INVALID:
        return
    bits = trt.EngineInvalidityDiagnostics.__members__
    found = {name for name, bit in bits.items() if int(diagnostics) & int(bit)}
    again = "Build it again: pomt-trt build WORK, or for a bundle: python -m pomt_trt.infer BUNDLE --rebuild"
    if "MALFORMED_ENGINE" in found:
        raise CorruptArtifact("{} is no engine of this library, or is damaged. {}.".format(path, again))
    if "VERSION_MISMATCH" in found or "UNSUPPORTED_CC" in found:
        why = "another version of the library" if "VERSION_MISMATCH" in found else "other GPUs than the one here"
        raise WrongDevice("{} was built for {}. {}.".format(path, why, again))
    raise MissingDependency(
        "{} cannot run here ({}: {}). Update NVIDIA's driver; pomt-trt doctor says what is there.".format(
            path, ", ".join(sorted(found)) or "no diagnostics", log_of(trt).said()
        )
    )


def tensors_of(trt: Any, engine: Any) -> List[Tensor]:
    """Inputs and outputs in the order of their addresses."""
    if not hasattr(engine, "num_io_tensors"):
        return [
            Tensor(
                engine.get_binding_name(number),
                engine.binding_is_input(number),
                tuple(engine.get_binding_shape(number)),
                engine.get_binding_dtype(number),
            )
            for number in range(engine.num_bindings)
        ]
    names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
    return [
        Tensor(
            name,
            engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT,
            tuple(engine.get_tensor_shape(name)),
            engine.get_tensor_dtype(name),
        )
        for name in names
    ]
