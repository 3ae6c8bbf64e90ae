"""Cores of IRuntimeConfig and IRuntimeCache: what TensorRT-RTX compiles for a GPU when an engine first runs.

A kernel here is a name. A cache refuses bytes that are damaged or of another GPU or release, as NVIDIA's documentation
has it, and stays as it was.
"""

from typing import Any, List

from . import plan
from .basics import say
from .config import device_header

_KIND = "runtime cache"


class RuntimeCacheCore:
    """An IRuntimeCache."""

    def __init__(self, trt: Any, logger: Any) -> None:
        self._trt, self._logger = trt, logger
        self.kernels: List[str] = []

    def serialize(self) -> Any:
        held = {"device": device_header(self._trt._board), "kernels": self.kernels}
        return self._trt.IHostMemory(plan.seal(_KIND, held))

    def deserialize(self, blob: Any) -> bool:
        """Whether the bytes were taken."""
        try:
            held = plan.unseal(_KIND, bytes(blob))
        except plan.Damaged:
            say(self._logger, "WARNING", "The runtime cache cannot be read")
            return False
        if held["device"] != device_header(self._trt._board):
            say(self._logger, "WARNING", "The runtime cache is of another device or version")
            return False
        self.kernels = held["kernels"]
        return True


class RuntimeConfigCore:
    """An IRuntimeConfig."""

    def __init__(self, trt: Any, logger: Any) -> None:
        self._trt, self._logger = trt, logger
        self._cache: Any = None

    def create_runtime_cache(self) -> Any:
        return self._trt._wrap("IRuntimeCache", RuntimeCacheCore(self._trt, self._logger))

    def set_runtime_cache(self, cache: Any = None) -> bool:
        self._cache = cache
        return True

    def compile(self, opened: plan.Plan) -> None:
        """Adds the kernels that a plan needs to the cache, where there is one."""
        if self._cache is not None:
            held = self._cache._core
            held.kernels = sorted(set(held.kernels) | {layer["name"] for layer in opened.header["layers"]})
