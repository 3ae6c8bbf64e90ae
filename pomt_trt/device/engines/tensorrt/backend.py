"""TensorRT 8.2 to 11 and TensorRT-RTX as engine libraries, the same functions as device/engines/onnxruntime.

Makes engine files with their layers beside them, and Runners over them. On the machine that runs engines; TensorRT-RTX
also builds where there is no GPU (ahead.py). It and its parts (trt_library, trt_build, trt_runner, trt_cache) alone ask
what this TensorRT can: by its attributes, never by its name or version. Leaves out tokens, accuracy and latency.
"""

import os
import time
from typing import Any, Dict

from pomt_trt.core.records import DeviceSpec, Engine
from pomt_trt.core.storage import store
from pomt_trt.device.board import sensors
from pomt_trt.device.engines.contract import BuildOptions, Runner, layers_of
from pomt_trt.device.engines.tensorrt import building, gpu_targets, kernel_cache, plugin_files
from pomt_trt.device.engines.tensorrt.bindings import package
from pomt_trt.device.engines.tensorrt.runner import TrtRunner

_CLOCKS = {
    True: "floating",
    False: "locked",
    None: "unknown",
}  # tactics are picked by timing: under floating ones by luck


def installed(engine: str) -> str:
    """The full version of the library, such as 10.3.0, whether there is a GPU or not.

    Raises: MissingDependency where it is not installed or too old.
    """
    return str(package(engine).__version__)


def share_threads(threads: int) -> bool:
    """True: engines of one process do not disturb each other, since each waits only while it runs."""
    return True


def build(onnx_path: str, engine_path: str, device: DeviceSpec, candidate_id: str, options: BuildOptions) -> Engine:
    """Builds a graph for this GPU, or ahead of time for others, and saves it; see device.engine.build.

    Raises: UsageError for what cannot be built without a GPU.
    """
    if options.gpu is not None:
        gpu_targets.check(options.gpu, options.precision, options.plugin is not None)
    trt, started = package(device.engine), time.perf_counter()
    with store.explained(os.path.dirname(engine_path)):
        os.makedirs(os.path.dirname(engine_path), exist_ok=True)
    if options.plugin is not None:
        plugin_files.load(trt, options.plugin)
    plan = building.build(trt, onnx_path, device, options)
    details: Dict[str, Any] = dict(plan.details, cuda_graph=options.cuda_graph)
    if options.plugin is not None:
        details["plugin"] = plugin_files.keep(options.plugin, os.path.dirname(engine_path))
    if plan.layers is not None:
        details["clocks"] = _CLOCKS[sensors.floating(sensors.read().clocks)]
        details["layers"] = os.path.basename(layers_of(engine_path))
        store.write_bytes(layers_of(engine_path), plan.layers.encode())
    store.write_bytes(engine_path, plan.data)
    return Engine(
        candidate_id=candidate_id,
        device=device,
        file=os.path.basename(engine_path),
        sha256=store.sha256_of(engine_path),
        bytes=len(plan.data),
        weights_sha256=None,
        input_shape=plan.input_shape,
        threads=options.threads,
        build_s=time.perf_counter() - started,
        precision=options.precision,
        details=details,
    )


def open_file(path: str, engine: Engine, threads: int, waiting: str, shared_pool: bool) -> Runner:
    """A Runner over an engine file that build() made; see device.engine.open_engine. Threads mean nothing here."""
    trt, plugins = package(engine.device.engine), plugin_files.beside(engine, os.path.dirname(path))
    if plugins is not None:
        plugin_files.load(trt, plugins)
    kernels, details = kernel_cache.files_of(engine, os.path.dirname(path)), engine.details or {}
    return TrtRunner(trt, path, waiting, details.get("cuda_graph", True), kernels, details.get("staging"))
