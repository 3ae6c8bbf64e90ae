"""Builds an engine from a graph, and opens one to run it, with the engine library that a device names.

On the machine that runs engines. What libraries have in common is in device/engines/contract, which there are in
device/engines/registry.
"""

import logging
import os
import re
from typing import Optional, Tuple

from pomt_trt.core import cpus
from pomt_trt.core.errors import CorruptArtifact, WrongDevice
from pomt_trt.core.records import DeviceSpec, Engine
from pomt_trt.core.storage.store import sha256_of
from pomt_trt.core.storage.workfolder import WEIGHTS
from pomt_trt.device.board import board
from pomt_trt.device.engines import registry
from pomt_trt.device.engines.contract import BuildOptions, Runner
from pomt_trt.device.engines.tensorrt.plugin_files import beside
from pomt_trt.device.engines.traits import traits

logger = logging.getLogger(__name__)


def build(onnx_path: str, engine_path: str, device: DeviceSpec, candidate_id: str, options: BuildOptions) -> Engine:
    """Compiles one graph into an engine file for this device, or ahead of time for others (options.gpu).

    Args:
        onnx_path: the graph; its weights lie beside it.
        engine_path: where the engine goes; it appears there whole or not at all.
    Raises: BuildFailed with the library's reason; MissingDependency where the library is not installed.
    """
    record: Engine = registry.library(device.engine).build(onnx_path, engine_path, device, candidate_id, options)
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
    library = registry.library(engine.device.engine)
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
    for name, digest in ((WEIGHTS, engine.weights_sha256), (kernels["file"], kernels["sha256"])):
        held = os.path.join(folder, os.path.basename(name))
        if digest and (not os.path.isfile(held) or sha256_of(held) != digest):
            raise CorruptArtifact(
                "{} is missing or not the file that {} was built with (sha256 {}...). Delete it and build again: "
                "pomt-trt build WORK.".format(held, engine.file, digest[:12])
            )


def check_device(built_for: DeviceSpec) -> None:
    """Raises WrongDevice unless this machine is what an engine was built for, in all that its kernels depend on.

    Another release of the board's system is none of it (see released_elsewhere).
    """
    here = board.device_spec(built_for.engine)
    if not _fits(built_for, here):
        raise WrongDevice(
            "the engine was built for {}; this is {}. Build it here: pomt-trt compile, or "
            "copy the work folder and run pomt-trt profile WORK; a bundle alone: python -m pomt_trt.infer BUNDLE "
            "--rebuild.".format(_described(built_for), _described(here))
        )


def built_elsewhere(engine: Engine) -> Optional[Tuple[str, str, str]]:
    """The candidate, the GPU that it was timed on and the one here, where an engine runs on another; else None."""
    if not traits(engine.device.engine).portable:
        return None
    here = board.device_spec(engine.device.engine)
    there = engine.device.processor
    return None if here.processor == there else (engine.candidate_id, there, here.processor)


def released_elsewhere(built_for: DeviceSpec) -> Optional[str]:
    """What was upgraded since an engine was built, where both releases are known: its answers must be checked then.

    A container without /etc/nv_tegra_release does not know its release.
    """
    here = board.device_spec(built_for.engine)
    if built_for.l4t is None or here.l4t is None or built_for.l4t == here.l4t:
        return None
    return "L4T was {} when the engine was built and is {}".format(built_for.l4t, here.l4t)


def _fits(built_for: DeviceSpec, here: DeviceSpec) -> bool:
    """Not by power mode: an engine runs in any, though another count may be the best there.

    A container knows no module, and records up to 0.2 name the GPU's multiprocessors instead, some of which power modes
    switch off: modules are compared where both are known. A portable engine is bound to its library's version; on which
    GPUs it runs, the library says when it loads it.
    """
    if traits(built_for.engine).portable:
        return built_for.engine_version == here.engine_version
    (gpu, module), (gpu_here, module_here) = _processor(built_for), _processor(here)
    bound, bound_here = (
        (device.engine_version, name, device.compute_capability)
        for device, name in ((built_for, gpu), (here, gpu_here))
    )
    return bound == bound_here and (None in (module, module_here) or module == module_here)


def _processor(device: DeviceSpec) -> Tuple[str, Optional[str]]:
    """(name, module or None) of a GPU; (name, None) of a CPU."""
    found = re.match(r"(.*) \(([^()]*)\)$", device.processor) if device.compute_capability else None
    if found is None:
        return device.processor, None
    name, module = found.groups()
    return name, None if re.match(r"\d+ SM$", module) else module


def _described(device: DeviceSpec) -> str:
    words = "{} {} on {}".format(device.engine, device.engine_version, device.processor)
    if device.compute_capability:
        words += ", compute capability {}".format(device.compute_capability)
    return words + (", L4T {}".format(device.l4t) if device.l4t else "")
