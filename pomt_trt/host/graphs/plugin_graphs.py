"""Replaces the standard operators that remove tokens in a block by one node, which plugins/ implements for TensorRT.

The graph may also carry the node's meaning as an ONNX local function, which ONNX Runtime runs and TensorRT falls back
to. Parsers find a plugin by the node's operator, plugin_version and plugin_namespace, and pass it the node's attributes
but no defaults of functions, so each node has all attributes. plugins/README.md has the contract.
"""

from typing import NamedTuple

import onnx
from onnx import helper

from pomt_trt.core.errors import UsageError, VerificationFailed
from pomt_trt.core.targets import PLUGIN_DOMAIN, PLUGIN_OPERATORS
from pomt_trt.host.graphs import editing, graph_checks
from pomt_trt.host.graphs.graph_checks import Shapes

METHODS = ("pomt", "topk")  # that plugins compute
PRECISIONS = ("fp32", "fp16")
DOMAIN_VERSION = 1
IR_OF_FUNCTIONS, CAST_LIKE_FROM = 8, 15  # IR version, opset
_ATTRIBUTES = "R, prefix, score, plugin_version, plugin_namespace"

# Both rank the rows of x and keep the first `kept_count`.
_RANKED = """
    one = Constant<value_ints = [1]>()
    two = Constant<value_ints = [2]>()
    three = Constant<value_ints = [3]>()
    last = Constant<value_ints = [2147483647]>()
    prefix_number = Constant<value_int : int = @prefix>()
    prefix_count = Unsqueeze(prefix_number, zero)
    removed_number = Constant<value_int : int = @R>()
    removed_count = Unsqueeze(removed_number, zero)
    size = Shape(x)
    token_count = Slice(size, one, two)
    channel_count = Slice(size, two, three)
    patch_count = Sub(token_count, prefix_count)
"""
_ROWS = """
    best, order = TopK<axis = 1, largest = 1, sorted = 1>(score_fp32, patch_count)
    place = Add(order, prefix_count)
    column = Unsqueeze(place, two)
    row_shape = Concat<axis = 0>(one, one, channel_count)
    places = Expand(column, row_shape)
    ranked = GatherElements<axis = 1>(x, places)
    head = Slice(x, zero, prefix_count, one)
    kept = Slice(ranked, zero, kept_count, one)
"""
_FUNCTIONS = {
    "pomt": f"""
<opset_import: ["" : OPSET], domain: "{PLUGIN_DOMAIN}">
{PLUGIN_OPERATORS["pomt"]}<{_ATTRIBUTES}>(attention, values, x) => (y) {{
    zero = Constant<value_ints = [0]>()
    {_RANKED}
    prefixes = Concat<axis = 0>(prefix_count, prefix_count)
    lasts = Concat<axis = 0>(last, last)
    columns_and_rows = Concat<axis = 0>(one, two)
    most_attended = ReduceMax<axes = [1], keepdims = 0>(attention)
    between_patches = Slice(most_attended, prefixes, lasts, columns_and_rows)
    between_fp32 = Cast<to = 1>(between_patches)
    received = ReduceSum<keepdims = 0>(between_fp32, one)
    most_received = ReduceMax<axes = [1], keepdims = 1>(received)
    relative = Div(received, most_received)
    strongest = ReduceMax<axes = [1], keepdims = 0>(values)
    strongest_fp32 = Cast<to = 1>(strongest)
    strength = ReduceSum<keepdims = 0>(strongest_fp32, two)
    weight = Softmax<axis = 1>(strength)
    patch_weight = Slice(weight, prefix_count, last, one)
    score_fp32 = Add(relative, patch_weight)
    left = Sub(patch_count, removed_count)
    kept_count = Sub(left, one)
    {_ROWS}
    dropped = Slice(ranked, kept_count, last, one)
    dropped_fp32 = Cast<to = 1>(dropped)
    mean_fp32 = ReduceMean<axes = [1], keepdims = 1>(dropped_fp32)
    mean = CastLike(mean_fp32, x)
    y = Concat<axis = 1>(head, kept, mean)
}}""",
    "class": f"""
<opset_import: ["" : OPSET], domain: "{PLUGIN_DOMAIN}">
{PLUGIN_OPERATORS["class"]}<{_ATTRIBUTES}>(attention, x) => (y) {{
    zero = Constant<value_ints = [0]>()
    {_RANKED}
    attention_fp32 = Cast<to = 1>(attention)
    mean_attention = ReduceMean<axes = [1], keepdims = 0>(attention_fp32)
    row = Squeeze(mean_attention, one)
    score_fp32 = Slice(row, prefix_count, last, one)
    kept_count = Sub(patch_count, removed_count)
    {_ROWS}
    y = Concat<axis = 1>(head, kept)
}}""",
}


