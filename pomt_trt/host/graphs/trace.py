"""Exports a module to an ONNX graph with folded constants and parameters under their state_dict names.

Why torch's tracing exporter: the newer one raises opset and IR version silently. Why without parameters: with them it
merges equal tensors and renames transposed ones, and candidates could not share one weights file.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from pomt_trt.core.errors import VerificationFailed
from pomt_trt.host.graphs import editing, operators

Weights = dict[str, np.ndarray]  # by state_dict name


class Trace(NamedTuple):
    """A graph and the parameters it reads. Parameters are not initializers yet; small constants are."""

    graph: onnx.ModelProto
    weights: Weights  # transposed where the graph reads them so


def trace(
    module: nn.Module, image_shape: tuple[int, int, int, int], *, opset: int, ir_version: int, prefix: str = ""
) -> Trace:
    """Exports `module` for images of one static shape (batch, channels, height, width).

    Args:
        prefix: removed from the parameters' names, such as `vit.` of a model inside another.
    Raises: VerificationFailed if the exporter wrote another opset.
    """
    model = _exported(module, image_shape, opset)
    written = {entry.domain: entry.version for entry in model.opset_import}
    if written != {"": opset}:
        raise VerificationFailed(
            f"the exporter wrote opset {written}, not {opset}. Install the torch that setup.cfg names."
        )
    model.ir_version = ir_version
    state = {name.removeprefix(prefix): value.detach().cpu().numpy() for name, value in module.state_dict().items()}
    _rename(model.graph, prefix, state)
    _resolve_aliases(model.graph, state)
    weights = _fold_transposed_weights(model.graph, state)
    _fold_constants(model, weights)
    _drop_idle_expands(model, weights)
    _drop_unused(model.graph)
    _name_by_place(model.graph)
    return Trace(model, weights)


def _exported(module: nn.Module, image_shape: tuple[int, int, int, int], opset: int) -> onnx.ModelProto:
    buffer = io.BytesIO()
    with _unfused_attention(module), operators.written(opset), warnings.catch_warnings(), torch.no_grad():
        # The exporter warns of its deprecation and of Python values, which are meant to be constants here. Every graph
        # is compared with the module afterwards.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(image_shape),),
            buffer,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=opset,
            input_names=["image"],
            output_names=["logits"],
            export_params=False,
            do_constant_folding=False,
        )
    return onnx.load_from_string(buffer.getvalue())


@contextlib.contextmanager
def _unfused_attention(module: nn.Module) -> Iterator[None]:
    """Lets timm compute attention by matmul, softmax and matmul, which every opset has."""
    fused = [part for part in module.modules() if getattr(part, "fused_attn", False)]
    for part in fused:
        part.fused_attn = False  # type: ignore[assignment]
    try:
        yield
    finally:
        for part in fused:
            part.fused_attn = True  # type: ignore[assignment]


def _rename(graph: onnx.GraphProto, prefix: str, state: Weights) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                if name.startswith(prefix) and name.removeprefix(prefix) in state:
                    names[position] = name.removeprefix(prefix)


def _resolve_aliases(graph: onnx.GraphProto, state: Weights) -> None:
    """Removes the Identity nodes by which the exporter merges equal parameters, so that each keeps its name."""
    kept = [node for node in graph.node if not (node.op_type == "Identity" and node.output[0] in state)]
    editing.replace_nodes(graph, kept)


def _fold_transposed_weights(graph: onnx.GraphProto, state: Weights) -> Weights:
    """Stores a weight transposed where every reader reads it through the same Transpose, as linear layers do.

    Returns the values of all parameters that the graph reads.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    weights, renamed, kept = {}, {}, []
    for node in graph.node:
        source = node.input[0] if node.input else ""
        if source in state and _read_only_through(node, readers[source]):
            weights[source] = np.ascontiguousarray(state[source].transpose(node.attribute[0].ints))
            renamed[node.output[0]] = source
        else:
            kept.append(node)
    editing.replace_nodes(graph, kept)
    editing.rename_inputs(graph, renamed)
    for name in (name for node in graph.node for name in node.input if name in state):
        weights.setdefault(name, state[name])
    return weights


