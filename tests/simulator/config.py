"""Cores of IBuilderConfig and ITimingCache: settings, and a cache that knows its device."""

from typing import Any, Dict, List, Optional

from . import plan
from .basics import say

_DEFAULTS = {"DLA_core": -1, "avg_timing_iterations": 1, "min_timing_iterations": 1, "max_workspace_size": 0}
_DEFAULTS.update({"profile_stream": 0, "quantization_flags": 0, "builder_optimization_level": 3, "max_aux_streams": -1})
_DEFAULTS.update({"num_optimization_profiles": 0, "max_num_tactics": -1, "l2_limit_for_tiling": -1})
_NONE = "algorithm_selector int8_calibrator plugins_to_serialize build_route all_build_routes remote_auto_tuning_config"
_ENUMS = {
    "engine_capability": ("EngineCapability", "STANDARD"),
    "profiling_verbosity": ("ProfilingVerbosity", "LAYER_NAMES_ONLY"),
    "default_device_type": ("DeviceType", "GPU"),
    "hardware_compatibility_level": ("HardwareCompatibilityLevel", "NONE"),
    "runtime_platform": ("RuntimePlatform", "SAME_AS_BUILD"),
    "tiling_optimization_level": ("TilingOptimizationLevel", "NONE"),
}


def device_header(board: Any) -> Dict[str, Any]:
    """What ties plans and caches to a machine."""
    device = board.device
    return {
        "version": board.table.version,
        "compute_capability": "{}.{}".format(*device.compute_capability),
        "device": device.name,
        "cuda": "{}.{}".format(*device.cuda),
    }


class CacheCore:
    """A timing cache: a tactic for each kind of layer."""

    def __init__(self, trt: Any, logger: Any, device: Dict[str, Any], tactics: Dict[str, int]) -> None:
        self._trt, self._logger = trt, logger
        self.device, self.tactics = device, tactics

    def serialize(self) -> Any:
        return self._trt.IHostMemory(plan.pack_cache(self.device, self.tactics))

    def combine(self, input_cache: Any, ignore_mismatch: bool) -> bool:
        if input_cache._core.device != self.device and not ignore_mismatch:
            say(self._logger, "ERROR", "Cannot combine timing caches of different devices")
            return False
        self.tactics.update(input_cache._core.tactics)
        return True

    def reset(self) -> bool:
        self.tactics.clear()
        return True


class ConfigCore:
    """An IBuilderConfig. TF32 is on, as it is by default on every release."""

    def __init__(self, trt: Any, logger: Any) -> None:
        self._trt, self._logger = trt, logger
        self.reset()

    def reset(self) -> None:
        for name, value in _DEFAULTS.items():
            setattr(self, name, value)
        for name in _NONE.split():
            setattr(self, name, None)
        for name, (enum, value) in _ENUMS.items():
            setattr(self, name, getattr(getattr(self._trt, enum, None), value, None))
        self.flags = 1 << self._trt.BuilderFlag.TF32.value
        self.cache: Optional[Any] = None
        self.pools: Dict[Any, int] = {}
        self._monitor: Optional[Any] = None
        self._level = 3
        self.compute_capabilities: List[str] = []  # such as SM86; none: portable

    def __setattr__(self, name: str, value: Any) -> None:
        known = _ENUMS.get(name)
        enum = getattr(self._trt, known[0], None) if known else None
        if enum is not None and value is not None and not isinstance(value, enum):
            raise TypeError("{} is a {}, not {!r}".format(name, enum.__name__, value))
        object.__setattr__(self, name, value)

    def set_flag(self, flag: Any) -> None:
        self.flags |= 1 << self._checked(flag).value

    def clear_flag(self, flag: Any) -> None:
        self.flags &= ~(1 << self._checked(flag).value)

    def get_flag(self, flag: Any) -> bool:
        return bool(self.flags >> self._checked(flag).value & 1)

    def has(self, name: str) -> bool:
        """Whether that flag is set; False where the release has none of the name."""
        flag = getattr(self._trt.BuilderFlag, name, None)
        return flag is not None and self.get_flag(flag)

    def _checked(self, flag: Any) -> Any:
        if not isinstance(flag, self._trt.BuilderFlag):
            raise TypeError("{!r} is no BuilderFlag".format(flag))
        return flag

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        if pool_size > self._trt._board.device.memory_bytes:
            say(self._logger, "WARNING", "{} of {} bytes is more than the device has".format(pool.name, pool_size))
        self.pools[pool] = int(pool_size)

    def get_memory_pool_limit(self, pool: Any) -> int:
        return self.pools.get(pool, self._trt._board.device.memory_bytes)

    @property
    def progress_monitor(self) -> Any:
        return self._monitor

    @progress_monitor.setter
    def progress_monitor(self, monitor: Any) -> None:
        if monitor is not None and not isinstance(monitor, self._trt.IProgressMonitor):
            raise TypeError("{!r} is no IProgressMonitor".format(monitor))
        self._monitor = monitor

    @property
    def builder_optimization_level(self) -> int:
        return self._level

    @builder_optimization_level.setter
    def builder_optimization_level(self, level: int) -> None:
        if not 0 <= level <= 5:
            say(self._logger, "ERROR", "builder optimization level {} is not in 0 to 5".format(level))
            return
        self._level = level

    @property
    def num_compute_capabilities(self) -> int:
        return len(self.compute_capabilities)

    @num_compute_capabilities.setter
    def num_compute_capabilities(self, count: int) -> None:
        self.compute_capabilities = ["NONE"] * count

    def set_compute_capability(self, compute_capability: Any, index: int) -> bool:
        if not 0 <= index < len(self.compute_capabilities) or compute_capability.name == "NONE":
            say(self._logger, "ERROR", "no compute capability {} at {}".format(compute_capability.name, index))
            return False
        self.compute_capabilities[index] = compute_capability.name
        return True

    def get_compute_capability(self, index: int) -> Any:
        return getattr(self._trt.ComputeCapability, self.compute_capabilities[index])

    def create_timing_cache(self, serialized_timing_cache: Any) -> Any:
        """A cache; None for bytes that are none."""
        blob, board = bytes(serialized_timing_cache), self._trt._board
        device, tactics = device_header(board), {}  # type: Any
        if blob:
            try:
                device, tactics = plan.unpack_cache(blob)
            except plan.Damaged as error:
                say(self._logger, "ERROR", "The serialized timing cache cannot be read: {}".format(error))
                return None
        if board.fault("foreign-cache") is not None and blob:
            device = dict(device, device="another device")
        return self._trt._wrap("ITimingCache", CacheCore(self._trt, self._logger, device, tactics))

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        if cache is None:
            say(self._logger, "ERROR", "the timing cache is a null pointer")
            return False
        if cache._core.device != device_header(self._trt._board) and not ignore_mismatch:
            say(self._logger, "ERROR", "The timing cache was made on another device or by another version of TensorRT")
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> Any:
        return self.cache

    def get_tactic_sources(self) -> int:
        return (1 << len(self._trt.TacticSource.__members__)) - 1

    def set_tactic_sources(self, tactic_sources: int) -> bool:
        return True

    def set_preview_feature(self, feature: Any, enable: bool) -> None:
        """Taken and forgotten."""

    def add_optimization_profile(self, profile: Any) -> int:
        """Static graphs need none; it is counted."""
        self.num_optimization_profiles: int = getattr(self, "num_optimization_profiles", 0) + 1
        return self.num_optimization_profiles - 1
