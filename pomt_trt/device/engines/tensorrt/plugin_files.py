"""The plugin library that TensorRT needs for graphs with plugin nodes.

An engine is only valid with the plugins that built it. So a copy of the library lies beside the engine, and the
engine's record holds its file name and sha256.
"""

import ctypes
import os
from typing import Any, Dict, NamedTuple, Optional, Tuple

from pomt_trt.core.errors import CorruptArtifact, MissingDependency
from pomt_trt.core.records import DeviceSpec, Engine
from pomt_trt.core.storage import store
from pomt_trt.core.targets import PLUGIN_OPERATORS, has_plugin
from pomt_trt.device.engines.tensorrt import bindings
from pomt_trt.device.engines.traits import traits

VERSION, NAMESPACE = "1", ""
_CHECKOUT = os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
)
DEFAULT = os.path.join(_CHECKOUT, "plugins", "build", "libpomt_plugins.so")
BUILD = "Build it on this machine: make -C plugins plugins SM=87 (the GPU's compute capability; see plugins/README.md)"

registered: Dict[str, Any] = {}  # sha256 -> library; a process can register an operator only once


class Library(NamedTuple):
    """A plugin library file."""

    path: str
    sha256: str


def found(path: Optional[str]) -> Optional[Library]:
    """The library at `path`, by default where make writes it; None if there is no such file."""
    path = path or DEFAULT
    return Library(path, store.sha256_of(path)) if os.path.isfile(path) else None


def forms(asked: str, device: DeviceSpec, library: Optional[Library]) -> Tuple[bool, ...]:
    """Which graphs to use, the preferred first: True with plugin nodes, False without.

    Args:
        asked: on, off, or auto. Auto prefers plugins if the engine is TensorRT and the library is there.
    """
    if asked != "auto":
        return (asked == "on",)
    preferred = traits(device.engine).on_gpu and library is not None
    return (preferred, not preferred)


def needed(form: str, device: DeviceSpec, library: Optional[Library]) -> Optional[Library]:
    """The library that engines of a graph form need on this device; None if they need none.

    Raises: MissingDependency if they need one and it is missing.
    """
    if not traits(device.engine).on_gpu or not has_plugin(form):
        return None
    if library is None:
        raise MissingDependency(
            "graphs of form {} need libpomt_plugins.so, which is not in {}. {}, or give --plugin-library FILE, or use "
            "graphs without plugins: --plugin off.".format(form, os.path.dirname(DEFAULT), BUILD)
        )
    return library


def register(trt: Any, library: Library) -> None:
    """Loads a library into this process, so that its operators are in TensorRT's registry.

    ctypes works on every release: the library registers itself when it is loaded.

    Raises: MissingDependency if it does not load, or another one is loaded; CorruptArtifact if the file has changed.
    """
    if library.sha256 in registered:
        return
    if registered:
        raise MissingDependency(
            "this process already has other plugins (sha256 {}...) than those of {} ({}...), and one set has to leave "
            "first. Use the engines of each in a process of its own.".format(
                next(iter(registered))[:12], library.path, library.sha256[:12]
            )
        )
    if store.sha256_of(library.path) != library.sha256:
        raise CorruptArtifact("{} has changed since this command started. Run it again.".format(library.path))
    try:
        opened = ctypes.CDLL(library.path, mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise MissingDependency(
            "{} does not load: {}. It belongs to one kind of machine and TensorRT. {}.".format(
                library.path, error, BUILD
            )
        ) from error
    registry = trt.get_plugin_registry()
    find = registry.get_creator if hasattr(registry, "get_creator") else registry.get_plugin_creator
    missing = [name for name in sorted(PLUGIN_OPERATORS.values()) if find(name, VERSION, NAMESPACE) is None]
    if missing:
        raise MissingDependency(
            "{} is loaded, but {} does not know {} of it: it was built for another release. {}.".format(
                library.path, bindings.named(trt), " and ".join(missing), BUILD
            )
        )
    registered[library.sha256] = opened


def keep(library: Library, folder: str) -> Dict[str, str]:
    """Copies a library into the folder of the engines; returns its entry in their records."""
    name = "libpomt_plugins-{}.so".format(library.sha256[:12])
    if not os.path.isfile(os.path.join(folder, name)):
        store.copy(library.path, os.path.join(folder, name))
    return {"file": name, "sha256": library.sha256}


def beside(engine: Engine, folder: str) -> Optional[Library]:
    """The library beside an engine in `folder`; None if it needs none.

    Raises: CorruptArtifact if it is missing or differs from the engine's record.
    """
    plugin = (engine.details or {}).get("plugin")
    if plugin is None:
        return None
    path = os.path.join(folder, os.path.basename(plugin["file"]))
    if not os.path.isfile(path) or store.sha256_of(path) != plugin["sha256"]:
        raise CorruptArtifact(
            "{} was built with the plugins of {} (sha256 {}...), which are missing beside it or changed, and it cannot "
            "run without them. Copy that file too, or build the engine again: pomt-trt build WORK.".format(
                engine.file, plugin["file"], plugin["sha256"][:12]
            )
        )
    return Library(path, plugin["sha256"])