def _read_only_through(node: onnx.NodeProto, readers: list[onnx.NodeProto]) -> bool:
    """Whether the node is a Transpose, and all readers are the same one."""
    return node.op_type == "Transpose" and all(
        (r.op_type, r.attribute) == (node.op_type, node.attribute) for r in readers
    )


def _fold_constants(model: onnx.ModelProto, weights: Weights) -> None:
    """Computes every node that depends on neither image nor weights. Its value becomes an initializer."""
    graph = model.graph
    shapes = _inferred_shapes(model, weights)
    constants: dict[str, np.ndarray] = {}
    kept = []
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        elif node.op_type == "Shape" and node.input[0] in shapes:
            constants[node.output[0]] = np.array(shapes[node.input[0]], dtype=np.int64)
        elif node.input and all(name in constants for name in node.input):
            constants.update(_computed(node, constants, model.opset_import))
        else:
            kept.append(node)
    editing.replace_nodes(graph, kept)
    used = {name for node in kept for name in node.input}
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items() if name in used)


def _drop_idle_expands(model: onnx.ModelProto, weights: Weights) -> None:
    """Removes every Expand whose input already has the shape, such as the class token's at batch 1."""
    shapes = {**_inferred_shapes(model, weights), **{name: value.shape for name, value in weights.items()}}
    idle = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == "Expand" and shapes.get(node.output[0], ()) == shapes.get(node.input[0])
    }
    editing.rename_inputs(model.graph, idle)
    editing.replace_nodes(model.graph, [node for node in model.graph.node if node.output[0] not in idle])


def _computed(node: onnx.NodeProto, constants: dict[str, np.ndarray], opset_import: object) -> dict[str, np.ndarray]:
    values = ReferenceEvaluator(node, opsets={e.domain: e.version for e in opset_import}).run(  # type: ignore[attr-defined]
        None, {name: constants[name] for name in node.input}
    )
    return {name: np.asarray(value) for name, value in zip(node.output, values)}


def _inferred_shapes(model: onnx.ModelProto, weights: Weights) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors with a static one."""
    shapes = {}
    for value in inferred(model, weights).value_info:
        dims = value.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") for dim in dims):
            shapes[value.name] = tuple(dim.dim_value for dim in dims)
    return shapes


def inferred(model: onnx.ModelProto, weights: Weights) -> onnx.GraphProto:
    """A copy of the graph that knows the types and shapes of its tensors; weights are inputs."""
    typed = editing.copied(model)
    _declare_inputs(typed.graph, weights)
    return onnx.shape_inference.infer_shapes(typed, data_prop=True).graph


def _declare_inputs(graph: onnx.GraphProto, weights: Weights) -> None:
    """Makes `image` and the weights the graph's inputs, with the weights' stored shapes."""
    image = next(value for value in graph.input if value.name == "image")
    declared = [image] + [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in weights.items()
    ]
    del graph.input[:]
    graph.input.extend(declared)


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Removes what no output needs, and every input but the image."""
    editing.drop_unused(graph)
    _declare_inputs(graph, {})
    del graph.value_info[:]


def _name_by_place(graph: onnx.GraphProto) -> None:
    """Gives nodes, tensors and constants names that depend on their place alone: scope, operator and number.

    So two traces of one structure have the same names. The exporter's own numbers differ, and it merges constants that
    happen to be equal. A node's first output has the node's name.
    """
    values = {tensor.name: tensor for tensor in graph.initializer}
    renamed: dict[str, str] = {}
    counted: dict[str, int] = {}
    constants = []
    for node in graph.node:
        place = f"{node.name.rpartition('/')[0]}/{node.op_type}"
        counted[place] = counted.get(place, 0) + 1
        node.name = f"{place}_{counted[place]}"
        for position, name in enumerate(node.input):
            if name in values:
                constant = onnx.TensorProto.FromString(values[name].SerializeToString())
                constant.name = node.input[position] = f"{node.name}.constant_{position}"
                constants.append(constant)
            else:
                node.input[position] = renamed.get(name, name)
        for position, name in enumerate(node.output):
            if name not in {value.name for value in graph.output}:
                renamed[name] = node.output[position] = f"{node.name}.output_{position}" if position else node.name
    del graph.initializer[:]
    graph.initializer.extend(constants)
