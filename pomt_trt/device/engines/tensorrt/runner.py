"""Runs a TensorRT engine: copies the batch to the device, executes, and copies the logits back.

Inputs and outputs have names from TensorRT 8.5 on, and numbers before.
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
TIMED_RUNS = 20  # gpu_times are medians of so many runs


class Tensor(NamedTuple):
    """An input or output of an engine."""

    name: str
    is_input: bool
    shape: Tuple[int, ...]
    dtype: Any


class TrtRunner(Runner):
    """One execution context with its buffers and stream. Threads may share it; they take turns."""

    def __init__(
        self,
        trt: Any,
        path: str,
        waiting: str,
        cuda_graph: bool,
        kernels: KernelFiles,
        asked_staging: Optional[str] = None,
    ) -> None:
        """Loads an engine file and the kernels that were compiled for it before.

        Args:
            asked_staging: see staging.chosen.
        Raises: CorruptArtifact if TensorRT refuses the file, WrongDevice if it is for another release or GPU,
            MissingDependency if the driver is too old, BuildFailed if the engine does not run.
        """
        self._passive, self._asked_staging = waiting == "passive", asked_staging
        self._log = log_of(trt)
        self._enqueue: Any = None  # enqueues one run; False if TensorRT refuses
        self._launch: Any = None  # _enqueue, or a CUDA graph of it
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
        self._session.at_close(self._release)
        self._log.clear()
        self._runtime = trt.Runtime(self._log)
        with open(path, "rb") as file:
            data = file.read()
        check_validity(trt, self._runtime, data, path)
        self._engine = self._runtime.deserialize_cuda_engine(data)
        self._kernels = Kernels(trt, self._engine, kernels) if self._engine is not None else None
        self._context = self._kernels.context(self._engine) if self._kernels is not None else None
        if self._context is None:
            raise CorruptArtifact(
                "{} cannot be loaded: {}. Build it again: pomt-trt build WORK.".format(path, self._log.reason())
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
        """Creates the buffers and the function that enqueues one run."""
        session = self._opened()
        buffers = [session.buffer(tensor.shape) for tensor in tensors]
        pair = (buffers[0], buffers[1]) if tensors[0].is_input else (buffers[1], buffers[0])
        self._input, self._output, self._memory = staging.chosen(
            session, pair, lambda: session.wait(self._passive), self._asked_staging
        )
        stream, context = session.stream.handle, self._context
        assert context is not None
        addresses = [int(buffer.device) for buffer in buffers]
        if hasattr(context, "set_tensor_address"):
            for tensor, address in zip(tensors, addresses):
                if not context.set_tensor_address(tensor.name, address):
                    raise BuildFailed("TensorRT takes no memory for {}: {}.".format(tensor.name, self._log.reason()))
            self._enqueue = lambda: context.execute_async_v3(stream)
        else:
            self._enqueue = lambda: context.execute_async_v2(addresses, stream)

    def _prepared(self, cuda_graph: bool) -> Tuple[Callable[[], Any], str]:
        """(the function that enqueues a run, state of the CUDA graph). Runs once before, since a capture needs that."""
        session = self._opened()
        self._enqueue_checked()
        session.wait(self._passive)
        if not cuda_graph:
            return self._enqueue_checked, "off: not asked for"
        try:
            return cuda.Graph(session, self._enqueue).launch, "on"
        except cuda.GraphUnavailable as error:
            logger.info("no CUDA graph: %s", error)
            return self._enqueue_checked, "off: {}".format(error)

    def _enqueue_checked(self) -> None:
        if not self._enqueue():
            raise BuildFailed(
                "the engine does not run: {}. Build it again: pomt-trt build WORK; if it stays, ask: pomt-trt "
                "doctor.".format(self._log.reason())
            )

    def run(self, batch: np.ndarray) -> np.ndarray:
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
        """Medians over TIMED_RUNS runs."""
        session = self._opened()
        with session.current():
            np.copyto(self._input.host, batch)
            rows = [self._timed(session) for _ in range(TIMED_RUNS)]
        return GpuTimes(*[statistics.median(column) for column in zip(*rows)])

    def _timed(self, session: cuda.Session) -> List[float]:
        """Milliseconds of each part of one run: copy in, compute, copy out."""
        events = [session.event()]
        for part in (lambda: session.copy_in(self._input), self._launch, lambda: session.copy_out(self._output)):
            part()
            events.append(session.event())
        session.wait(self._passive)
        return [float(start.time_till(end)) for start, end in zip(events, events[1:])]

    def modes(self) -> Dict[str, Any]:
        waiting = "asleep until an event" if self._passive else "asking the stream without pause"
        return {"memory": self._memory, "waiting": waiting, "cuda_graph": self._cuda_graph}

    def kernels(self) -> Optional[bytes]:
        with self._opened().current():
            return self._kernels.data() if self._kernels is not None else None

    def close(self) -> None:
        """Frees engine, buffers and stream. A second call does nothing."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _release(self) -> None:
        """Saves new kernels and frees all objects of TensorRT, before the buffers that they use are freed."""
        if self._launch is not None and self._kernels is not None:
            self._kernels.save()
        self._enqueue = self._launch = self._context = self._kernels = self._engine = self._runtime = None

    def _opened(self) -> cuda.Session:
        assert self._session is not None, "the runner is closed"
        return self._session


def check_validity(trt: Any, runtime: Any, data: bytes, path: str) -> None:
    """Raises an error with the reason if the library says that the engine cannot run on this machine."""
    if not hasattr(runtime, "get_engine_validity"):
        return
    validity, diagnostics = runtime.get_engine_validity(data)
    if validity != trt.EngineValidity.INVALID:
        return
    bits = trt.EngineInvalidityDiagnostics.__members__
    problems = {name for name, bit in bits.items() if int(diagnostics) & int(bit)}
    again = "Build it again: pomt-trt build WORK, or for a bundle: python -m pomt_trt.infer BUNDLE --rebuild"
    if "MALFORMED_ENGINE" in problems:
        raise CorruptArtifact("{} is no engine of this library, or is damaged. {}.".format(path, again))
    if "VERSION_MISMATCH" in problems or "UNSUPPORTED_CC" in problems:
        why = "another version of the library" if "VERSION_MISMATCH" in problems else "other GPUs than the one here"
        raise WrongDevice("{} was built for {}. {}.".format(path, why, again))
    raise MissingDependency(
        "{} cannot run here ({}: {}). Update NVIDIA's driver; pomt-trt doctor shows what is installed.".format(
            path, ", ".join(sorted(problems)) or "no diagnostics", log_of(trt).reason()
        )
    )


def tensors_of(trt: Any, engine: Any) -> List[Tensor]:
    """Inputs and outputs, in the order of the addresses that execute_async_v2 takes."""
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
