"""Builds an engine from a graph, and opens one to run it, with the engine library that a device names.

On the machine that runs engines. What libraries have in common is in device/contract, which there are in
device/libraries.
"""

import os
from typing import Optional, Tuple

from pomt_trt.core.errors import CorruptArtifact, WrongDevice
from pomt_trt.core.records import DeviceSpec, Engine
from pomt_trt.core.store import sha256_of
from pomt_trt.core.workfolder import WEIGHTS
from pomt_trt.device import board, libraries
from pomt_trt.device.contract import BuildOptions, Runner
from pomt_trt.device.trt_plugins import beside


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
    weights = os.path.join(folder, WEIGHTS)
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
