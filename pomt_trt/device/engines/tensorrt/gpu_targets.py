"""The GPUs that TensorRT-RTX builds engines for. Source: NVIDIA's support matrix of TensorRT-RTX, read 2026-11."""

from typing import Optional, Tuple

from pomt_trt.core.errors import UsageError
from pomt_trt.core.records import DeviceSpec

PORTABLE = "portable"
# Compute capability -> name in tensorrt_rtx.ComputeCapability.
GPUS = {"7.5": "SM75", "8.6": "SM86", "8.9": "SM89", "12.0": "SM120", "12.1": "SM121"}
_PORTABLE_FROM = (8, 0)  # TensorRT-RTX's own default: 8.0, 8.6, 8.9, 12.0 and later
BF16_FROM = (8, 0)  # NvInfer.h, BuilderFlag::kBF16: "Ampere and later"


def adoptable(here: DeviceSpec) -> Tuple[str, ...]:
    """The targets whose engines run on the GPU here, the most specific first."""
    capability = here.compute_capability
    exact: Tuple[str, ...] = (capability,) if capability in GPUS else ()
    return exact + ((PORTABLE,) if numbers(capability) >= _PORTABLE_FROM else ())


def target(gpu: Optional[str], here: DeviceSpec) -> str:
    """The target to build for: the given one; None: portable if the GPU here runs such engines, else its own."""
    if gpu is not None:
        return gpu
    capability = here.compute_capability or ""
    return capability if numbers(capability) < _PORTABLE_FROM and capability in GPUS else PORTABLE


def check(gpu: str, precision: str, plugin: bool) -> None:
    """Raises UsageError for an engine that cannot be built ahead of time for that target."""
    if precision == "bf16" and gpu != PORTABLE and numbers(gpu) < BF16_FROM:
        raise UsageError(
            "--precision bf16 is not for --gpu {}: bf16 needs compute capability 8.0 or later. Export and build with "
            "--precision fp16, or give another --gpu.".format(gpu)
        )
    if plugin:
        raise UsageError(
            "graphs with plugins cannot be built ahead of time: without a GPU TensorRT-RTX ends the process when it "
            "reads them. Build graphs without plugins (--plugin off), or build on a machine with a GPU."
        )


def numbers(capability: Optional[str]) -> Tuple[int, ...]:
    """(8, 7) of 8.7; () where it is not known."""
    return tuple(int(part) for part in capability.split(".")) if capability else ()
