"""Runs a bf16 graph on ONNX Runtime's CPU, which casts to and from bf16 but has no arithmetic in it.

In the changed graph every node computes in fp32, and its results are rounded to bf16. A device that accumulates in fp32
computes the same, but for what it fuses. This only checks graphs: bf16 engines are TensorRT's.
"""

from collections.abc import MutableSequence

import onnx
from onnx import TensorProto, helper

from pomt_trt.host.graphs import editing


def make_runnable(model: onnx.ModelProto) -> None:
    """Changes a graph that computes in bf16, so that ONNX Runtime can run it."""
    narrow = _bf16_tensors(model)
    if narrow:
        _compute_in_fp32(model.graph, narrow)


def _bf16_tensors(model: onnx.ModelProto) -> set[str]:
    """Names of all tensors in bf16."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = [*graph.value_info, *graph.input, *graph.output]
    names = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.BFLOAT16}
    return names | {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.BFLOAT16}


def _compute_in_fp32(graph: onnx.GraphProto, narrow: set[str]) -> None:
    """Puts casts around every bf16 node that is not a cast itself."""
    nodes: list[onnx.NodeProto] = []
    for number, node in enumerate(graph.node):
        is_cast = node.op_type == "Cast"
        inputs = [] if is_cast else _widened(node.input, narrow, f"{number}.in")
        outputs = [] if is_cast else _widened(node.output, narrow, f"{number}.out")
        nodes += [helper.make_node("Cast", [name], [wide], to=TensorProto.FLOAT) for name, wide in inputs]
        nodes.append(node)
        nodes += [helper.make_node("Cast", [wide], [name], to=TensorProto.BFLOAT16) for name, wide in outputs]
    del graph.value_info[:]
    editing.replace_nodes(graph, nodes)


def _widened(names: MutableSequence[str], narrow: set[str], end: str) -> list[tuple[str, str]]:
    """Renames the bf16 tensors among `names`, in place. Returns pairs of old and new name."""
    renamed = []
    for position, name in enumerate(names):
        if name in narrow:
            names[position] = f"{name}.{end}{position}"
            renamed.append((name, names[position]))
    return renamed
