"""Small ONNX graphs, good and bad, that a real TensorRT and the stand-in are asked about (judge.py).

GRAPHS: name -> a function that writes the graph into a folder and gives the path of its file. Any machine with onnx.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, HALF, BF16, BOOL = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.BOOL
INT64, INT32 = TensorProto.INT64, TensorProto.INT32
SHAPE = (1, 8, 16)


def model(
    nodes: list[Any],
    constants: dict[str, Any] | None = None,
    inputs: Any = (("x", FLOAT, SHAPE),),
    outputs: Any = (("y", FLOAT),),
    opset: int = 17,
    ir_version: int = 8,
    functions: Any = (),
) -> Callable[[str], str]:
    """A graph, unchecked."""
    held = [
        value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(np.asarray(value), name)
        for name, value in (constants or {}).items()
    ]
    opsets = [helper.make_opsetid("", opset)]
    if any(node.domain for node in nodes):
        opsets.append(helper.make_opsetid("pomt_trt", 1))
    body = helper.make_graph(nodes, "graph", tensors(*inputs), tensors(*outputs), initializer=held)
    made = helper.make_model(body, opset_imports=opsets, ir_version=ir_version, functions=list(functions))
    return file(made.SerializeToString())


def file(content: bytes) -> Callable[[str], str]:
    """A file of these bytes."""
    return lambda folder: written(folder, "graph.onnx", content)


def written(folder: str, name: str, content: bytes) -> str:
    path = os.path.join(folder, name)
    with open(path, "wb") as opened:
        opened.write(content)
    return path


def tensors(*described: Any) -> list[Any]:
    """Inputs or outputs from (name, type, shape); without a shape it is not stated."""
    return [helper.make_tensor_value_info(name, kind, *(shape or [None])) for name, kind, *shape in described]


def node(operator: str, inputs: str, outputs: str, name: str = "", **attributes: Any) -> Any:
    """A node of a name of its own; tensors are separated by spaces."""
    return helper.make_node(operator, inputs.split(), outputs.split(), name=name or operator.lower(), **attributes)


def numbers(*shape: int, kind: Any = np.float32) -> Any:
    return np.random.RandomState(0).rand(*shape).astype(kind)


def integers(*values: int) -> Any:
    return np.array(values, np.int64)


PRODUCT_AND_SUM = model([node("MatMul", "x w", "a"), node("Add", "a b", "y")], {"w": numbers(16, 4), "b": numbers(4)})
ADDING_CAST = [node("Cast", "w", "f", to=FLOAT), node("Add", "x f", "y")]
RANKING = [node("TopK", "x k", "y i")]
SCATTERED = {"i": np.zeros((1, 1, 16), np.int64), "u": numbers(1, 1, 16)}
PLUGIN = {"R": 3, "prefix": 1, "score": "class", "plugin_version": "1", "plugin_namespace": ""}
IF = {
    "then_branch": helper.make_graph([node("Relu", "x", "a")], "then", [], tensors(("a", FLOAT, SHAPE))),
    "else_branch": helper.make_graph([node("Neg", "x", "b")], "else", [], tensors(("b", FLOAT, SHAPE))),
}
LOOP = helper.make_graph(
    [node("Identity", "go", "on"), node("Relu", "v", "w")],
    "body",
    tensors(("i", INT64, []), ("go", BOOL, []), ("v", FLOAT, SHAPE)),
    tensors(("on", BOOL, []), ("w", FLOAT, SHAPE)),
)
FUNCTION = helper.make_function(
    "pomt_trt", "Ours", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [helper.make_opsetid("", 17)]
)


def with_weights(size: int | None) -> Callable[[str], str]:
    """A product whose weights, 64 numbers, lie in weights.bin; of `size` bytes, None: there is none."""
    weights = numpy_helper.from_array(numbers(16, 4), "w")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", "256")):
        weights.external_data.add(key=key, value=value)

    def write(folder: str) -> str:
        if size is not None:
            written(folder, "weights.bin", numbers(16, 4).tobytes()[:size])
        return model([node("MatMul", "x w", "y")], {"w": weights})(folder)

    return write


def cut_short(folder: str) -> str:
    with open(PRODUCT_AND_SUM(folder), "rb") as whole:
        content = whole.read()
    return written(folder, "graph.onnx", content[: len(content) // 2])


GRAPHS: dict[str, Callable[[str], str]] = {
    # As ours are made of.
    "relu": model([node("Relu", "x", "y")]),
    "product and sum": PRODUCT_AND_SUM,
    "convolution": model(
        [node("Conv", "x w", "y", kernel_shape=[4, 4], strides=[4, 4])],
        {"w": numbers(6, 3, 4, 4)},
        [("x", FLOAT, (1, 3, 8, 8))],
    ),
    "layer norm as one operator": model(
        [node("LayerNormalization", "x s b", "y", axis=-1)], {"s": numbers(16), "b": numbers(16)}
    ),
    "attention": model(
        [
            node("Transpose", "x", "k", perm=[0, 2, 1]),
            node("MatMul", "x k", "s"),
            node("Softmax", "s", "p", axis=-1),
            node("MatMul", "p x", "y", "mix"),
        ]
    ),
    "gelu by erf": model(
        [node("Div", "x r", "a"), node("Erf", "a", "e"), node("Add", "e one", "f"), node("Mul", "x f", "y")],
        {"r": np.float32(1.414), "one": np.float32(1)},
    ),
    "the five largest": model([node("TopK", "x k", "y i", axis=-1)], {"k": integers(5)}),
    "gather of ranked": model(
        [node("TopK", "x k", "v i", axis=1), node("GatherElements", "x i", "y", axis=1)], {"k": integers(3)}
    ),
    "slices and a concat": model(
        [node("Slice", "x zero three axis", "a"), node("Concat", "a x", "y", axis=1)],
        {"zero": integers(0), "three": integers(3), "axis": integers(1)},
    ),
    "a split": model([node("Split", "x", "a b", axis=1), node("Add", "a b", "y")]),
    "means and sums": model(
        [node("ReduceMean", "x", "m", axes=[1]), node("ReduceSum", "x one", "s"), node("Sub", "m s", "y")],
        {"one": integers(1)},
    ),
    "half precision inside": model(
        [node("Cast", "x", "h", to=HALF), node("MatMul", "h w", "p"), node("Cast", "p", "y", "back", to=FLOAT)],
        {"w": numbers(16, 4, kind=np.float16)},
    ),
    "bfloat16 inside": model(
        [node("Cast", "x", "h", to=BF16), node("Relu", "h", "p"), node("Cast", "p", "y", "back", to=FLOAT)]
    ),
    "argmax equal and expand": model(
        [node("ArgMax", "x", "i", axis=-1, keepdims=1), node("Equal", "i n", "e"), node("Cast", "e", "y", to=FLOAT)],
        {"n": integers(3)},
    ),
    "a constant node": model(
        [
            helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(numbers(16))),
            node("Add", "x c", "y"),
        ]
    ),
    "two outputs": model([node("Relu", "x", "y"), node("Neg", "x", "z")], outputs=[("y", FLOAT), ("z", FLOAT)]),
    "an output that is an input": model([node("Identity", "x", "y")]),
    "int64 input": model([node("Cast", "x", "y", to=FLOAT)], inputs=[("x", INT64, (1, 4))]),
    "int32 input": model([node("Cast", "x", "y", to=FLOAT)], inputs=[("x", INT32, (1, 4))]),
    "double weights": model(ADDING_CAST, {"w": numbers(16, kind=np.float64)}),
    "int8 weights": model(ADDING_CAST, {"w": np.arange(16).astype(np.int8)}),
    "a local function": model([helper.make_node("Ours", ["x"], ["y"], domain="pomt_trt")], functions=[FUNCTION]),
    "a choice by if": model(
        [node("ReduceSum", "x", "s", keepdims=0), node("Greater", "s zero", "c"), node("If", "c", "y", **IF)],
        {"zero": np.float32(0)},
    ),
    "a loop": model([node("Loop", "n c x", "y", body=LOOP)], {"n": np.int64(3), "c": np.array(True)}),
    # What TensorRT does not take, or not all releases.
    "a made up operator": model([node("Relu", "x", "a"), node("MadeUp", "a", "y")]),
    "a plugin that is not registered": model([node("PomtTokenTopK", "x x", "y", "prune", domain="pomt_trt", **PLUGIN)]),
    "non zero": model([node("NonZero", "x", "y")], outputs=[("y", INT64)]),
    "scatter elements": model([node("ScatterElements", "x i u", "y", axis=1)], SCATTERED),
    "scatter elements that add": model(
        [node("ScatterElements", "x i u", "y", axis=1, reduction="add")], SCATTERED, opset=18
    ),
    "ranking 3840": model(RANKING, {"k": integers(3840)}, [("x", FLOAT, (1, 5000))]),
    "ranking 4000": model(RANKING, {"k": integers(4000)}, [("x", FLOAT, (1, 5000))]),
    "ranking as many as an input says": model(RANKING, inputs=[("x", FLOAT, (1, 50)), ("k", INT64, (1,))]),
    "a dynamic batch": model([node("Relu", "x", "y")], inputs=[("x", FLOAT, ("batch", 16))]),
    "fp32 plus fp16": model([node("Add", "x w", "y")], {"w": numbers(16, kind=np.float16)}),
    "fp32 times fp16 matrix": model([node("MatMul", "x w", "y")], {"w": numbers(16, 4, kind=np.float16)}),
    "matrices that do not fit": model([node("MatMul", "x w", "y")], {"w": numbers(15, 4)}),
    "a reshape to another size": model([node("Reshape", "x s", "y")], {"s": integers(1, 7)}),
    "a cycle": model([node("Add", "x b", "a"), node("Relu", "a", "b"), node("Neg", "b", "y")]),
    "an input that nothing makes": model([node("Add", "x nobody", "y")]),
    "an output that nothing makes": model([node("Relu", "x", "a")]),
    "no nodes at all": model([]),
    "opset 999": model([node("Relu", "x", "y")], opset=999),
    "ir version 99": model([node("Relu", "x", "y")], ir_version=99),
    "strings": model([node("Identity", "x", "y")], inputs=[("x", TensorProto.STRING, (1,))]),
    # Files.
    "weights beside it": with_weights(256),
    "weights file missing": with_weights(None),
    "weights file cut short": with_weights(100),
    "no such file": lambda folder: os.path.join(folder, "nowhere.onnx"),
    "an empty file": file(b""),
    "a file that is no onnx": file(b"this is no ONNX"),
    "a file cut short": cut_short,
}
