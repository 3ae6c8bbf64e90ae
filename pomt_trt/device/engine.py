"""The contract of engines: build one from a graph, open one to run it.

Makes Engine records and Runners; which library does the work is looked up by name. On the machine that runs engines.
Leaves out latency, accuracy and tokens: an engine is a file that turns images into logits.
"""

import logging
import os
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from pomt_trt.core import cpus
from pomt_trt.core.errors import CorruptArtifact, WrongDevice
from pomt_trt.core.records import DeviceSpec, Engine
from pomt_trt.core.store import sha256_of
from pomt_trt.device import board, libraries
from pomt_trt.device.trt_plugins import Library, beside

WEIGHTS_FILE = "weights.bin"
logger = logging.getLogger(__name__)


class BuildOptions(NamedTuple):
    """What a build may depend on, besides the graph and the device. A library ignores what it has no use for."""

    threads: int = 2
    precision: str = "fp32"  # fp32, fp16, bf16
    fp32_nodes: Tuple[str, ...] = ()  # named nodes of an fp32 graph that stay fp32; () where the graph itself is mixed
    workspace_bytes: Optional[int] = None  # None: by the device's memory
    timing_cache: Optional[str] = None  # file that builds share; None: nothing is remembered, so tactics are timed anew
    cuda_graph: bool = True  # whether running may capture one
    plugin: Optional[Library] = None  # that the graph needs
    progress: Optional[Callable[[str], None]] = None  # hears how far a build is, where the library tells it


class GpuTimes(NamedTuple):
    """Where the time of a run goes on a GPU, between events on its stream."""

    copy_in_ms: float
    compute_ms: float
    copy_out_ms: float


class Runner:
    """A loaded engine: host array in, host logits out. A context manager; use it from one thread at a time."""

    input_shape: Tuple[int, int, int, int]

    def run(self, batch: Any) -> Any:
        """Logits float32 of `batch`, a C-contiguous float32 array of input_shape.

        Their shape is (batch, classes), or (batch, classes, rows, columns) with a row and column for each patch.
        """
        raise NotImplementedError

    def modes(self) -> Optional[Dict[str, Any]]:
        """How it runs, as far as there is a choice: memory, waiting, CUDA graph; None where there is none."""
        return None

    def gpu_times(self, batch: Any) -> Optional[GpuTimes]:
        """Where the time of one run goes; None where no GPU takes part."""
        return None

    def close(self) -> None:
        """Gives back what the engine holds; run must not be called again."""

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


def build(onnx_path: str, engine_path: str, device: DeviceSpec, candidate_id: str, options: BuildOptions) -> Engine:
    """Compiles one graph into an engine file for this device.

    Args:
        onnx_path: the graph; its weights lie beside it.
        engine_path: where the engine goes; it appears there whole or not at all.
    Raises: BuildFailed with the library's reason; MissingDependency where the library is not installed.
    """
    record: Engine = libraries.library(device.engine).build(onnx_path, engine_path, device, candidate_id, options)
    return record


def open_engine(
    engine: Engine, folder: str, threads: Optional[int] = None, waiting: str = "default", shared_pool: bool = False
) -> Runner:
    """Loads an engine from `folder` for running.

    Args:
        threads: of the CPU; None: as many as the engine was built for, or fewer where this process may use fewer.
        waiting: 'default' or 'passive' (idle threads sleep instead of spinning).
        shared_pool: use the process's one thread pool, see ort.share_threads; for many engines in one process.
    Raises: WrongDevice where the engine was built for another device; CorruptArtifact where the file is not the one
        that the record names.
    """
    library = libraries.library(engine.device.engine)
    check_device(engine.device)
    check_files(engine, folder)
    path = os.path.join(folder, engine.file)
    runner: Runner = library.open_file(path, engine, threads or _usable_threads(engine), waiting, shared_pool)
    return runner


def _usable_threads(engine: Engine) -> int:
    """Threads that an engine runs with where nobody says how many: more than can run at a time slow it down."""
    found = cpus.usable()
    if engine.device.engine != "onnxruntime" or found.threads >= engine.threads:  # TensorRT runs on the GPU
        return engine.threads
    logger.warning(
        "the engine was built for %d threads and runs with %d here: %s", engine.threads, found.threads, found.why
    )
    return found.threads


def layers_of(engine_path: str) -> str:
    """r056.engine's layers, where the library tells them, are r056.layers.json beside it."""
    return os.path.splitext(engine_path)[0] + ".layers.json"


def check_files(engine: Engine, folder: str) -> None:
    """Raises CorruptArtifact unless an engine, its weights and plugins in `folder` are those that the record names."""
    path = os.path.join(folder, engine.file)
    if not os.path.isfile(path):
        raise CorruptArtifact("{} is missing. Build it again: pomt-trt build WORK.".format(path))
    if os.path.getsize(path) != engine.bytes or sha256_of(path) != engine.sha256:
        raise CorruptArtifact(
            "{} is not the file that its record describes ({} bytes, sha256 {}...). Delete it and build it again: "
            "pomt-trt build WORK.".format(path, engine.bytes, engine.sha256[:12])
        )
    beside(engine, folder)
    weights = os.path.join(folder, WEIGHTS_FILE)
    if engine.weights_sha256 and (not os.path.isfile(weights) or sha256_of(weights) != engine.weights_sha256):
        raise CorruptArtifact(
            "{} is missing or not the file that {} was built with (sha256 {}...). Delete it and build again: pomt-trt "
            "build WORK.".format(weights, engine.file, engine.weights_sha256[:12])
        )


def check_device(built_for: DeviceSpec) -> None:
    """Raises WrongDevice unless this machine is what an engine was built for, in all that its kernels depend on."""
    here = board.device_spec(built_for.engine)
    if _bound_to(built_for) != _bound_to(here):
        raise WrongDevice(
            "the engine was built for {}; this is {}. Build it here: pomt-trt compile, or "
            "copy the work folder and run pomt-trt profile WORK; a bundle alone: python -m pomt_trt.infer BUNDLE "
            "--rebuild.".format(_described(built_for), _described(here))
        )


def _bound_to(device: DeviceSpec) -> Tuple[Optional[str], ...]:
    """Not the power mode: an engine runs in any, though another count may be the best there."""
    return (device.engine_version, device.processor, device.compute_capability, device.l4t)


def _described(device: DeviceSpec) -> str:
    words = "{} {} on {}".format(device.engine, device.engine_version, device.processor)
    if device.compute_capability:
        words += ", compute capability {}".format(device.compute_capability)
    return words + (", L4T {}".format(device.l4t) if device.l4t else "")
