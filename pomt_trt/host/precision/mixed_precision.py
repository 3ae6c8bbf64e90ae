"""Mixed precision in a graph: fp16 or bf16 everywhere but in the fp32 regions.

A strongly typed target gets the graph with casts. A weakly typed one gets the fp32 graph, and the names of the nodes
that its build must keep in fp32.

The fp32 regions are:
- LayerNorm and RMSNorm. They square residuals: above 256 the square exceeds 65504, the largest fp16, and residuals of
  large ViTs reach 1500.
- Means and sums over tokens, which exceed 65504 for a hundred such residuals.
- Scores that only a ranking reads: equal scores are common in fp16, and more so in bf16.

The residual stream is narrow (fp16 or bf16). Casts stand at the borders of regions, so none stands between the matmuls
and the softmax of attention, where it would prevent fusion.

bf16 has the range of fp32 but 8 bits of mantissa. Its regions are the same. The patch embedding is fp16 there, since
ONNX has a Conv in bf16 only from opset 22 on.

Source: residuals of 1418 in a ViT-B, and 19 % instead of 85 % of ImageNet right where LayerNorm overflows, onnxsim's
scripts/nvidia/README.md (2026); the conditions for fused attention, NVIDIA/TensorRT#2981 and #4167.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pomt_trt.core.errors import InputError
from pomt_trt.host.graphs import editing
from pomt_trt.host.graphs.graph_checks import RANKINGS
from pomt_trt.host.graphs.trace import Trace, Weights, inferred

LARGEST = 65504.0  # finite fp16
NARROW = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
PINNED = "/fp32"  # prefix of the names of nodes that a weakly typed build keeps in fp32

_SUMS = frozenset({"ReduceMean", "ReduceSum"})
# A ranking may read the results of these in fp16: they choose, move or widen values, and round none.
_EXACT = frozenset({"Cast", "Gather", "ReduceMax", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"})
_NORM = ("ReduceMean", "Add", "Sqrt", "Div")  # from the squares to what is normalised
_SUFFIX = {TensorProto.FLOAT: "fp32", **{kind: name for name, kind in NARROW.items()}}


def fp32_nodes(traced: Trace) -> tuple[str, ...]:
    """Names of the nodes in fp32 regions, in the graph's order."""
    graph = traced.graph.graph
    region = _norms(graph, set(traced.weights)) | _scores(graph)
    return tuple(node.name for node in graph.node if node.name in region or node.op_type in _SUMS)


def pinned(traced: Trace) -> tuple[Trace, tuple[str, ...]]:
    """The fp32 graph with PINNED before the names of the nodes in fp32 regions, and these names.

    So a name of the list means the same in every graph of a graph set.
    """
    model, region = editing.copied(traced.graph), set(fp32_nodes(traced))
    names = []
    for node in model.graph.node:
        if node.name in region:
            node.name = PINNED + node.name
            names.append(node.name)
    return Trace(model, traced.weights), tuple(names)


def mixed(traced: Trace, narrow: str = "fp16") -> Trace:
    """The graph with all but the fp32 regions in fp16 or bf16. Image, logits and the regions' weights stay fp32.

    Raises: InputError for a weight that fp16 cannot hold.
    """
    model = editing.copied(traced.graph)
    region = set(fp32_nodes(traced))
    kinds = {node.name: TensorProto.FLOAT if node.name in region else _kind(node, narrow) for node in model.graph.node}
    outside = {name: node for node in model.graph.node if node.name not in region for name in node.input}
    weights = {
        name: _narrowed(name, value, kinds[outside[name].name]) if name in outside else value
        for name, value in traced.weights.items()
    }
    _Placing(model, traced.weights, weights, kinds).place()
    return Trace(model, weights)


def _kind(node: onnx.NodeProto, narrow: str) -> int:
    """The type of a node outside the fp32 regions."""
    return int(NARROW["fp16" if node.op_type == "Conv" else narrow])


