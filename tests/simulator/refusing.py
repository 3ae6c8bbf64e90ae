"""What a Builder refuses: networks and settings that contradict each other, and graphs that the parser lets through.

Stages are those that TensorRT-RTX 1.7.1 was seen at (tests/rtx): the builder belongs to all releases alike.
"""

from typing import Any

from . import shapes
from .config import ConfigCore
from .network import NetworkCore
from .onnx_file import Model

MOST_RANKED = 3840  # NvInfer.h, ITopKLayer
_PRECISIONS = ("FP16", "BF16", "INT8", "FP8", "INT4", "FP4", "OBEY_PRECISION_CONSTRAINTS")


def refusal(net: NetworkCore, config: ConfigCore) -> str:
    """Why this cannot be built; empty where it can."""
    if net.source is None or not net.layers:
        return "Error Code 4: Internal Error (Network must have at least one output)"
    return _by_settings(net, config) or _by_graph(net.source.model, config)


def _by_settings(net: NetworkCore, config: ConfigCore) -> str:
    if net.strongly_typed:
        wrong = [name for name in _PRECISIONS if config.has(name)]
        pinned = [layer.name for layer in net.layers if layer.precision_is_set]
        if wrong or pinned:
            return "Error Code 4: API Usage Error (strongly typed networks take no {})".format(
                ", ".join(wrong) or "precision of layers, as set for " + pinned[0]
            )
    for layer in net.layers:
        if layer.precision_is_set and layer.computes_integers():
            text = "Error Code 4: Internal Error ({}: precision is set to float, the output is of another type)"
            return text.format(layer.name)
    return ""


def _by_graph(model: Model, config: ConfigCore) -> str:
    dynamic = any(size < 0 for tensor in model.inputs for size in tensor.shape) or shapes.shape_inputs(model)
    if dynamic and not getattr(config, "num_optimization_profiles", 0):
        text = "Network has dynamic or shape inputs, but no optimization profile has been defined."
        return "Error Code 4: API Usage Error ({})".format(text)
    for node in model.nodes:
        if node.operator == "TopK" and _kept(model, node) > MOST_RANKED:
            text = "Error Code 4: API Usage Error (ITopKLayer {}: K exceeds the maximum value allowed ({}))"
            return text.format(node.name, MOST_RANKED)
    for name, tensor in model.initialisers.items():
        readers = {node.operator for node in model.nodes if name in node.inputs}
        if tensor.type == "INT8" and readers - {"DequantizeLinear"}:
            return "Error Code 4: API Usage Error (Quantized constant ({}) is only allowed before DQ)".format(name)
    return ""


def _kept(model: Model, node: Any) -> int:
    """K of a TopK, where it is a plain constant; else 0."""
    constants = dict(model.initialisers)
    for each in model.nodes:
        if each.operator == "Constant" and "value" in each.attributes:
            constants[each.outputs[0]] = each.attributes["value"]
    count = constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
    return count.integers[0] if count is not None and count.integers else 0
