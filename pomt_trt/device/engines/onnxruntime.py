"""ONNX Runtime on the CPU as an engine library, the default without TensorRT.

An engine is an optimised model file that reads its weights from the weights.bin beside it. Needs ONNX Runtime 1.10 (the
last for Python 3.6) or later.
"""

import os
import tempfile
from typing import Any, Dict, List

import numpy as np

from pomt_trt.core.errors import BuildFailed, CorruptArtifact, MissingDependency
from pomt_trt.core.records import DeviceSpec, Engine
from pomt_trt.core.storage.store import copy, replacing, sha256_of, write_bytes
from pomt_trt.core.storage.workfolder import WEIGHTS
from pomt_trt.device.engines.contract import BuildOptions, Runner

PROBE_BYTES = 1 << 20
_QUIET = 3  # ONNX Runtime's ERROR. It warns about hardware-specific files, which check_device handles


def installed(engine: str = "onnxruntime") -> str:
    """ONNX Runtime's version.

    Raises: MissingDependency if it is not installed.
    """
    return str(_onnxruntime().__version__)


shared_pools: List[int] = []  # number of threads of the shared pool, once it exists


def share_threads(threads: int) -> bool:
    """Creates one pool of `threads` for all engines that are opened with shared_pool; only the first call counts.

    Why: the pools of several engines would spin and take the processor from each other. Returns False on releases that
    cannot share (before 1.21). Each engine then has its own pool, which must wait passively.
    """
    runtime = _onnxruntime()
    if not hasattr(runtime, "set_global_thread_pool_sizes"):
        return False
    if not shared_pools:
        runtime.set_global_thread_pool_sizes(threads, 1)
        shared_pools.append(threads)
    return True


def build(onnx_path: str, engine_path: str, device: DeviceSpec, options: BuildOptions) -> Dict[str, Any]:
    """Optimises a graph for this processor and saves it, see engine.build. Returns its own fields of the record."""
    weights = os.path.join(os.path.dirname(engine_path), WEIGHTS)
    source = os.path.join(os.path.dirname(onnx_path), WEIGHTS)
    weights_sha256 = None
    if os.path.isfile(source):
        weights_sha256 = sha256_of(source)
        if not os.path.isfile(weights) or sha256_of(weights) != weights_sha256:
            copy(source, weights)
    shape = _optimise(_onnxruntime(), onnx_path, engine_path, options.threads)
    precision = "fp32" if options.fp32_nodes else options.precision  # the CPU runs an fp32 graph in fp32
    return {"weights_sha256": weights_sha256, "input_shape": shape, "precision": precision}


def open_file(path: str, engine: Engine, threads: int, waiting: str, shared_pool: bool) -> Runner:
    """Opens an engine file that build() wrote, see engine.open_engine."""
    return OrtRunner(session(path, threads, waiting, shared_pool), engine.input_shape)


def session(path: str, threads: int, waiting: str, shared_pool: bool) -> Any:
    """A session that runs a graph without optimising it.

    Raises: CorruptArtifact if it cannot be loaded.
    """
    runtime = _onnxruntime()
    options = _session_options(runtime, threads, waiting, shared_pool)
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL  # an engine is optimised already
    try:
        return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base class but Exception
        raise CorruptArtifact(
            "{} cannot be loaded: {}. Build it again: pomt-trt build WORK.".format(path, _first_line(error))
        ) from error


class OrtRunner(Runner):
    """One ONNX Runtime session."""

    def __init__(self, session: Any, input_shape: Any) -> None:
        self.input_shape = input_shape
        self._session = session
        self._outputs = [session.get_outputs()[0].name]
        self._input = session.get_inputs()[0].name

    def run(self, batch: np.ndarray) -> np.ndarray:
        logits: np.ndarray = self._session.run(self._outputs, {self._input: batch})[0]
        return logits

    def close(self) -> None:
        """Frees the session."""
        self._session = None


def _session_options(runtime: Any, threads: int, waiting: str, shared_pool: bool) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = _QUIET
    shared_pool = shared_pool and hasattr(runtime, "set_global_thread_pool_sizes")
    if shared_pool:
        options.use_per_session_threads = False
    else:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0" if waiting == "passive" else "1")
    return options


def _optimise(runtime: Any, onnx_path: str, engine_path: str, threads: int) -> Any:
    """Writes the optimised model and returns the shape of its input. It reads the weights beside the graph."""
    place = os.path.dirname(engine_path)
    with replacing(engine_path) as finished, tempfile.TemporaryDirectory(prefix=".part-", dir=place) as folder:
        options = _session_options(runtime, threads, "passive", bool(shared_pools))  # a shared pool must be used
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.optimized_model_filepath = os.path.join(folder, os.path.basename(engine_path))
        try:
            session = runtime.InferenceSession(onnx_path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no base class but Exception
            if not type(error).__module__.startswith("onnxruntime"):
                raise
            # Raises WorkFolderUnusable if the disk is full. ONNX Runtime only reports a failed serialization then.
            write_bytes(os.path.join(folder, "probe"), bytes(PROBE_BYTES))
            raise BuildFailed(
                "ONNX Runtime {} cannot build {}: {}. Export it again, or install a newer ONNX Runtime.".format(
                    runtime.__version__, onnx_path, _first_line(error)
                )
            ) from error
        os.replace(options.optimized_model_filepath, finished)
        return tuple(session.get_inputs()[0].shape)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependency(
            "onnxruntime is not installed here, but its engines are to run on this machine. Install it with: "
            "pip install onnxruntime"
        ) from error
    return onnxruntime
