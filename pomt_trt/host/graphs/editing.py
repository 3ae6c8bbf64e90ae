"""Changes to ONNX graphs that several modules make."""

from collections.abc import Iterable

import onnx


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model of its own."""
    return onnx.ModelProto.FromString(model.SerializeToString())


def replace_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Gives the graph these nodes, which may be its own."""
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def rename_inputs(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Lets every node read another tensor where `names` gives one."""
    for node in graph.node:
        for position, name in enumerate(node.input):
            node.input[position] = names.get(name, name)


def drop_unused(graph: onnx.GraphProto) -> None:
    """Removes the nodes and initializers that no output needs."""
    needed, kept = {value.name for value in graph.output}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    replace_nodes(graph, kept[::-1])
    initializers = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(initializers)
