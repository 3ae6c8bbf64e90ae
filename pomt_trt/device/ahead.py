"""Engines built ahead of time: on a machine without a GPU, for GPUs elsewhere, by a library that can (TensorRT-RTX).

Makes the DeviceSpec that such engines are recorded under, and says what can be built. Any machine. Leaves out the build
(trt_build), and their adoption on a GPU, which passes them through the gate and times them (worker).
"""

import logging
import platform
from typing import Optional, Tuple

from pomt_trt.core import cpus
from pomt_trt.core.errors import MissingDependency, UsageError
from pomt_trt.core.records import DeviceSpec
from pomt_trt.device import board, libraries

logger = logging.getLogger(__name__)
PORTABLE = "portable"
# Compute capability -> name in tensorrt_rtx.ComputeCapability. Source: NVIDIA's support matrix, read 2026-11.
GPUS = {"7.5": "SM75", "8.6": "SM86", "8.9": "SM89", "12.0": "SM120", "12.1": "SM121"}
_PORTABLE_FROM = (8, 0)  # TensorRT-RTX's own default: 8.0, 8.6, 8.9, 12.0 and later
_BF16_FROM = (8, 0)
_NO_TARGET = {
    "8.7": "Orin runs TensorRT of JetPack: export with --target jetpack-6.2 (or 5.1, 6.0, 7.2) and build on the board",
    "11.0": "Thor runs TensorRT of JetPack: export with --target jetpack-7.0 (or 7.2) and build on the board",
}


def device(engine: str, gpu: str) -> DeviceSpec:
    """What engines are recorded under that are built for GPUs elsewhere; memory_bytes is 0, since it is not known.

    Args:
        gpu: portable, or one of GPUS.
    Raises: UsageError for a library that only builds for the GPU here, or a GPU that it has no engines for;
        MissingDependency where the library is not installed.
    """
    _check_gpu(engine, gpu)
    version = libraries.installed(engine)
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
    """This machine with an engine library; where it cannot run engines but can build them, the error says how.

    Raises: MissingDependency.
    """
    try:
        return board.device_spec(engine)
    except MissingDependency as error:
        if not libraries.traits(engine).portable:
            raise
        libraries.installed(engine)
        raise MissingDependency(
            "{} To build engines without a GPU, which are timed where one is: pomt-trt build WORK --engine {}.".format(
                error, engine
            )
        ) from error


def building_device(engine: str, gpu: Optional[str]) -> Tuple[DeviceSpec, Optional[str]]:
    """What to build for, and for which GPUs elsewhere: as asked, else this machine, else (no GPU here) portable.

    Raises: UsageError, see device; MissingDependency.
    """
    if gpu is None:
        try:
            return board.device_spec(engine), None
        except MissingDependency as error:
            if not libraries.traits(engine).portable:
                raise
            gpu, reason = PORTABLE, str(error)
        libraries.installed(engine)  # whose absence is another matter
        logger.warning("engines are built ahead of time, for --gpu portable, since no GPU can be used here: %s", reason)
    return device(engine, gpu), gpu


def adoptable(here: DeviceSpec) -> Tuple[str, ...]:
    """For which GPUs engines may have been built ahead of time that run on this one; the closest first."""
    capability = here.compute_capability or ""
    named = tuple(gpu for gpu in GPUS if gpu == capability)
    return named + ((PORTABLE,) if _numbers(capability) >= _PORTABLE_FROM else ())


def target(gpu: Optional[str], here: DeviceSpec) -> str:
    """For which GPUs to build: those asked for, or where none are, the widest that has the one here."""
    if gpu is not None:
        return gpu
    capability = here.compute_capability or ""
    return capability if _numbers(capability) < _PORTABLE_FROM and capability in GPUS else PORTABLE


def check(gpu: str, precision: str, plugin: bool) -> None:
    """Raises UsageError for engines that cannot be built for such GPUs, or not without one."""
    if precision == "bf16" and gpu != PORTABLE and _numbers(gpu) < _BF16_FROM:
        raise UsageError(
            "--precision bf16 is not for --gpu {}: bf16 is there from compute capability 8.0 on. Export and build with "
            "--precision fp16, or give another --gpu.".format(gpu)
        )
    if plugin:
        raise UsageError(
            "graphs with plugins cannot be built ahead of time: without a GPU TensorRT-RTX ends the process when it "
            "reads them. Build graphs without plugins (--plugin off), or build on a machine with a GPU."
        )


def _check_gpu(engine: str, gpu: str) -> None:
    if not libraries.traits(engine).portable:
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


def _numbers(capability: str) -> Tuple[int, ...]:
    return tuple(int(part) for part in capability.split(".")) if capability else ()
