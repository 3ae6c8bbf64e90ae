"""Cores of ICudaEngine and IExecutionContext: a plan that was loaded is run by ONNX Runtime.

An engine runs its graph as it was exported, whatever precision was asked of the builder: numbers and times say nothing
about TensorRT. Results appear in device memory when the stream is waited for, never before.
"""

import os
import shutil
import tempfile
import time
from typing import Any, Dict, List, Optional

import numpy as np

from . import plan
from .basics import dims, nptype, say
from .inspecting import InspectorCore
from .kernels import RuntimeConfigCore
from .memory import IllegalAddress

_QUIET = 3  # ONNX Runtime's ERROR


class EngineCore:
    """An ICudaEngine. Its tensors are the inputs, then the outputs."""

    def __init__(self, trt: Any, logger: Any, opened: plan.Plan) -> None:
        self.trt, self.logger, self.plan = trt, logger, opened
        self.io = [
            (name, is_input, getattr(trt.DataType, kind), tuple(shape)) for name, is_input, kind, shape in self._io()
        ]
        self.name = opened.header["name"]
        self.num_io_tensors = self.num_bindings = len(self.io)
        self.num_layers = len(InspectorCore(trt, opened.header).layers())

    def _io(self) -> List[Any]:
        io: List[Any] = self.plan.header["io"]
        return io

    def create_engine_inspector(self) -> Any:
        return self.trt._wrap("EngineInspector", InspectorCore(self.trt, self.plan.header))

    def create_execution_context(self, how: Any = None) -> Any:
        """`how`: an allocation strategy, or an IRuntimeConfig."""
        wrapper = self.trt._wrap("ICudaEngine", self)
        config = getattr(how, "_core", None)
        return self.trt._wrap("IExecutionContext", ContextCore(self.trt, wrapper, self, config))

    def create_runtime_config(self) -> Any:
        return self.trt._wrap("IRuntimeConfig", RuntimeConfigCore(self.trt, self.logger))

    def position(self, name: Any) -> Optional[int]:
        """Position of a tensor by its name or number; None, and an error in the logger, where it is none of ours."""
        for number, (each, _, _, _) in enumerate(self.io):
            if name in (each, number):
                return number
        say(self.logger, "ERROR", "Error Code 3: API Usage Error (no tensor {!r})".format(name))
        return None

    def get_tensor_name(self, index: int) -> Any:
        position = self.position(index)
        return None if position is None else self.io[position][0]

    get_binding_name = get_tensor_name

    def get_binding_index(self, name: str) -> int:
        position = self.position(name)
        return -1 if position is None else position

    def get_tensor_shape(self, name: Any) -> Any:
        position = self.position(name)
        return dims(self.trt, () if position is None else self.io[position][3])

    get_binding_shape = get_tensor_shape

    def get_tensor_dtype(self, name: Any) -> Any:
        position = self.position(name)
        return self.trt.DataType.FLOAT if position is None else self.io[position][2]

    get_binding_dtype = get_tensor_dtype

    def binding_is_input(self, name: Any) -> bool:
        position = self.position(name)
        return position is not None and self.io[position][1]

    def get_tensor_mode(self, name: str) -> Any:
        modes, position = self.trt.TensorIOMode, self.position(name)
        if position is None:
            return modes.NONE
        return modes.INPUT if self.io[position][1] else modes.OUTPUT

    def __len__(self) -> int:
        return len(self.io)

    def __getitem__(self, key: Any) -> Any:
        position = self.position(key)
        if position is None:
            raise IndexError(key)
        return position if isinstance(key, str) else self.io[position][0]


class ContextCore:
    """An IExecutionContext."""

    def __init__(self, trt: Any, engine: Any, core: EngineCore, config: Optional[RuntimeConfigCore] = None) -> None:
        self._trt, self.engine, self._core, self._config = trt, engine, core, config
        self._addresses: Dict[str, int] = {}
        self._session = _session(core.plan)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if self._core.position(name) is None:
            return False
        self._addresses[name] = int(memory)
        return True

    def get_tensor_shape(self, name: Any) -> Any:
        return self._core.get_tensor_shape(name)

    get_binding_shape = get_tensor_shape

    def execute_async_v2(self, bindings: Any, stream_handle: int, consumed: Any = None) -> bool:
        if len(bindings) != len(self._core.io):
            return self._refuse("{} bindings for {} tensors".format(len(bindings), len(self._core.io)))
        names = [name for name, _, _, _ in self._core.io]
        return self._enqueue(dict(zip(names, map(int, bindings))), stream_handle)

    def execute_async_v3(self, stream_handle: int) -> bool:
        unset = [name for name, _, _, _ in self._core.io if not self._addresses.get(name)]
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
        try:
            queue = board.streams.queue(int(stream_handle))
        except IllegalAddress as error:
            return self._refuse(str(error))
        queue.add(lambda: self._run(addresses))
        return True

    def _run(self, addresses: Dict[str, int]) -> None:
        if self._config is not None:
            self._config.compile(self._core.plan)
        given, memory = {}, self._trt._board.memory
        for value in self._session.get_inputs():
            _, _, kind, shape = self._core.io[self._core.get_binding_index(value.name)]
            itemsize = np.dtype(nptype(self._trt, kind)).itemsize
            block = memory.bytes_at(addresses[value.name], int(np.prod(shape)) * itemsize)
            array = block.view(nptype(self._trt, kind)).reshape(shape)
            given[value.name] = array.astype(np.int64) if value.type == "tensor(int64)" else array
        names = [name for name, is_input, _, _ in self._core.io if not is_input]
        for name, result in zip(names, self._session.run(names, given)):
            kind = nptype(self._trt, self._core.io[self._core.get_binding_index(name)][2])
            flat = np.ascontiguousarray(self._damaged(result).astype(kind)).reshape(-1).view(np.uint8)
            memory.bytes_at(addresses[name], flat.nbytes)[:] = flat
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

    folder = tempfile.mkdtemp(prefix="simulated-plan-")
    try:
        path = os.path.join(folder, "model.onnx")
        for name, content in dict(opened.files, **{"model.onnx": opened.model}).items():
            with open(os.path.join(folder, name), "wb") as file:
                file.write(content)
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = _QUIET, 1
        if "BF16" in opened.header["tensors"].values() or opened.header["by_plugin"]:
            _make_runnable(path)
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
