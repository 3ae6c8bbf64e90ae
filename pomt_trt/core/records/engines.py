"""Records of devices, and of the engines built on them."""

from typing import Any, Dict, NamedTuple, Optional, Tuple


class DeviceSpec(NamedTuple):
    """The machine and the engine library that a latency belongs to. Unknown values are None."""

    id: str  # a short folder name
    machine: str
    engine: str  # one of core/targets.ENGINES
    engine_version: str
    processor: str  # that kernels are made for: the CPU, or the GPU with the Jetson's module
    cores: int
    memory_bytes: int
    power_mode: Optional[str] = None
    l4t: Optional[str] = None
    jetpack: Optional[str] = None
    compute_capability: Optional[str] = None


class Finding(NamedTuple):
    """One property of a machine, see device/board/doctor."""

    name: str
    state: str  # ok, missing (and needed), warning
    value: str
    remedy: str = ""


class Engine(NamedTuple):
    """The engine of one candidate on one device."""

    candidate_id: str
    device: DeviceSpec
    file: str  # name, in the folder of the record
    sha256: str
    bytes: int
    weights_sha256: Optional[str]  # of weights.bin beside it, if the engine reads it
    input_shape: Tuple[int, int, int, int]  # batch, channels, height, width
    threads: int
    build_s: float
    precision: str = "fp32"
    details: Optional[Dict[str, Any]] = None  # of the build: typing, TF32, fused attention, cache, golden check


class Builds(NamedTuple):
    """Latencies of the engines of one candidate that were not kept, where builds differ; NaN: the build failed."""

    candidate_id: str
    device_id: str
    others_ms: Tuple[float, ...]


class Failure(NamedTuple):
    """Why a candidate has no engine."""

    candidate_id: str
    stage: str  # build, or gate: the engine failed the golden check
    reason: str
