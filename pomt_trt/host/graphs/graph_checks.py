"""Checks of an exported graph, all read from its file: version, operators, types, static shapes, tokens by block.

Logits are compared in comparison.py.
"""

import onnx
from onnx import TensorProto

from pomt_trt.core.errors import VerificationFailed
from pomt_trt.core.targets import IN_FUNCTIONS, MOST_RANKED_TOKENS, PLUGIN_DOMAIN, PLUGIN_OPERATORS, Target

RANKINGS = frozenset({"ArgMax", "TopK"})
FORBIDDEN = {"NonZero", "Loop", "If", "Scan", "ScatterND", "RandomUniform", "RandomNormal"}
FIRST_NORMS = ("norm1", "in_norm", "attns.0.norm")  # of a block, and of blocks with parallel branches
Shapes = dict[str, tuple[int, ...]]  # by tensor
_WITHIN_ATTENTION = {("MatMul", "Softmax"), ("Softmax", "MatMul")}


def check(path: str, target: Target, tokens: tuple[int, ...]) -> None:
    """Checks one graph.

    Args:
        path: the .onnx file, with its weights beside it.
        tokens: the counts that must enter each block, then leave the last.
    Raises: VerificationFailed.
    """
    try:
        onnx.checker.check_model(path)
    except onnx.checker.ValidationError as error:
        reason = str(error).strip().splitlines()[0]
        raise VerificationFailed(f"{path} is not valid ONNX: {reason}. Update torch and onnx, or report it.") from error
    model = onnx.load(path, load_external_data=False)
    check_version(model, target)
    check_operators(model.graph, target)
    check_functions(model, target)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    check_types(inferred.graph)
    shapes = static_shapes(inferred.graph)
    counts = tokens_by_block(inferred.graph, shapes, len(tokens) - 1)
    if counts != tokens:
        raise VerificationFailed(f"{path} holds {counts} tokens by block, not {tokens} as scheduled: report it.")


def check_version(model: onnx.ModelProto, target: Target) -> None:
    """Opset and IR version must be the target's. No operator sets are allowed but ONNX's and the plugins'."""
    opsets = {entry.domain: entry.version for entry in model.opset_import if entry.domain != PLUGIN_DOMAIN}
    if opsets != {"": target.opset} or model.ir_version != target.ir_version:
        raise VerificationFailed(
            f"the graph has opset {opsets} and IR {model.ir_version}; {target.name} takes opset {target.opset} and "
            f"IR {target.ir_version}. Install the versions of torch and onnx that setup.cfg names."
        )


