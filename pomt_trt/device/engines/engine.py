"""Builds an engine from a graph, and opens an engine, with the library that the device names."""

import logging
import os
import re
import time
from typing import Any, Dict, Optional, Tuple

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
    """Compiles a graph into an engine file for this device, or ahead of time for others (options.gpu).

    Args:
        onnx_path: the graph, with its weights in the same folder.
        engine_path: the engine file; it is written completely or not at all.
    Raises: BuildFailed with the library's reason; MissingDependency if the library is not installed.
    """
    started_s = time.perf_counter()
    own: Dict[str, Any] = registry.library(device.engine).build(onnx_path, engine_path, device, options)
    return Engine(
        candidate_id=candidate_id,
        device=device,
        file=os.path.basename(engine_path),
        sha256=sha256_of(engine_path),
        bytes=os.path.getsize(engine_path),
        threads=options.threads,
        build_s=time.perf_counter() - started_s,
        **own,
    )


def open_engine(
    engine: Engine, folder: str, threads: Optional[int] = None, waiting: str = "default", shared_pool: bool = False
) -> Runner:
    """Loads an engine from `folder`.

    Args:
        threads: CPU threads; None: as many as the engine was built for, or fewer if this process may use fewer.
        waiting: 'default' (idle threads spin) or 'passive' (they sleep).
        shared_pool: use the thread pool of the process (registry.share_threads), for many engines in one process.
    Raises: WrongDevice if the engine was built for another device; CorruptArtifact if a file differs from the record.
    """
    library = registry.library(engine.device.engine)
    check_device(engine.device)
    check_files(engine, folder)
    path = os.path.join(folder, engine.file)
    runner: Runner = library.open_file(path, engine, threads or _usable_threads(engine), waiting, shared_pool)
    return runner


def _usable_threads(engine: Engine) -> int:
    """The default number of threads. More threads than can run at the same time slow an engine down."""
    usable = cpus.usable()
    if engine.device.engine != "onnxruntime" or usable.threads >= engine.threads:  # TensorRT runs on the GPU
        return engine.threads
    logger.warning(
        "the engine was built for %d threads and runs with %d here: %s", engine.threads, usable.threads, usable.why
    )
    return usable.threads


def check_files(engine: Engine, folder: str) -> None:
    """Raises CorruptArtifact unless the files of an engine in `folder` (weights, plugins, kernels) match its record."""
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
        file = os.path.join(folder, os.path.basename(name))
        if digest and (not os.path.isfile(file) or sha256_of(file) != digest):
            raise CorruptArtifact(
                "{} is missing or not the file that {} was built with (sha256 {}...). Delete it and build again: "
                "pomt-trt build WORK.".format(file, engine.file, digest[:12])
            )


def check_device(built_for: DeviceSpec) -> None:
    """Raises WrongDevice unless this machine has everything that the kernels of an engine depend on.

    They do not depend on the release of the board's system (see released_elsewhere).
    """
    here = board.device_spec(built_for.engine)
    if not _fits(built_for, here):
        raise WrongDevice(
            "the engine was built for {}; this is {}. Build it here: pomt-trt compile, or "
            "copy the work folder and run pomt-trt profile WORK; a bundle alone: python -m pomt_trt.infer BUNDLE "
            "--rebuild.".format(_described(built_for), _described(here))
        )


def built_elsewhere(engine: Engine) -> Optional[Tuple[str, str, str]]:
    """(candidate id, GPU it was timed on, GPU here) if an engine was timed on another GPU; else None."""
    if not traits(engine.device.engine).portable:
        return None
    here = board.device_spec(engine.device.engine)
    timed_on = engine.device.processor
    return None if here.processor == timed_on else (engine.candidate_id, timed_on, here.processor)


def released_elsewhere(built_for: DeviceSpec) -> Optional[str]:
    """Describes the upgrade of the board's system since an engine was built; None if there was none.

    After an upgrade the engine must pass the golden check again. A release is unknown in a container that lacks
    /etc/nv_tegra_release; then nothing can be said.
    """
    here = board.device_spec(built_for.engine)
    if built_for.l4t is None or here.l4t is None or built_for.l4t == here.l4t:
        return None
    return "L4T was {} when the engine was built and is {}".format(built_for.l4t, here.l4t)


def _fits(built_for: DeviceSpec, here: DeviceSpec) -> bool:
    """Whether an engine for one device runs on the other.

    A portable engine needs the same version of its library; the library checks the GPU when it loads the engine. Any
    other engine also needs the same processor. Modules are compared only if both are known: a container has none, and
    records up to 0.2 name the number of multiprocessors instead. The power mode does not matter: an engine runs in
    every mode, though another number of tokens may be best there.
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
    match = re.match(r"(.*) \(([^()]*)\)$", device.processor) if device.compute_capability else None
    if match is None:
        return device.processor, None
    name, module = match.groups()
    return name, None if re.match(r"\d+ SM$", module) else module


def _described(device: DeviceSpec) -> str:
    words = "{} {} on {}".format(device.engine, device.engine_version, device.processor)
    if device.compute_capability:
        words += ", compute capability {}".format(device.compute_capability)
    return words + (", L4T {}".format(device.l4t) if device.l4t else "")
