"""Which device to build engines for: this machine, or ahead of time GPUs elsewhere (TensorRT-RTX).

An engine that was built ahead of time is checked and timed on a GPU later (device/timing/worker).
"""

import logging
import platform
from typing import Optional, Tuple

from pomt_trt.core import cpus
from pomt_trt.core.errors import MissingDependency, UsageError
from pomt_trt.core.records import DeviceSpec
from pomt_trt.device.board import board
from pomt_trt.device.engines import registry
from pomt_trt.device.engines.tensorrt.gpu_targets import GPUS, PORTABLE
from pomt_trt.device.engines.traits import traits

logger = logging.getLogger(__name__)
_NO_TARGET = {
    "8.7": "Orin runs TensorRT of JetPack: export with --target jetpack-6.2 (or 5.1, 6.0, 7.2) and build on the board",
    "11.0": "Thor runs TensorRT of JetPack: export with --target jetpack-7.0 (or 7.2) and build on the board",
}


def device(engine: str, gpu: str) -> DeviceSpec:
    """The DeviceSpec of engines that are built for GPUs elsewhere. memory_bytes is 0: it is unknown.

    Args:
        gpu: portable, or one of GPUS.
    Raises: UsageError if the library builds only for the GPU here, or not for that GPU; MissingDependency if it is not
        installed.
    """
    _check_gpu(engine, gpu)
    version = registry.installed(engine)
    capability = None if gpu == PORTABLE else gpu
    which = "from compute capability 8.0 on" if gpu == PORTABLE else "of compute capability " + gpu
    return DeviceSpec(
        id="-".join([engine, version, "for", gpu]),
        machine=platform.machine(),
        engine=engine,
        engine_version=version,
        processor="any GPU " + which,
        cores=cpus.usable().machine,
        memory_bytes=0,
        compute_capability=capability,
    )


def running_device(engine: str) -> DeviceSpec:
    """This machine with an engine library. If it can build engines but not run them, the error says how to build.

    Raises: MissingDependency.
    """
    try:
        return board.device_spec(engine)
    except MissingDependency as error:
        if not traits(engine).portable:
            raise
        registry.installed(engine)
        raise MissingDependency(
            "{} To build engines without a GPU, which are timed where one is: pomt-trt build WORK --engine {}.".format(
                error, engine
            )
        ) from error


def building_device(engine: str, gpu: Optional[str]) -> Tuple[DeviceSpec, Optional[str]]:
    """(device, gpu) to build for: the given gpu; None: this machine, or portable if it has no GPU.

    Raises: UsageError, see device; MissingDependency.
    """
    if gpu is None:
        try:
            return board.device_spec(engine), None
        except MissingDependency as error:
            if not traits(engine).portable:
                raise
            gpu, reason = PORTABLE, str(error)
        registry.installed(engine)  # raises if the library is missing too
        logger.warning("engines are built ahead of time, for --gpu portable, since no GPU can be used here: %s", reason)
    return device(engine, gpu), gpu


def _check_gpu(engine: str, gpu: str) -> None:
    if not traits(engine).portable:
        raise UsageError(
            "--gpu {} is for --engine tensorrt-rtx, and this is {}, which builds for the machine that it runs on. "
            "Leave out --gpu, or add --engine tensorrt-rtx.".format(gpu, engine)
        )
    if gpu != PORTABLE and gpu not in GPUS:
        raise UsageError(
            "--gpu {} is no target of TensorRT-RTX. It has {}. {}".format(
                gpu,
                ", ".join([PORTABLE, *GPUS]),
                _NO_TARGET.get(gpu, "Another RTX GPU from compute capability 8.0 on takes portable") + ".",
            )
        )