class _Placing:
    """Gives each float tensor of a graph a type, node by node, and puts casts where types meet."""

    def __init__(self, model: onnx.ModelProto, traced: Weights, weights: Weights, kinds: dict[str, int]) -> None:
        self._graph, self._kinds = model.graph, kinds
        self._floats = _float_tensors(model, traced)
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._types: dict[str, int] = {"image": TensorProto.FLOAT}
        self._types.update({name: helper.np_dtype_to_tensor_dtype(value.dtype) for name, value in weights.items()})
        self._nodes: list[onnx.NodeProto] = []

    def place(self) -> None:
        """Rewrites the graph."""
        for node in self._graph.node:
            if node.op_type == "Cast":  # it takes any type, and names its own
                kind = next(attribute.i for attribute in node.attribute if attribute.name == "to")
            else:
                kind = self._kinds[node.name]
                self._convert_inputs(node, kind)
            self._types.update({name: kind for name in node.output if name in self._floats})
            self._nodes.append(node)
        for output in self._graph.output:
            self._widen(output.name)
        editing.replace_nodes(self._graph, self._nodes)

    def _convert_inputs(self, node: onnx.NodeProto, kind: int) -> None:
        for position, name in enumerate(node.input):
            if name not in self._floats:
                continue
            if name in self._constants:  # each has one reader, see trace
                value = numpy_helper.to_array(self._constants[name]).astype(helper.tensor_dtype_to_np_dtype(kind))
                self._constants[name].CopyFrom(numpy_helper.from_array(value, name))
            elif self._types[name] != kind:
                node.input[position] = self._cast(name, kind)

    def _cast(self, name: str, kind: int) -> str:
        """Name of the tensor in the other type. The cast is made once."""
        made = f"{name}.{_SUFFIX[kind]}"
        if made not in self._types:
            self._types[made] = kind
            self._nodes.append(helper.make_node("Cast", [name], [made], name=f"{made}.cast", to=kind))
        return made

    def _widen(self, output: str) -> None:
        """Casts a graph's output to fp32 under its own name."""
        if self._types[output] == TensorProto.FLOAT:
            return
        narrow = f"{output}.{_SUFFIX[self._types[output]]}"
        for node in self._nodes:
            for names in (node.input, node.output):
                for position, name in enumerate(names):
                    if name == output:
                        names[position] = narrow
        self._nodes.append(helper.make_node("Cast", [narrow], [output], name=f"{output}.cast", to=TensorProto.FLOAT))


def _narrowed(name: str, value: np.ndarray, kind: int) -> np.ndarray:
    """The weight in a narrow type, if it is fp32."""
    if value.dtype != np.float32:
        return value
    if kind == TensorProto.FLOAT16 and np.abs(value).max(initial=0.0) > LARGEST:
        raise InputError(
            f"weight {name} holds {np.abs(value).max():.3g}, and fp16 ends at {LARGEST:.0f}. Use --precision fp32."
        )
    narrow: np.ndarray = value.astype(helper.tensor_dtype_to_np_dtype(kind))
    return narrow


def _norms(graph: onnx.GraphProto, weights: set[str]) -> set[str]:
    """Nodes of every LayerNorm, in one operator or many, and of every RMSNorm, which is one without centring."""
    members = {node.name for node in graph.node if node.op_type == "LayerNormalization"}
    producers = {name: node for node in graph.node for name in node.output}
    for square in (node for node in graph.node if node.op_type == "Pow"):
        chain = [square]
        for kind in _NORM:
            chain += _readers(graph, chain[-1], kind)[:1]
        if tuple(node.op_type for node in chain[1:]) != _NORM:
            continue
        for kind in ("Mul", "Add"):  # the norm's own weight and bias, if it has them
            chain += [reader for reader in _readers(graph, chain[-1], kind) if weights.intersection(reader.input)][:1]
        members.update(node.name for node in chain)
        centred = producers.get(square.input[0])
        if centred is not None and centred.op_type == "Sub":
            members.add(centred.name)
    return members


def _readers(graph: onnx.GraphProto, node: onnx.NodeProto, kind: str) -> list[onnx.NodeProto]:
    return [reader for reader in graph.node if reader.op_type == kind and node.output[0] in reader.input]


def _scores(graph: onnx.GraphProto) -> set[str]:
    """The rankings, and the nodes that reach the logits through a ranking alone, from the first that rounds."""
    read = {value.name for value in graph.output}
    ranked: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if node.op_type in RANKINGS or not read.intersection(node.output):
            ranked.append(node)
        else:
            read.update(node.input)
    members: set[str] = set()
    computed: set[str] = set()
    for node in reversed(ranked):
        if node.op_type not in _EXACT or computed.intersection(node.input):
            members.add(node.name)
            computed.update(node.output)
    return members


def _float_tensors(model: onnx.ModelProto, weights: Weights) -> set[str]:
    """Names of all fp32 tensors of the graph as traced."""
    graph = inferred(model, weights)
    values = [*graph.value_info, *graph.input, *graph.output]
    floats = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    return floats | {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
