"""A graph in bf16, as ONNX Runtime's CPU can run it: it casts to and from bf16, and has no arithmetic in it.

Makes, from a graph's file, one for a moment beside it, in which nodes compute in fp32 and their results are rounded to
bf16. So a device computes that accumulates in fp32, but for what it fuses. On the workstation, to check graphs. Leaves
out speed: engines in bf16 are TensorRT's.
"""

import contextlib
from collections.abc import Iterator, MutableSequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from pomt_trt.host.graphs import editing


@contextlib.contextmanager
def runnable(path: Path) -> Iterator[Path]:
    """A file that ONNX Runtime runs: the graph's own, unless it computes in bf16; that other one is gone afterwards."""
    model = onnx.load(str(path), load_external_data=False)
    narrow = _bf16_tensors(model)
    if not narrow:
        yield path
        return
    _compute_in_fp32(model.graph, narrow)
    with editing.temporary_file(model, path) as file:
        yield file


def _bf16_tensors(model: onnx.ModelProto) -> set[str]:
    """Names of all tensors in bf16."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = [*graph.value_info, *graph.input, *graph.output]
    found = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.BFLOAT16}
    return found | {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.BFLOAT16}


def _compute_in_fp32(graph: onnx.GraphProto, narrow: set[str]) -> None:
    """Puts casts around every node in bf16 but casts; around those that only move numbers they change nothing."""
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
    """Gives each bf16 tensor among a node's own names another name; returns both, tensor by tensor."""
    renamed = []
    for position, name in enumerate(names):
        if name in narrow:
            names[position] = f"{name}.{end}{position}"
            renamed.append((name, names[position]))
    return renamed
