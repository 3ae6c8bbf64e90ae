"""A plugin registry that knows our operators once libpomt_plugins.so is loaded, and how releases treat their nodes.

What TensorRT's registry would hear from the library, this one reads from the process's own list of loaded files, so any
shared object of that name will do. It refuses nodes as the library's creators do (plugins/tensorrt/op.h). Whether a
plugin or a node's function wins depends on the release: onnx-tensorrt's sources of 8.6, 9.3, 10.1, 10.7 and 10.15.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from .onnx_file import Model, Node

SCORES = {"PomtTokenPrune": "pomt", "PomtTokenTopK": "class"}
VERSION, NAMESPACE = "1", ""
LIBRARY = "libpomt_plugins"
_FUNCTIONS_FROM, _PLUGIN_FIRST_FROM, _BY_NAMESPACE_FROM = (9, 0), (10, 7), (10, 15)
NOT_FOUND = "Plugin not found, are the plugin name, version, and namespace correct?"


class Way(NamedTuple):
    """How a node that is no standard operator is read: by `plugin`, by `function`, or not at all, with a reason."""

    by: str
    reason: str = ""


class CreatorCore:
    """What a registry gives for a name that it knows."""

    def __init__(self, name: str) -> None:
        self.name, self.plugin_version, self.plugin_namespace = name, VERSION, NAMESPACE


class RegistryCore:
    """An IPluginRegistry."""

    def __init__(self, trt: Any) -> None:
        self._trt = trt

    def get_creator(self, type: str, version: str, plugin_namespace: Any = "") -> Any:
        """The creator; None where there is none."""
        if not registered(type, version, plugin_namespace if isinstance(plugin_namespace, str) else ""):
            return None
        kind = "IPluginCreatorV3One" if hasattr(self._trt, "IPluginCreatorV3One") else "IPluginCreator"
        return self._trt._wrap(kind, CreatorCore(type))

    get_plugin_creator = get_creator


def registry(trt: Any) -> Any:
    """tensorrt.get_plugin_registry()."""
    return trt._wrap("IPluginRegistry", RegistryCore(trt))


def loaded() -> bool:
    """Whether this process has loaded the library."""
    with open("/proc/self/maps") as file:
        return any(LIBRARY in line for line in file)


def registered(name: str, version: str, namespace: str) -> bool:
    return name in SCORES and version == VERSION and namespace == NAMESPACE and loaded()


def way(node: Node, model: Model, numbers: Tuple[int, ...]) -> Way:
    """How a release reads a node of a domain that is not ONNX's; `numbers`: see tables.Table.as_new_as."""
    has_function = node.operator in model.functions and numbers >= _FUNCTIONS_FROM
    version, namespace = (node.attributes.get("plugin_" + name) for name in ("version", "namespace"))
    is_registered = registered(node.operator, version or VERSION, namespace or NAMESPACE)
    plugin_first = numbers < _FUNCTIONS_FROM or numbers >= _PLUGIN_FIRST_FROM
    if numbers >= _BY_NAMESPACE_FROM:
        plugin_first = namespace is not None
    if has_function and not (plugin_first and is_registered):
        return Way("function")
    if not is_registered:
        return Way("", NOT_FOUND)
    reason = refusal(node.operator, node.attributes)
    return Way("", reason) if reason else Way("plugin")


def refusal(name: str, attributes: Dict[str, Any]) -> str:
    """Why the library makes no plugin of these attributes; empty where it does."""
    removed, prefix, score = (attributes.get(key) for key in ("R", "prefix", "score"))
    wrong: List[Optional[str]] = [
        "R" if not isinstance(removed, int) or removed < 1 else None,
        "prefix" if not isinstance(prefix, int) or prefix < 0 else None,
        "score" if score != SCORES[name] else None,
    ]
    named = ", ".join(filter(None, wrong))
    return "{}: createPlugin returned a null pointer (attributes {})".format(name, named) if named else ""
