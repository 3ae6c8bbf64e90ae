"""Which names of TensorRT our own modules use, read from their source.

A name is an attribute of `trt`, of a class of it, or of a variable that holds one of TensorRT's objects; a table
below says how those are called in our modules. It is asked for where it stands under a condition with hasattr, or
after one that leaves the function: then it need not be there in every release. Names behind getattr are not seen.
"""

import ast
import os
from typing import Iterator, List, NamedTuple, Optional, Set, Tuple

from tests import paths

TENSORRT = os.path.join(paths.ROOT, "pomt_trt", "device", "engines", "tensorrt")
OBJECTS = {
    "builder": "Builder",
    "cache": "ITimingCache",
    "config": "IBuilderConfig",
    "context": "IExecutionContext",
    "engine": "ICudaEngine",
    "layer": "ILayer",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "runtime": "Runtime",
}


class Use(NamedTuple):
    """One use of a name of TensorRT's."""

    owner: str  # the class; empty for a name of the module itself
    member: str
    asked_for: bool
    place: str


def uses() -> Iterator[Use]:
    """Every use in our modules for TensorRT."""
    for name in sorted(os.listdir(TENSORRT)):
        if name.endswith(".py"):
            with open(os.path.join(TENSORRT, name)) as file:
                yield from uses_in(file.read(), name)


def uses_in(source: str, name: str) -> List[Use]:
    """Every use in one module; none where it never says `trt`."""
    tree = ast.parse(source)
    if not any(_is_module(node) or isinstance(node, ast.arg) and node.arg == "trt" for node in ast.walk(tree)):
        return []
    return list(_below(tree, False, set(), name))


def _below(node: ast.AST, asked: bool, ours: Set[str], place: str) -> Iterator[Use]:
    """The uses in a part of the source; `ours` are arguments that hold records of our own."""
    if isinstance(node, ast.FunctionDef):
        typed = [each for each in node.args.args if isinstance(each.annotation, ast.Name)]
        ours = {each.arg for each in typed if each.annotation.id != "Any"}  # type: ignore[union-attr]
    if isinstance(node, ast.Attribute):
        found = _named(node, ours)
        if found is not None:
            yield Use(found[0], found[1], asked, "{}:{}".format(place, node.lineno))
    if isinstance(node, (ast.If, ast.IfExp, ast.BoolOp)) and _asks(node.test if hasattr(node, "test") else node):
        asked = True
    for _, value in ast.iter_fields(node):
        below = asked
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _below(child, below, ours, place)
                leaves = isinstance(child, ast.If) and isinstance(child.body[-1], (ast.Return, ast.Raise))
                below = below or (leaves and _asks(child.test))  # type: ignore[attr-defined]


def _asks(test: ast.AST) -> bool:
    calls = [node.func for node in ast.walk(test) if isinstance(node, ast.Call)]
    return any(isinstance(function, ast.Name) and function.id == "hasattr" for function in calls)


def _named(node: ast.Attribute, ours: Set[str]) -> Optional[Tuple[str, str]]:
    """(class, member) of an attribute of TensorRT's, None for any other."""
    value = node.value
    if _is_module(value):
        return "", node.attr
    if isinstance(value, ast.Attribute) and _is_module(value.value):
        return value.attr, node.attr
    holder = value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else ""
    owner = OBJECTS.get(holder.lstrip("_")) if holder not in ours else None
    return (owner, node.attr) if owner else None


def _is_module(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "trt"
