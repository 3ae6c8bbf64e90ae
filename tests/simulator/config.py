"""Cores of IBuilderConfig and ITimingCache: settings, and a cache that knows its device."""

from typing import Any, Dict, List, Optional

from . import plan
from .basics import say

_DEFAULTS = {"avg_timing_iterations": 1, "max_workspace_size": 0}
_ENUMS = {"profiling_verbosity": ("ProfilingVerbosity", "LAYER_NAMES_ONLY")}


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


class ConfigCore:
    """An IBuilderConfig. TF32 is on, as it is by default on every release."""

    def __init__(self, trt: Any, logger: Any) -> None:
        self._trt, self._logger = trt, logger
        self.reset()

    def reset(self) -> None:
        for name, value in _DEFAULTS.items():
            setattr(self, name, value)
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
