"""TensorRT 8.2 to 11 and TensorRT-RTX as engine libraries, with the functions of device/engines/onnxruntime.

What a release can do is asked by its attributes (hasattr), never by its name or version number.
"""

import os
from typing import Any, Dict

from pomt_trt.core.records import DeviceSpec, Engine
from pomt_trt.core.storage import store
from pomt_trt.device.board import sensors
from pomt_trt.device.engines.contract import BuildOptions, Runner, layers_of
from pomt_trt.device.engines.tensorrt import building, gpu_targets, kernel_cache, plugin_files
from pomt_trt.device.engines.tensorrt.bindings import package
from pomt_trt.device.engines.tensorrt.runner import TrtRunner

# A build times its tactics. Under floating clocks it may pick slow ones, so the record says which clocks it had.
_CLOCKS = {True: "floating", False: "locked", None: "unknown"}


def installed(engine: str) -> str:
    """The full version of the library, such as 10.3.0. No GPU is needed.

    Raises: MissingDependency if it is not installed or too old.
    """
    return str(package(engine).__version__)


def share_threads(threads: int) -> bool:
    """True: engines on a GPU share no thread pool, and each waits only while it runs."""
    return True


def build(onnx_path: str, engine_path: str, device: DeviceSpec, options: BuildOptions) -> Dict[str, Any]:
    """Builds a graph for this GPU, or ahead of time for others, see engine.build. Returns its own fields of the record.

    Raises: UsageError for an engine that cannot be built ahead of time.
    """
    if options.gpu is not None:
        gpu_targets.check(options.gpu, options.precision, options.plugin is not None)
    trt = package(device.engine)
    if options.plugin is not None:
        plugin_files.register(trt, options.plugin)
    plan = building.build(trt, onnx_path, device, options)
    details: Dict[str, Any] = dict(plan.details, cuda_graph=options.cuda_graph)
    if options.plugin is not None:
        details["plugin"] = plugin_files.keep(options.plugin, os.path.dirname(engine_path))
    if plan.layers is not None:
        details["clocks"] = _CLOCKS[sensors.floating(sensors.read().clocks)]
        details["layers"] = os.path.basename(layers_of(engine_path))
        store.write_bytes(layers_of(engine_path), plan.layers.encode())
    store.write_bytes(engine_path, plan.data)
    return {
        "weights_sha256": None,
        "input_shape": plan.input_shape,
        "precision": options.precision,
        "details": details,
    }


def open_file(path: str, engine: Engine, threads: int, waiting: str, shared_pool: bool) -> Runner:
    """Opens an engine file that build() wrote, see engine.open_engine. Threads have no effect."""
    trt, plugins = package(engine.device.engine), plugin_files.beside(engine, os.path.dirname(path))
    if plugins is not None:
        plugin_files.register(trt, plugins)
    kernels, details = kernel_cache.files_of(engine, os.path.dirname(path)), engine.details or {}
    return TrtRunner(trt, path, waiting, details.get("cuda_graph", True), kernels, details.get("staging"))
