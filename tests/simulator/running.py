"""Cores of ICudaEngine and IExecutionContext: a plan that was loaded is run by ONNX Runtime.

An engine runs its graph as it was exported, whatever precision was asked of the builder: numbers and times say nothing
about TensorRT. Results appear in device memory when the stream is waited for, never before.
"""

import os
import tempfile
import time
from typing import Any, Dict, NamedTuple, Optional, Tuple

import numpy as np

from . import plan
from .basics import nptype, say
from .inspecting import InspectorCore
from .kernels import RuntimeConfigCore

_QUIET = 3  # ONNX Runtime's ERROR


class Tensor(NamedTuple):
    """An input or output of an engine."""

    name: str
    is_input: bool
    kind: Any  # a trt.DataType
    shape: Tuple[int, ...]


class EngineCore:
    """An ICudaEngine. Its tensors are the inputs, then the outputs."""

    def __init__(self, trt: Any, logger: Any, opened: plan.Plan) -> None:
        self.trt, self.logger, self.plan = trt, logger, opened
        self.io = [
            Tensor(name, is_input, getattr(trt.DataType, kind), tuple(shape))
            for name, is_input, kind, shape in opened.header["io"]
        ]
        self.num_io_tensors = self.num_bindings = len(self.io)

    def create_engine_inspector(self) -> Any:
        return self.trt._wrap("EngineInspector", InspectorCore(self.plan.header))

    def create_execution_context(self, how: Any = None) -> Any:
        """`how`: an allocation strategy, or an IRuntimeConfig."""
        return self.trt._wrap("IExecutionContext", ContextCore(self.trt, self, getattr(how, "_core", None)))

    def create_runtime_config(self) -> Any:
        return self.trt._wrap("IRuntimeConfig", RuntimeConfigCore(self.trt, self.logger))

    def tensor(self, name: Any) -> Tensor:
        """A tensor by its name or number."""
        return next(tensor for number, tensor in enumerate(self.io) if name in (tensor.name, number))

    def get_tensor_name(self, index: int) -> str:
        return self.io[index].name

    get_binding_name = get_tensor_name

    def get_tensor_shape(self, name: Any) -> Any:
        return self.trt.Dims(self.tensor(name).shape)

    get_binding_shape = get_tensor_shape

    def get_tensor_dtype(self, name: Any) -> Any:
        return self.tensor(name).kind

    get_binding_dtype = get_tensor_dtype

    def binding_is_input(self, name: Any) -> bool:
        return self.tensor(name).is_input

    def get_tensor_mode(self, name: str) -> Any:
        modes = self.trt.TensorIOMode
        return modes.INPUT if self.tensor(name).is_input else modes.OUTPUT


class ContextCore:
    """An IExecutionContext."""

    def __init__(self, trt: Any, core: EngineCore, config: Optional[RuntimeConfigCore]) -> None:
        self._trt, self._core, self._config = trt, core, config
        self._addresses: Dict[str, int] = {}
        self._session = _session(core.plan)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[self._core.tensor(name).name] = int(memory)
        return True

    def execute_async_v2(self, bindings: Any, stream_handle: int, consumed: Any = None) -> bool:
        if len(bindings) != len(self._core.io):
            return self._refuse("{} bindings for {} tensors".format(len(bindings), len(self._core.io)))
        names = [tensor.name for tensor in self._core.io]
        return self._enqueue(dict(zip(names, map(int, bindings))), stream_handle)

    def execute_async_v3(self, stream_handle: int) -> bool:
        unset = [tensor.name for tensor in self._core.io if not self._addresses.get(tensor.name)]
        if unset:
            return self._refuse("Address is not set for {} tensor {}".format("input or output", unset[0]))
        return self._enqueue(dict(self._addresses), stream_handle)

    def _refuse(self, reason: str) -> bool:
        say(self._core.logger, "ERROR", "Error Code 3: API Usage Error ({})".format(reason))
        return False

    def _enqueue(self, addresses: Dict[str, int], stream_handle: int) -> bool:
        board = self._trt._board
        if board.fault("false-execution") is not None:
            say(self._core.logger, "ERROR", "Error Code 1: Cuda Runtime (an illegal memory access was encountered)")
            return False
        board.streams.queue(int(stream_handle)).add(lambda: self._run(addresses))
        return True

    def _run(self, addresses: Dict[str, int]) -> None:
        if self._config is not None:
            self._config.compile(self._core.plan)
        given, memory = {}, self._trt._board.memory
        for value in self._session.get_inputs():
            tensor = self._core.tensor(value.name)
            kind = np.dtype(nptype(tensor.kind))
            block = memory.bytes_at(addresses[value.name], int(np.prod(tensor.shape)) * kind.itemsize)
            array = block.view(kind).reshape(tensor.shape)
            given[value.name] = array.astype(np.int64) if value.type == "tensor(int64)" else array
        outputs = [tensor for tensor in self._core.io if not tensor.is_input]
        for tensor, result in zip(outputs, self._session.run([tensor.name for tensor in outputs], given)):
            damaged = self._damaged(result).astype(nptype(tensor.kind))
            flat = np.ascontiguousarray(damaged).reshape(-1).view(np.uint8)
            memory.bytes_at(addresses[tensor.name], flat.nbytes)[:] = flat
        _spend(self._core.plan.header["extra_ms"])

    def _damaged(self, result: np.ndarray) -> np.ndarray:
        board = self._trt._board
        if board.fault("nan-logits", self._core.plan.header["path"]) is not None:
            return np.full_like(result, np.nan)
        relative = float(board.fault("wrong-logits") or 0)
        signs = np.random.RandomState(0).choice([-1.0, 1.0], size=result.shape)
        return result * (1 + relative * signs) if relative else result


def _session(opened: plan.Plan) -> Any:
    """An ONNX Runtime session on the plan's graph."""
    import onnxruntime

    with tempfile.TemporaryDirectory(prefix="simulated-plan-") as folder:
        path = os.path.join(folder, "model.onnx")
        for name, content in dict(opened.files, **{"model.onnx": opened.model}).items():
            with open(os.path.join(folder, name), "wb") as file:
                file.write(content)
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = _QUIET, 1
        if "BF16" in opened.header["tensors"].values() or opened.header["by_plugin"]:
            _make_runnable(path)
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _make_runnable(path: str) -> None:
    """Rewrites a graph that is in bf16 or has plugins' nodes, as the host does to check it."""
    import onnx

    from pomt_trt.host.graphs import plugin_graphs
    from pomt_trt.host.precision import bf16

    model = onnx.load(path, load_external_data=False)
    bf16.make_runnable(model)
    plugin_graphs.make_runnable(model)
    with open(path, "wb") as file:
        file.write(model.SerializeToString())


def _spend(extra_ms: float) -> None:
    """Makes a run longer than its graph by so much."""
    until = time.perf_counter() + extra_ms / 1e3
    while extra_ms and time.perf_counter() < until:
        pass
