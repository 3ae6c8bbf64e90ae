"""NVIDIA's Python API of one TensorRT release: names, members, enum values and argument lists, read from a table.

Reads tests/data/tensorrt_api, which holds what was seen in NVIDIA's bindings (8.6.1 and later, by introspection) or in
their open sources (8.2, 8.5, where arguments have no types and enum values are those of 8.6.1). Any machine,
Python 3.6. Knows nothing about behaviour.
"""

import functools
import gzip
import json
import os
import re
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

RELEASES = ("8.2", "8.5", "8.6.1", "10.3.0", "10.13.3", "10.16.1", "11.4.0")  # of TensorRT
RTX = "rtx-1.7.1"  # TensorRT-RTX, seen in its own package
_PACKAGES = {RTX: "tensorrt_rtx"}  # any other: tensorrt
_AS_NEW_AS = {RTX: (11, 4)}  # of which TensorRT its parser behaves as; any other: of its own number
_FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data")


MISSING: Any = object()  # an argument left to its default before one that was given


class Argument(NamedTuple):
    """One argument: its type as the binding prints it, empty where the table does not know it."""

    name: str
    type: str
    required: bool


class Entry(NamedTuple):
    """One class; `methods` holds the overloads of each, every other member is a property."""

    name: str
    members: List[str]
    bases: List[str]
    enum: Optional[Dict[str, int]]
    readonly: List[str]
    methods: Dict[str, List[List[Argument]]]


class Table(NamedTuple):
    """A release."""

    release: str
    version: str
    package: str  # that a program imports
    as_new_as: Tuple[int, ...]  # the TensorRT whose parser this release's is like
    classes: Dict[str, Entry]
    functions: Dict[str, List[List[Argument]]]  # empty where only the name is known
    constants: List[str]


@functools.lru_cache(maxsize=None)
def load(release: str) -> Table:
    """The table of a release, one of RELEASES or RTX; read once, and not to be changed."""
    with gzip.open(os.path.join(_FOLDER, "tensorrt_api", release + ".json.gz"), "rb") as file:
        raw = json.loads(file.read().decode())
    classes = {name: _entry(name, entry) for name, entry in raw["classes"].items()}
    signatures = raw["function_signatures"]
    functions = {name: [arguments(signatures[name])] if name in signatures else [] for name in raw["functions"]}
    numbers = _AS_NEW_AS.get(release) or tuple(int(part) for part in release.split(".")[:2])
    package = _PACKAGES.get(release, "tensorrt")
    return Table(release, raw["version"], package, numbers, classes, functions, raw["constants"])


@functools.lru_cache(maxsize=None)
def parser_limits(release: str) -> Dict[str, Any]:
    """What that release's ONNX parser reads: 'ops' and 'max_opset' (None: not known, so not limited)."""
    with open(os.path.join(_FOLDER, "onnx_ops.json")) as file:
        limits: Dict[str, Any] = json.load(file)[".".join(release.split(".")[:2])]
    return limits


def arguments(signature: str) -> List[Argument]:
    """The arguments of a printed signature such as 'log(self: ILogger, severity: Severity, msg: str) -> None'."""
    inside, depth = signature[signature.index("(") + 1 :], 0
    parts = [""]
    for character in inside:
        if character == ")" and depth == 0:
            break
        depth += (character in "([{<") - (character in ")]}>")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    parsed = [_argument(part) for part in parts if part.strip()]
    return parsed[1:] if parsed and parsed[0].name == "self" else parsed


def bind(overloads: Sequence[List[Argument]], args: Tuple[Any, ...], kwargs: Dict[str, Any], module: Any) -> List[Any]:
    """The values in the order of the first overload that takes them, without trailing defaults.

    Raises: TypeError, as the bindings do, where none takes them.
    """
    for overload in overloads:
        values = _matched(overload, args, kwargs, module)
        if values is not None:
            return values
    taken = "; ".join("({})".format(", ".join(map(_printed, overload))) for overload in overloads)
    given = [repr(value) for value in args] + ["{}={!r}".format(*item) for item in sorted(kwargs.items())]
    raise TypeError("incompatible function arguments. Supported: {}. Invoked with: {}".format(taken, ", ".join(given)))


def _entry(name: str, raw: Dict[str, Any]) -> Entry:
    values = dict(map(tuple, raw["enum"])) if "enum" in raw else None
    methods = {
        method: [arguments(signature) for signature in signatures]
        for method, signatures in raw.get("signatures", {}).items()
    }
    return Entry(name, raw["members"], raw.get("bases", []), values, raw.get("readonly", []), methods)


def _argument(text: str) -> Argument:
    declared, equals, _ = text.partition("=")
    name, _, kind = declared.partition(":")
    return Argument(name.strip(), kind.strip(), not equals)


def _printed(argument: Argument) -> str:
    return argument.name + (": " + argument.type if argument.type else "") + ("" if argument.required else " = ...")


def _matched(
    overload: List[Argument], args: Tuple[Any, ...], kwargs: Dict[str, Any], module: Any
) -> Optional[List[Any]]:
    given = dict(zip((argument.name for argument in overload), args))
    named = {argument.name for argument in overload if not re.match(r"arg\d+$", argument.name)}
    if len(args) > len(overload) or set(kwargs) & set(given) or set(kwargs) - named:
        return None
    given.update(kwargs)
    for argument in overload:
        if argument.name not in given:
            if argument.required:
                return None
        elif not _accepts(argument.type, given[argument.name], module):
            return None
    values = [given.get(argument.name, MISSING) for argument in overload]
    while values and values[-1] is MISSING:
        values.pop()
    return values


def _accepts(kind: str, value: Any, module: Any) -> bool:
    """Whether a binding's argument of this type converts the value."""
    kind = kind.rpartition(".")[2]
    if kind in ("int", "SupportsInt"):
        return hasattr(value, "__index__")
    if kind in ("float", "SupportsFloat"):
        return hasattr(value, "__float__")
    if kind in ("str", "bool"):
        return isinstance(value, {"str": str, "bool": bool}[kind]) or (kind == "str" and value is None)
    if kind in ("buffer", "Buffer"):
        return _is_buffer(value)
    known = getattr(module, kind, None) if kind else None
    if not isinstance(known, type):
        return True
    return isinstance(value, known) or (value is None and not hasattr(known, "__members__"))


def _is_buffer(value: Any) -> bool:
    try:
        memoryview(value)
    except TypeError:
        return False
    return True