def check(method: str, precision: str, moves_positions: bool) -> None:
    """Raises UsageError where no plugin computes the method, the precision, or positions that move with tokens."""
    if method not in METHODS:
        raise UsageError(f"no plugin computes {method}. Use --plugin off, or --method {' or '.join(METHODS)}.")
    if precision not in PRECISIONS:
        raise UsageError(
            f"plugins take {' and '.join(PRECISIONS)}, not {precision}. Use --plugin off, or one of these."
        )
    if moves_positions:
        raise UsageError(
            "plugins move tokens alone, and the positions of this model have to move with them. Use --plugin off."
        )


class _Removal(NamedTuple):
    """The removal of tokens in one block, by standard operators."""

    score: str  # pomt or class
    inputs: list[str]  # of the plugin node
    concat: onnx.NodeProto  # whose output is the new sequence


def with_plugin(model: onnx.ModelProto, prefix_tokens: int, body: bool) -> onnx.ModelProto:
    """A copy of the graph in which a plugin node takes the place of each removal by score.

    Args:
        prefix_tokens: number of tokens that are never removed.
        body: add the nodes' functions, so that ONNX Runtime can run the graph.
    Raises: VerificationFailed where a removal has another form than our reducers write.
    """
    made = editing.copied(model)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = graph_checks.static_shapes(inferred)
    removals = [_removal(made.graph, node, shapes) for node in made.graph.node if node.op_type == "TopK"]
    declared = {removal.concat.output[0] for removal in removals}
    for removal in removals:
        _replace(made.graph, removal, shapes, prefix_tokens)
    editing.drop_unused(made.graph)
    made.graph.value_info.extend(value for value in inferred.value_info if value.name in declared)
    if removals:
        made.opset_import.append(helper.make_opsetid(PLUGIN_DOMAIN, DOMAIN_VERSION))
        if body:
            made.functions.extend(functions(made, {removal.score for removal in removals}))
    return made


def functions(model: onnx.ModelProto, scores: set[str]) -> list[onnx.FunctionProto]:
    """The functions of the plugin nodes of these scores, in operators of the model's opset."""
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    texts = [_FUNCTIONS[score].replace("OPSET", str(opset)) for score in sorted(scores)]
    if opset < CAST_LIKE_FROM:  # such graphs are fp32 throughout
        texts = [text.replace("CastLike(mean_fp32, x)", "Identity(mean_fp32)") for text in texts]
    return [onnx.parser.parse_function(text) for text in texts]


def make_runnable(model: onnx.ModelProto) -> None:
    """Adds the functions that plugin nodes lack, so that ONNX Runtime can run the graph."""
    operators = {node.op_type for node in model.graph.node if node.domain == PLUGIN_DOMAIN}
    missing = operators - {function.name for function in model.functions}
    if missing:
        model.ir_version = max(model.ir_version, IR_OF_FUNCTIONS)
        model.functions.extend(functions(model, {s for s, name in PLUGIN_OPERATORS.items() if name in missing}))


def _removal(graph: onnx.GraphProto, ranking: onnx.NodeProto, shapes: Shapes) -> _Removal:
    """The removal that a TopK belongs to."""
    producers = {name: node for node in graph.node for name in node.output}
    signals = _signals(producers, ranking, shapes)
    rows, concat = (_next(graph, ranking, kind) for kind in ("GatherElements", "Concat"))
    attention = [name for name in signals if producers[name].op_type == "Softmax"]
    if rows is None or concat is None or len(attention) != 1 or len(signals) > len(_FUNCTIONS):
        raise VerificationFailed(f"{ranking.name} ranks tokens in a way that no plugin knows. Use --plugin off.")
    values = [name for name in signals if name not in attention]
    return _Removal("pomt" if values else "class", [*attention, *values, rows.input[0]], concat)


def _signals(producers: dict[str, onnx.NodeProto], ranking: onnx.NodeProto, shapes: Shapes) -> list[str]:
    """The tensors that the scores are computed from: on every path back from the ranking, the first of rank 4."""
    signals: dict[str, None] = {}  # a set that keeps its order
    names = [ranking.input[0]]
    for name in names:
        if len(shapes.get(name, ())) == 4:
            signals[name] = None
        elif name in producers:
            names.extend(producers[name].input)
    return list(signals)


def _next(graph: onnx.GraphProto, start: onnx.NodeProto, kind: str) -> onnx.NodeProto | None:
    """The first node of a kind that depends on `start`."""
    reached = set(start.output)
    for node in graph.node:  # in topological order
        if reached.intersection(node.input):
            if node.op_type == kind:
                return node
            reached.update(node.output)
    return None


def _replace(graph: onnx.GraphProto, removal: _Removal, shapes: Shapes, prefix_tokens: int) -> None:
    """Makes the Concat of a removal the plugin node."""
    x, y = removal.inputs[-1], removal.concat.output[0]
    operator = PLUGIN_OPERATORS[removal.score]
    node = helper.make_node(
        operator,
        removal.inputs,
        [y],
        name=f"{removal.concat.name}.{operator}",
        domain=PLUGIN_DOMAIN,
        R=shapes[x][1] - shapes[y][1],
        prefix=prefix_tokens,
        score=removal.score,
        plugin_version="1",
        plugin_namespace="",
    )
    removal.concat.CopyFrom(node)
