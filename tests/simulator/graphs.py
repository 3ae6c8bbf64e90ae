"""Writes small ONNX files for the simulator's own tests."""

from typing import Any, List, Sequence

from onnx import TensorProto, helper

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def op(operator: str, inputs: List[str], outputs: List[str], domain: str = "", **attributes: Any) -> Any:
    """A node: its name is that of its first output."""
    return helper.make_node(operator, inputs, outputs, name=outputs[0], domain=domain, **attributes)


def model(
    nodes: List[Any], shape: Sequence[int], opset: int = 13, kind: int = FLOAT, functions: Sequence[str] = ()
) -> bytes:
    """A graph from `x` of this shape to `y` of whatever shape.

    Args:
        functions: names of functions that the file holds; they are empty.
    """
    ends = [helper.make_tensor_value_info("x", kind, shape)], [helper.make_tensor_value_info("y", kind, None)]
    graph = helper.make_graph(nodes, "graph", *ends)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    for name in functions:
        made.functions.add(name=name)
    content: bytes = made.SerializeToString()
    return content


# Attention as host/graphs/export writes it: scores, softmax and mixing in a row; x is (heads, tokens, channels of a
# head).
ATTENTION = [
    op("Transpose", ["x"], ["keys"], perm=[0, 2, 1]),
    op("MatMul", ["x", "keys"], ["scores"]),
    op("Softmax", ["scores"], ["weights"], axis=2),
    op("MatMul", ["weights", "x"], ["y"]),
]
MASKED_ATTENTION = [
    *ATTENTION[:2],
    op("ReduceMax", ["x"], ["mask"], axes=[2]),
    op("Add", ["scores", "mask"], ["masked"]),
    op("Softmax", ["masked"], ["weights"], axis=2),
    ATTENTION[3],
]