def check_operators(graph: onnx.GraphProto, target: Target) -> None:
    """Operators must be in the target's table, and the K of every TopK constant and not too large."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.domain == PLUGIN_DOMAIN and node.op_type in PLUGIN_OPERATORS.values():
            continue
        if node.op_type in FORBIDDEN or node.op_type not in target.operators or node.domain:
            raise VerificationFailed(
                f"node {node.name} is a {node.op_type}, which {target.name} does not take or which makes shapes vary."
                " Choose another --target or --method, or report it."
            )
        if node.op_type == "TopK":
            if node.input[1] not in constants:
                raise VerificationFailed(f"TopK {node.name} has a K that is not constant: report it.")
            k = int(onnx.numpy_helper.to_array(constants[node.input[1]]).item())
            if k > MOST_RANKED_TOKENS:
                raise VerificationFailed(
                    f"TopK {node.name} ranks {k} tokens; TensorRT ranks at most {MOST_RANKED_TOKENS}. "
                    "Use a smaller --img-size."
                )


def check_functions(model: onnx.ModelProto, target: Target) -> None:
    """Plugin nodes must have functions exactly where the target wants them, of operators that it takes."""
    nodes = {node.op_type for node in model.graph.node if node.domain == PLUGIN_DOMAIN}
    written = {function.name for function in model.functions}
    if written != (nodes if target.plugin_body else set()):
        raise VerificationFailed(
            f"the graph has functions {sorted(written)} for the plugin nodes {sorted(nodes)}, and {target.name} wants "
            f"{'them all' if target.plugin_body else 'none'}: report it."
        )
    for function in model.functions:
        wrong = {node.op_type for node in function.node} - target.operators - IN_FUNCTIONS
        if wrong:
            raise VerificationFailed(f"function {function.name} holds {sorted(wrong)}, not in the table: report it.")


def check_types(graph: onnx.GraphProto) -> None:
    """Image, logits and ranked scores must be fp32. No cast may stand within attention, which would then not be fused.

    Args:
        graph: its value_info must hold the types of all tensors.
    """
    ends = [*graph.input, *graph.output]
    types = {value.name: value.type.tensor_type.elem_type for value in [*graph.value_info, *ends]}
    ranked = [node.input[0] for node in graph.node if node.op_type in RANKINGS]
    for name in [*(value.name for value in ends), *ranked]:
        if types.get(name) != TensorProto.FLOAT:
            raise VerificationFailed(f"tensor {name} is not fp32, as image, logits and ranked scores are: report it.")
    producers = {name: node.op_type for node in graph.node for name in node.output}
    casts = {node.output[0]: producers.get(node.input[0], "") for node in graph.node if node.op_type == "Cast"}
    for node in graph.node:
        if any((casts.get(name), node.op_type) in _WITHIN_ATTENTION for name in node.input):
            raise VerificationFailed(
                f"a cast stands before {node.name}, within attention, and would keep it unfused: report it."
            )


def static_shapes(graph: onnx.GraphProto) -> Shapes:
    """Shape of each tensor. Raises VerificationFailed where one is not static or cannot be inferred."""
    shapes = {}
    for value in [*graph.value_info, *graph.input, *graph.output]:
        dims = value.type.tensor_type.shape.dim
        if not all(dim.HasField("dim_value") for dim in dims):
            raise VerificationFailed(f"tensor {value.name} has a shape that is not static: report it.")
        shapes[value.name] = tuple(dim.dim_value for dim in dims)
    missing = {name for node in graph.node for name in node.output} - set(shapes)
    if missing:
        raise VerificationFailed(f"the shape of {sorted(missing)[0]} cannot be inferred: report it.")
    return shapes


def tokens_by_block(graph: onnx.GraphProto, shapes: Shapes, depth: int) -> tuple[int, ...]:
    """Tokens entering each block, then leaving the last, as the graph's shapes have them.

    What enters a block is what its norm1 is applied to. What leaves the last is what the final norm is applied to, or
    norm2 of the last block in models that pool before the final norm.
    """
    entering = [_tokens_entering(graph, shapes, block) for block in range(depth)]
    leaving = _tokens_at(graph, shapes, "norm.weight") or _tokens_at(graph, shapes, f"blocks.{depth - 1}.norm2.weight")
    counts = [*entering, leaving]
    if any(count is None for count in counts):
        raise VerificationFailed("a block's norm is not in the graph, so its tokens cannot be counted: report it.")
    return tuple(count for count in counts if count is not None)


def _tokens_entering(graph: onnx.GraphProto, shapes: Shapes, block: int) -> int | None:
    """Number of tokens at a block's first norm, by each name that timm's blocks have for it."""
    found = (_tokens_at(graph, shapes, f"blocks.{block}.{norm}.weight") for norm in FIRST_NORMS)
    return next((count for count in found if count is not None), None)


def _tokens_at(graph: onnx.GraphProto, shapes: Shapes, weight: str) -> int | None:
    """Number of tokens where a norm's weight is applied. None: the graph does not have the weight."""
    for node in graph.node:
        if weight in node.input:
            shape = next(shapes[name] for name in node.input if name in shapes)
            return shape[1] if len(shape) == 3 else None
    return None
