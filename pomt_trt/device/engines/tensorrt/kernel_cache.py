"""The kernels that TensorRT-RTX compiled for an engine on this GPU, kept in files so that they are compiled once.

Makes an execution context that takes kernels from the first file that fits, and saves what was compiled anew. On the
machine that runs engines. A file beside the engine is part of it (in a bundle: hashed, never written); what is compiled
later goes to the user's cache folder. Leaves out running (trt_runner). Releases without such a cache have no file.
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
    """Where kernels of an engine may lie."""

    beside: Optional[str]  # the engine; only read
    of_user: str  # read and written


def files_of(engine: Engine, folder: str) -> KernelFiles:
    """The files of an engine in `folder`; the library itself refuses what is of another GPU or release."""
    told = (engine.details or {}).get("kernels")
    beside = os.path.join(folder, os.path.basename(told["file"])) if told else None
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return KernelFiles(beside, os.path.join(root, "pomt-trt", engine.sha256[:32] + ".kernels"))


def keep(data: bytes, engine_path: str) -> Dict[str, str]:
    """Puts kernels beside an engine (r056.kernels); what its record says of them."""
    path = os.path.splitext(engine_path)[0] + ".kernels"
    store.write_bytes(path, data)
    return {"file": os.path.basename(path), "sha256": store.sha256_of(path)}


class Kernels:
    """The cache of one loaded engine. A CUDA context must be current wherever it is used."""

    def __init__(self, trt: Any, engine: Any, files: KernelFiles) -> None:
        """Loads the first file that fits; one that does not, or is damaged, is reported and left."""
        self._files, self._loaded = files, b""
        self._runtime_config: Any = None
        self._store: Any = None
        if hasattr(engine, "create_runtime_config") and hasattr(trt.IRuntimeConfig, "create_runtime_cache"):
            self._runtime_config = engine.create_runtime_config()
            self._store = self._runtime_config.create_runtime_cache()
            self._load()
            self._runtime_config.set_runtime_cache(self._store)

    def context(self, engine: Any) -> Any:
        """An execution context that uses the cache, where there is one; None where the library refuses."""
        if self._runtime_config is None:
            return engine.create_execution_context()
        return engine.create_execution_context(self._runtime_config)

    def data(self) -> Optional[bytes]:
        """All kernels known by now; None where the release has no such cache."""
        if self._store is None:
            return None
        held = self._store.serialize()
        return None if held is None else bytes(held)

    def save(self) -> None:
        """Writes what was compiled since; that it cannot be written costs time at the next start only."""
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
