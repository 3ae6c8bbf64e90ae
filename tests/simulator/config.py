"""Cores of IBuilderConfig and ITimingCache: settings, and a cache that knows its device."""

from typing import Any, Dict, List, Optional

from . import plan
from .basics import say

_CLASSES = {"profiling_verbosity": "ProfilingVerbosity", "progress_monitor": "IProgressMonitor"}  # what settings take
_KIND = "timing cache"


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
    """A timing cache. It holds no tactics, only the device that they would be of."""

    def __init__(self, trt: Any, device: Dict[str, Any]) -> None:
        self._trt, self.device = trt, device

    def serialize(self) -> Any:
        return self._trt.IHostMemory(plan.seal(_KIND, self.device))


class ConfigCore:
    """An IBuilderConfig. TF32 is on, as it is by default on every release."""

    def __init__(self, trt: Any, logger: Any) -> None:
        self._trt, self._logger = trt, logger
        self.avg_timing_iterations, self.max_workspace_size, self.builder_optimization_level = 1, 0, 3
        self.profiling_verbosity = trt.ProfilingVerbosity.LAYER_NAMES_ONLY
        self.progress_monitor: Optional[Any] = None
        self.flags = 1 << trt.BuilderFlag.TF32.value
        self.cache: Optional[Any] = None
        self.pools: Dict[Any, int] = {}
        self.compute_capabilities: List[str] = []  # such as SM86; none: portable

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CLASSES and value is not None and not isinstance(value, getattr(self._trt, _CLASSES[name])):
            raise TypeError("{} is a {}, not {!r}".format(name, _CLASSES[name], value))
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
        self.pools[pool] = int(pool_size)

    def get_memory_pool_limit(self, pool: Any) -> int:
        return self.pools.get(pool, self._trt._board.device.memory_bytes)

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
        device = device_header(board)
        if blob:
            try:
                device = plan.unseal(_KIND, blob)
            except plan.Damaged as error:
                say(self._logger, "ERROR", "The serialized timing cache cannot be read: {}".format(error))
                return None
        if board.fault("foreign-cache") is not None and blob:
            device = dict(device, device="another device")
        return self._trt._wrap("ITimingCache", CacheCore(self._trt, device))

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
