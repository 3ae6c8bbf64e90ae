"""The contract of engines: build one from a graph, open one to run it.

Makes Engine records and Runners; which library does the work is looked up by name. On the machine that runs engines.
Leaves out latency, accuracy and tokens: an engine is a file that turns images into logits.
"""

import importlib
import os
from typing import Any, NamedTuple, Optional, Tuple

from pomt_trt.core.errors import CorruptArtifact, UsageError, WrongDevice
from pomt_trt.core.records import DeviceSpec, Engine
from pomt_trt.core.store import sha256_of

WEIGHTS_FILE = "weights.bin"
_MODULES = {"onnxruntime": "pomt_trt.device.ort"}


class BuildOptions(NamedTuple):
    """What a build may depend on, besides the graph and the device."""

    threads: int = 2


class Runner:
    """A loaded engine: host array in, host logits out. A context manager; use it from one thread at a time."""

    input_shape: Tuple[int, int, int, int]

    def run(self, batch: Any) -> Any:
        """Logits (batch, classes) float32 of `batch`, a C-contiguous float32 array of input_shape."""
        raise NotImplementedError

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
    record: Engine = _library(device.engine).build(onnx_path, engine_path, device, candidate_id, options)
    return record


def open_engine(
    engine: Engine,
    folder: str,
    threads: Optional[int] = None,
    waiting: str = "default",
    shared_pool: bool = False,
) -> Runner:
    """Loads an engine from `folder` for running.

    Args:
        threads: of the CPU; None: as many as the engine was built for.
        waiting: 'default' or 'passive' (idle threads sleep instead of spinning).
        shared_pool: use the process's one thread pool, see ort.share_threads; for many engines in one process.
    Raises: WrongDevice where the engine was built for another device; CorruptArtifact where the file is not the one
        that the record names.
    """
    library = _library(engine.device.engine)
    check_device(engine.device, library.version())
    check_files(engine, folder)
    path = os.path.join(folder, engine.file)
    runner: Runner = library.open_file(path, engine, threads or engine.threads, waiting, shared_pool)
    return runner


def check_files(engine: Engine, folder: str) -> None:
    """Raises CorruptArtifact unless an engine and its weights in `folder` are the files that the record names."""
    path = os.path.join(folder, engine.file)
    if not os.path.isfile(path):
        raise CorruptArtifact("{} is missing. Build it again: pomt-trt build WORK.".format(path))
    if os.path.getsize(path) != engine.bytes or sha256_of(path) != engine.sha256:
        raise CorruptArtifact(
            "{} is not the file that its record describes ({} bytes, sha256 {}...). Delete it and build it again: "
            "pomt-trt build WORK.".format(path, engine.bytes, engine.sha256[:12])
        )
    weights = os.path.join(folder, WEIGHTS_FILE)
    if engine.weights_sha256 and (not os.path.isfile(weights) or sha256_of(weights) != engine.weights_sha256):
        raise CorruptArtifact(
            "{} is missing or not the file that {} was built with (sha256 {}...). Delete it and build again: pomt-trt "
            "build WORK.".format(weights, engine.file, engine.weights_sha256[:12])
        )


def check_device(built_for: DeviceSpec, version: str) -> None:
    """Raises WrongDevice unless this machine is what an engine was built for."""
    from pomt_trt.device import board

    here = board.processor()
    if (built_for.engine_version, built_for.processor) != (version, here):
        raise WrongDevice(
            "the engine was built for {} {} on {}; this is {} {} on {}. Build it here: pomt-trt compile, or copy the "
            "work folder and run pomt-trt profile WORK.".format(
                built_for.engine, built_for.engine_version, built_for.processor, built_for.engine, version, here
            )
        )


def share_threads(engine: str, threads: int) -> bool:
    """Gives all engines of this process that ask for it one thread pool; False where the library cannot."""
    return bool(_library(engine).share_threads(threads))


def version(engine: str) -> str:
    """Version of the installed engine library, such as 1.31.1.

    Raises: MissingDependency where it is not installed.
    """
    return str(_library(engine).version())


def _library(engine: str) -> Any:
    if engine not in _MODULES:
        raise UsageError("engine '{}' is not known. Choose one of: {}.".format(engine, ", ".join(sorted(_MODULES))))
    return importlib.import_module(_MODULES[engine])
