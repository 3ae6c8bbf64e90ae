"""TensorRT 8.2 to 11 as an engine library, the same functions as device/ort.

Makes engine files with their layers beside them, and Runners over them. On the machine that runs engines. It and its
parts (trt_library, trt_build, trt_runner) alone ask what this TensorRT can: by its attributes, never by its version.
Leaves out tokens, accuracy and latency.
"""

import os
import time
from typing import Any, Dict

from pomt_trt.core import store
from pomt_trt.core.records import DeviceSpec, Engine
from pomt_trt.device import cuda, sensors, trt_build, trt_plugins
from pomt_trt.device.contract import BuildOptions, Runner, layers_of
from pomt_trt.device.trt_library import tensorrt
from pomt_trt.device.trt_runner import TrtRunner

_CLOCKS = {
    True: "floating",
    False: "locked",
    None: "unknown",
}  # tactics are picked by timing: under floating ones by luck


def version() -> str:
    """TensorRT's full version, such as 10.3.0.

    Raises: MissingDependency where it is not installed or too old, or there is no CUDA device to run it on.
    """
    found = str(tensorrt().__version__)
    cuda.gpu()
    return found


def share_threads(threads: int) -> bool:
    """True: engines of one process do not disturb each other, since each waits only while it runs."""
    return True


def build(onnx_path: str, engine_path: str, device: DeviceSpec, candidate_id: str, options: BuildOptions) -> Engine:
    """Builds a graph for this GPU and saves it; see device.engine.build."""
    trt, started = tensorrt(), time.perf_counter()
    with store.explained(os.path.dirname(engine_path)):
        os.makedirs(os.path.dirname(engine_path), exist_ok=True)
    if options.plugin is not None:
        trt_plugins.load(trt, options.plugin)
    plan = trt_build.build(trt, onnx_path, device, options)
    details: Dict[str, Any] = dict(plan.details, cuda_graph=options.cuda_graph)
    if options.plugin is not None:
        details["plugin"] = trt_plugins.keep(options.plugin, os.path.dirname(engine_path))
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
    trt, plugins = tensorrt(), trt_plugins.beside(engine, os.path.dirname(path))
    if plugins is not None:
        trt_plugins.load(trt, plugins)
    details = engine.details or {}
    return TrtRunner(trt, path, waiting, details.get("cuda_graph", True), details.get("staging"))
