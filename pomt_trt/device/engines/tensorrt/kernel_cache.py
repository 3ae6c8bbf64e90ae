"""Stores the kernels that TensorRT-RTX compiles for an engine on this GPU, so that it compiles them only once.

There are two files. The one beside the engine belongs to it and is only read; in a bundle it has a hash. The one in
the user's cache folder holds what is compiled later. Releases without a kernel cache have no file.
"""

import contextlib
import logging
import os
from typing import Any, Dict, NamedTuple, Optional

from pomt_trt.core.errors import PomtError
from pomt_trt.core.records import Engine
from pomt_trt.core.storage import store

logger = logging.getLogger(__name__)


class KernelFiles(NamedTuple):
    """The two files of an engine's kernels."""

    beside: Optional[str]  # beside the engine; only read
    of_user: str  # in the user's cache folder; read and written


def files_of(engine: Engine, folder: str) -> KernelFiles:
    """The kernel files of an engine in `folder`. The library refuses kernels of another GPU or release."""
    kernels = (engine.details or {}).get("kernels")
    beside = os.path.join(folder, os.path.basename(kernels["file"])) if kernels else None
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return KernelFiles(beside, os.path.join(root, "pomt-trt", engine.sha256[:32] + ".kernels"))


def keep(data: bytes, engine_path: str) -> Dict[str, str]:
    """Writes kernels beside an engine (r056.kernels); returns their entry in its record."""
    path = os.path.splitext(engine_path)[0] + ".kernels"
    store.write_bytes(path, data)
    return {"file": os.path.basename(path), "sha256": store.sha256_of(path)}


class Kernels:
    """The kernel cache of one loaded engine. All calls need a current CUDA context."""

    def __init__(self, trt: Any, engine: Any, files: KernelFiles) -> None:
        """Loads the first usable file. A damaged or unsuitable file is reported and ignored."""
        self._files, self._loaded = files, b""
        self._runtime_config: Any = None
        self._store: Any = None
        if hasattr(engine, "create_runtime_config") and hasattr(trt.IRuntimeConfig, "create_runtime_cache"):
            self._runtime_config = engine.create_runtime_config()
            self._store = self._runtime_config.create_runtime_cache()
            self._load()
            self._runtime_config.set_runtime_cache(self._store)

    def context(self, engine: Any) -> Any:
        """An execution context, with the cache if the release has one; None if the library refuses."""
        if self._runtime_config is None:
            return engine.create_execution_context()
        return engine.create_execution_context(self._runtime_config)

    def data(self) -> Optional[bytes]:
        """All kernels compiled so far; None if the release has no cache."""
        if self._store is None:
            return None
        kernels = self._store.serialize()
        return None if kernels is None else bytes(kernels)

    def save(self) -> None:
        """Writes new kernels to the user's file. A failure is only a warning: the next start compiles again."""
        data = self.data()
        if not data or data == self._loaded:
            return
        folder = os.path.dirname(self._files.of_user)
        try:
            with store.explained(folder):
                os.makedirs(folder, mode=0o700, exist_ok=True)
            store.write_bytes(self._files.of_user, data)
        except PomtError as error:
            logger.warning("compiled kernels are not kept, and will be compiled again: %s", error)

    def _load(self) -> None:
        for path in (self._files.of_user, self._files.beside):
            data = _content(path)
            if not data:
                continue
            if self._store.deserialize(data):
                self._loaded = data
                return
            logger.warning(
                "%s is not used: it is damaged, or of another GPU, driver or TensorRT-RTX. Kernels are compiled again.",
                path,
            )


def _content(path: Optional[str]) -> bytes:
    with contextlib.suppress(OSError):
        if path is not None:
            with open(path, "rb") as file:
                return file.read()
    return b""
