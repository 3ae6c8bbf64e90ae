"""The contract of engines: build one from a graph, open one to run it.

Makes Engine records and Runners; which library does the work is looked up by name. On the machine that runs engines.
Leaves out latency, accuracy and tokens: an engine is a file that turns images into logits.
"""

import os
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from pomt_trt.core.errors import CorruptArtifact, WrongDevice
from pomt_trt.core.records import DeviceSpec, Engine
from pomt_trt.core.store import sha256_of
from pomt_trt.device import board, libraries
from pomt_trt.device.trt_plugins import Library, beside

WEIGHTS_FILE = "weights.bin"


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
    gpu: Optional[str] = None  # built ahead of time for such GPUs (device/ahead); None: for the one here


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

    def kernels(self) -> Optional[bytes]:
        """What the library compiled to run it here, to be kept beside the engine; None where it keeps nothing."""
        return None

    def close(self) -> None:
        """Gives back what the engine holds; run must not be called again."""

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


def build(onnx_path: str, engine_path: str, device: DeviceSpec, candidate_id: str, options: BuildOptions) -> Engine:
    """Compiles one graph into an engine file for this device, or ahead of time for others (options.gpu).

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
        threads: of the CPU; None: as many as the engine was built for.
        waiting: 'default' or 'passive' (idle threads sleep instead of spinning).
        shared_pool: use the process's one thread pool, see ort.share_threads; for many engines in one process.
    Raises: WrongDevice where the engine was built for another device; CorruptArtifact where the file is not the one
        that the record names.
    """
    library = libraries.library(engine.device.engine)
    check_device(engine.device)
    check_files(engine, folder)
    path = os.path.join(folder, engine.file)
    runner: Runner = library.open_file(path, engine, threads or engine.threads, waiting, shared_pool)
    return runner


def layers_of(engine_path: str) -> str:
    """r056.engine's layers, where the library tells them, are r056.layers.json beside it."""
    return os.path.splitext(engine_path)[0] + ".layers.json"


def check_files(engine: Engine, folder: str) -> None:
    """Raises CorruptArtifact unless an engine in `folder`, its weights, plugins and kernels are those of its record."""
    path = os.path.join(folder, engine.file)
    if not os.path.isfile(path):
        raise CorruptArtifact("{} is missing. Build it again: pomt-trt build WORK.".format(path))
    if os.path.getsize(path) != engine.bytes or sha256_of(path) != engine.sha256:
        raise CorruptArtifact(
            "{} is not the file that its record describes ({} bytes, sha256 {}...). Delete it and build it again: "
            "pomt-trt build WORK.".format(path, engine.bytes, engine.sha256[:12])
        )
    beside(engine, folder)
    kernels = (engine.details or {}).get("kernels") or {"file": "", "sha256": None}
    for name, digest in ((WEIGHTS_FILE, engine.weights_sha256), (kernels["file"], kernels["sha256"])):
        held = os.path.join(folder, os.path.basename(name))
        if digest and (not os.path.isfile(held) or sha256_of(held) != digest):
            raise CorruptArtifact(
                "{} is missing or not the file that {} was built with (sha256 {}...). Delete it and build again: "
                "pomt-trt build WORK.".format(held, engine.file, digest[:12])
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


def built_elsewhere(engine: Engine) -> Optional[Tuple[str, str, str]]:
    """The candidate, the GPU that it was timed on and the one here, where an engine runs on another; else None."""
    if not libraries.traits(engine.device.engine).portable:
        return None
    here = board.device_spec(engine.device.engine)
    there = engine.device.processor
    return None if here.processor == there else (engine.candidate_id, there, here.processor)


def _bound_to(device: DeviceSpec) -> Tuple[Optional[str], ...]:
    """Not the power mode: an engine runs in any, though another count may be the best there.

    A portable engine is bound to its library's version; on which GPUs it runs, the library says when it loads it.
    """
    if libraries.traits(device.engine).portable:
        return (device.engine_version,)
    return (device.engine_version, device.processor, device.compute_capability, device.l4t)


def _described(device: DeviceSpec) -> str:
    words = "{} {} on {}".format(device.engine, device.engine_version, device.processor)
    if device.compute_capability:
        words += ", compute capability {}".format(device.compute_capability)
    return words + (", L4T {}".format(device.l4t) if device.l4t else "")
