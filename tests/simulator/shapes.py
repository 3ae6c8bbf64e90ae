"""What a parser knows of shapes and types before anything runs, and the nodes that it refuses for them.

Shapes are followed through what our graphs are made of; where one is not known, nothing is refused. Any machine, 3.6.
"""

from typing import Any, Dict, List, Optional, Set, Tuple

import numpy as np

from .onnx_file import Model, Node

Shape = Optional[Tuple[int, ...]]
_BINARY = {"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Equal", "Greater", "Less"}
_AS_INPUT = {"Relu", "Cast", "Neg", "Erf", "Exp", "Log", "Sqrt", "Sigmoid", "Tanh", "Softmax", "LayerNormalization"}
_AS_INPUT |= {"Identity", "Not"}
_SHAPE_INPUTS = {"TopK": (1,), "Reshape": (1,), "Expand": (1,), "Slice": (1, 2)}  # tensors that decide shapes


def in_order(model: Model) -> Optional[List[int]]:
    """Numbers of the nodes so that each follows what it reads; None where there is a cycle."""
    makers = {name: number for number, node in enumerate(model.nodes) for name in node.outputs if name}
    order: List[int] = []
    done: Set[int] = set()
    while len(order) < len(model.nodes):
        before = len(order)
        for number, node in enumerate(model.nodes):  # usually in order already, so that one pass does
            if number not in done and all(makers[name] in done for name in node.inputs if name in makers):
                order.append(number)
                done.add(number)
        if len(order) == before:
            return None
    return order


def unknown_input(model: Model) -> str:
    """The first tensor that a node reads and nothing makes; empty where there is none."""
    known = {tensor.name for tensor in model.inputs} | set(model.initialisers)
    known.update(name for node in model.nodes for name in node.outputs)
    return next((name for node in model.nodes for name in node.inputs if name and name not in known), "")


def shape_inputs(model: Model) -> List[str]:
    """Inputs of the graph that decide a shape in it."""
    given = {tensor.name for tensor in model.inputs}
    places = [(node.inputs, place) for node in model.nodes for place in _SHAPE_INPUTS.get(node.operator, ())]
    return sorted(given & {inputs[place] for inputs, place in places if place < len(inputs)})


def misfit(model: Model, types: Dict[str, str], strongly_typed: bool) -> Optional[Tuple[int, str]]:
    """(number, reason) of the first node whose inputs do not fit each other; None where all do."""
    shapes: Dict[str, Shape] = {tensor.name: _static(tensor.shape) for tensor in model.inputs}
    shapes.update({name: tensor.shape for name, tensor in model.initialisers.items()})
    for number in in_order(model) or []:
        node = model.nodes[number]
        reason = _types_differ(node, types) if strongly_typed else ""
        known = [shapes.get(name) for name in node.inputs]
        shape, mismatch = _followed(node, known, model)
        if reason or mismatch:
            return number, reason or mismatch
        shapes.update(dict.fromkeys(node.outputs[:1], shape))
    return None


def _static(shape: Tuple[int, ...]) -> Shape:
    return None if any(size < 0 for size in shape) else shape


def _types_differ(node: Node, types: Dict[str, str]) -> str:
    if node.operator not in _BINARY | {"MatMul"} or len(node.inputs) < 2:
        return ""
    found = [types.get(name, "FLOAT") for name in node.inputs[:2]]
    if found[0] == found[1]:
        return ""
    return "{} must have same input types. But they are of types {} and {}.".format(node.operator, *found)


def _followed(node: Node, known: List[Shape], model: Model) -> Tuple[Shape, str]:
    """The shape of a node's first output, and why there is none."""
    if node.operator in _AS_INPUT and known:
        return known[0], ""
    if not known or any(shape is None for shape in known[:2]):
        return None, ""
    if node.operator == "MatMul":
        return _product(known[0] or (), known[1] or ())
    if node.operator == "Transpose":
        perm: Any = node.attributes.get("perm")
        return (tuple((known[0] or ())[axis] for axis in perm) if perm else None), ""
    if node.operator == "Reshape":
        return _reshaped(known[0] or (), model.initialisers.get(node.inputs[1]))
    return None, ""


def _product(left: Tuple[int, ...], right: Tuple[int, ...]) -> Tuple[Shape, str]:
    if len(left) < 2 or len(right) < 2:
        return None, ""
    if left[-1] != right[-2]:
        text = "last dimension of input0 = {} and second to last dimension of input1 = {} but must match."
        return None, text.format(left[-1], right[-2])
    return (left[:-1] + right[-1:] if len(right) == 2 else None), ""


def _reshaped(shape: Tuple[int, ...], target: Any) -> Tuple[Shape, str]:
    if target is None or not target.integers or -1 in target.integers:
        return None, ""
    wanted = tuple(shape[axis] if size == 0 else size for axis, size in enumerate(target.integers))
    if np.prod(shape) != np.prod(wanted):
        return None, "reshape changes volume. Reshaping {} to {}.".format(list(shape), list(wanted))
    return wanted, ""
