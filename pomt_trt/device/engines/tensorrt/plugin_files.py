"""The plugin library that TensorRT engines of some graphs need: found, loaded before parsing, kept beside the engines.

A plan is only valid with the plugins that built it, so each engine's record names the file beside it and its sha256. On
the machine that runs engines. Leaves out what plugins do (plugins/) and which graphs need them (core/targets).
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

_loaded: Dict[str, Any] = {}  # sha256 -> library; a process can register an operator once


class Library(NamedTuple):
    """A file of plugins."""

    path: str
    sha256: str


def found(path: Optional[str]) -> Optional[Library]:
    """The library at `path`, or where make puts it; None where there is none."""
    place = path or DEFAULT
    return Library(place, store.sha256_of(place)) if os.path.isfile(place) else None


def forms(asked: str, device: DeviceSpec, library: Optional[Library]) -> Tuple[bool, ...]:
    """Whether to take graphs with plugins' nodes, without, or either, the preferred first.

    Args:
        asked: on, off, or auto: with them where TensorRT has the library, else without, where there is a choice.
    """
    if asked != "auto":
        return (asked == "on",)
    preferred = traits(device.engine).on_gpu and library is not None
    return (preferred, not preferred)


def needed(form: str, device: DeviceSpec, library: Optional[Library]) -> Optional[Library]:
    """The library that engines of a form are built with on this device; None where they need none.

    Raises: MissingDependency where they need one and it is not here.
    """
    if not traits(device.engine).on_gpu or not has_plugin(form):
        return None
    if library is None:
        raise MissingDependency(
            "graphs of form {} need libpomt_plugins.so, which is not in {}. {}, or give --plugin-library FILE, or use "
            "graphs without plugins: --plugin off.".format(form, os.path.dirname(DEFAULT), BUILD)
        )
    return library


def load(trt: Any, library: Library) -> None:
    """Loads a library into this process, so that its operators are in TensorRT's registry.

    By ctypes, which works on every release; it registers itself when it is loaded.
    Raises: MissingDependency where it does not load, or another one is loaded; CorruptArtifact where it has changed.
    """
    if library.sha256 in _loaded:
        return
    if _loaded:
        raise MissingDependency(
            "this process already has other plugins (sha256 {}...) than those of {} ({}...), and one set has to leave "
            "first. Use the engines of each in a process of its own.".format(
                next(iter(_loaded))[:12], library.path, library.sha256[:12]
            )
        )
    if store.sha256_of(library.path) != library.sha256:
        raise CorruptArtifact("{} has changed since it was looked for. Run this again.".format(library.path))
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
    _loaded[library.sha256] = opened


def keep(library: Library, folder: str) -> Dict[str, str]:
    """Puts a library beside engines; what their records say of it."""
    name = "libpomt_plugins-{}.so".format(library.sha256[:12])
    if not os.path.isfile(os.path.join(folder, name)):
        store.copy(library.path, os.path.join(folder, name))
    return {"file": name, "sha256": library.sha256}


def beside(engine: Engine, folder: str) -> Optional[Library]:
    """The library that an engine in `folder` was built with; None where it needs none.

    Raises: CorruptArtifact where it is not there, or is another.
    """
    told = (engine.details or {}).get("plugin")
    if told is None:
        return None
    path = os.path.join(folder, os.path.basename(told["file"]))
    if not os.path.isfile(path) or store.sha256_of(path) != told["sha256"]:
        raise CorruptArtifact(
            "{} was built with the plugins of {} (sha256 {}...), which are missing beside it or others, and it cannot "
            "run without them. Copy that file too, or build the engine again: pomt-trt build WORK.".format(
                engine.file, told["file"], told["sha256"][:12]
            )
        )
    return Library(path, told["sha256"])
