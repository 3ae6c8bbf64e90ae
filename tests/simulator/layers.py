"""From ONNX nodes to TensorRT's layers: their names and the data types of their tensors.

Any machine, Python 3.6. Knows only what bookkeeping needs: one layer a node and one a constant, where TensorRT makes
helpers besides; types follow the graph, as in a strongly typed network; shapes are not inferred.
"""

from typing import Any, Dict, List, NamedTuple

from .onnx_file import TYPES, Model, Node

CONSTANT = "Constant"
_COMPARING = {"Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Not", "And", "Or", "IsInf", "IsNaN"}
_ATTENTION = [["MatMul", "Softmax", "MatMul"], ["MatMul", "Add", "Softmax", "MatMul"]]


class Layer(NamedTuple):
    """A layer before anybody has set anything of it."""

    name: str
    operator: str  # of the ONNX node that it comes from
    node: str  # the name of that node
    outputs: List[str]


def of_model(model: Model) -> List[Layer]:
    """The layers of a graph."""
    used = {name for node in model.nodes for name in node.inputs}
    layers = [Layer(name, CONSTANT, "", [name]) for name in model.initialisers if name in used]
    seen: Dict[str, int] = {}
    for node in model.nodes:
        name = _name(node)
        seen[name] = seen.get(name, -1) + 1
        unique = "{}_{}".format(name, seen[name]) if seen[name] else name
        layers.append(Layer(unique, node.operator, name, node.outputs))
    return layers


def _name(node: Node) -> str:
    return node.name or "node_of_" + node.outputs[0]


def tensor_types(model: Model, has_int64: bool) -> Dict[str, str]:
    """Name of the data type of every tensor; INT64 becomes INT32 where the release has none."""
    types = {tensor.name: tensor.type for tensor in model.inputs}
    types.update({name: tensor.type for name, tensor in model.initialisers.items()})
    for node in model.nodes:
        for number, output in enumerate(node.outputs):
            types[output] = _output_type(node, number, types)
    narrow = {"INT64": "INT64" if has_int64 else "INT32", "DOUBLE": "FLOAT"}
    return {name: narrow.get(kind, kind) for name, kind in types.items()}


def _output_type(node: Node, number: int, types: Dict[str, str]) -> str:
    if node.operator == "Cast":
        return TYPES.get(node.attributes.get("to"), "FLOAT")
    if node.operator in ("Constant", "ConstantOfShape"):
        value = node.attributes.get("value")
        return value.type if value is not None else "FLOAT"
    if node.operator in ("Shape", "Size", "ArgMax", "ArgMin", "NonZero") or (node.operator == "TopK" and number):
        return "INT64"
    if node.operator in _COMPARING:
        return "BOOL"
    source = 1 if node.operator == "Where" else 0
    if node.domain:  # a plugin of ours, whose output is as its last input
        source = len(node.inputs) - 1
    return types.get(node.inputs[source], "FLOAT") if len(node.inputs) > source else "FLOAT"


def fused_attention(model: Model, half: Any) -> List[List[str]]:
    """Names of the nodes of each attention block that may run as one kernel: MatMul, Softmax, MatMul in a row.

    A mask may be added before the Softmax. Source: TensorRT's documentation, "Fused Attention".

    Args:
        half: says of a tensor's name whether it is computed in 16 bits; attention in fp32 is never fused.
    """
    readers: Dict[str, List[Node]] = {}
    producers = {output: node for node in model.nodes for output in node.outputs}
    for node in model.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    blocks = []
    for node in model.nodes:
        if node.operator != "Softmax":
            continue
        block = [node, *readers.get(node.outputs[0], [])]
        while block[0].operator in ("Softmax", "Add") and block[0].inputs[0] in producers:
            block.insert(0, producers[block[0].inputs[0]])
        operators = [each.operator for each in block]
        alone = all(len(readers[each.outputs[0]]) == 1 for each in block[:-1])
        if operators in _ATTENTION and alone and half(node.outputs[0]):
            blocks.append(list(map(_name, block)))
    return blocks
