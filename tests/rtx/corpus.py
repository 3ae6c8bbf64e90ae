"""Small ONNX graphs, good and bad, that a real TensorRT and the stand-in are asked about (judge.py).

Each is a function of the folder that it writes to, and gives the path of its file. Any machine with the onnx package.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, HALF, BF16 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16
INT64, INT32 = TensorProto.INT64, TensorProto.INT32
SHAPE = (1, 8, 16)
GRAPHS: dict[str, Callable[[str], str]] = {}


def graph(function: Callable[[str], str]) -> Callable[[str], str]:
    """Enters a graph into the corpus, under its function's name with spaces."""
    GRAPHS[function.__name__.replace("_", " ")] = function
    return function


def saved(
    folder: str,
    nodes: list[Any],
    constants: dict[str, Any] | None = None,
    inputs: Any = (("x", FLOAT, SHAPE),),
    outputs: Any = (("y", FLOAT),),
    opset: int = 17,
    ir_version: int = 8,
    functions: Any = (),
) -> str:
    """Writes a model, unchecked; the path of its file."""
    held = [
        value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(np.asarray(value), name)
        for name, value in (constants or {}).items()
    ]
    given = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs]
    made = [helper.make_tensor_value_info(each[0], each[1], each[2] if len(each) > 2 else None) for each in outputs]
    opsets = [helper.make_opsetid("", opset)]
    if any(node.domain for node in nodes):
        opsets.append(helper.make_opsetid("pomt_trt", 1))
    body = helper.make_graph(nodes, "graph", given, made, initializer=held)
    model = helper.make_model(body, opset_imports=opsets, ir_version=ir_version, functions=list(functions))
    path = os.path.join(folder, "graph.onnx")
    with open(path, "wb") as file:
        file.write(model.SerializeToString())
    return path


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    """A node of a name of its own; tensors are separated by spaces."""
    return helper.make_node(operator, inputs.split(), outputs.split(), name=operator.lower(), **attributes)


def numbers(*shape: int, kind: Any = np.float32) -> Any:
    return np.random.RandomState(0).rand(*shape).astype(kind)


def integers(*values: int) -> Any:
    return np.array(values, np.int64)


# Graphs as ours are made of.


@graph
def relu(folder: str) -> str:
    return saved(folder, [node("Relu", "x", "y")])


@graph
def product_and_sum(folder: str) -> str:
    nodes = [node("MatMul", "x w", "a"), node("Add", "a b", "y")]
    return saved(folder, nodes, {"w": numbers(16, 4), "b": numbers(4)})


@graph
def convolution(folder: str) -> str:
    nodes = [node("Conv", "x w", "y", kernel_shape=[4, 4], strides=[4, 4])]
    return saved(folder, nodes, {"w": numbers(6, 3, 4, 4)}, [("x", FLOAT, (1, 3, 8, 8))])


@graph
def layer_norm_as_one_operator(folder: str) -> str:
    nodes = [node("LayerNormalization", "x s b", "y", axis=-1)]
    return saved(folder, nodes, {"s": numbers(16), "b": numbers(16)})


@graph
def attention(folder: str) -> str:
    nodes = [node("Transpose", "x", "k", perm=[0, 2, 1]), node("MatMul", "x k", "s")]
    nodes += [node("Softmax", "s", "p", axis=-1), helper.make_node("MatMul", ["p", "x"], ["y"], name="mix")]
    return saved(folder, nodes)


@graph
def gelu_by_erf(folder: str) -> str:
    nodes = [node("Div", "x r", "a"), node("Erf", "a", "e"), node("Add", "e one", "f"), node("Mul", "x f", "y")]
    return saved(folder, nodes, {"r": np.float32(1.414), "one": np.float32(1)})


@graph
def the_five_largest(folder: str) -> str:
    return saved(folder, [node("TopK", "x k", "y i", axis=-1)], {"k": integers(5)})


@graph
def gather_of_ranked(folder: str) -> str:
    nodes = [node("TopK", "x k", "v i", axis=1), node("GatherElements", "x i", "y", axis=1)]
    return saved(folder, nodes, {"k": integers(3)})


@graph
def slices_and_a_concat(folder: str) -> str:
    nodes = [node("Slice", "x zero three axis", "a"), node("Concat", "a x", "y", axis=1)]
    return saved(folder, nodes, {"zero": integers(0), "three": integers(3), "axis": integers(1)})


@graph
def a_split(folder: str) -> str:
    return saved(folder, [node("Split", "x", "a b", axis=1), node("Add", "a b", "y")])


@graph
def means_and_sums(folder: str) -> str:
    nodes = [node("ReduceMean", "x", "m", axes=[1]), node("ReduceSum", "x one", "s"), node("Sub", "m s", "y")]
    return saved(folder, nodes, {"one": integers(1)})


@graph
def half_precision_inside(folder: str) -> str:
    nodes = [node("Cast", "x", "h", to=HALF), node("MatMul", "h w", "p")]
    nodes.append(helper.make_node("Cast", ["p"], ["y"], to=FLOAT, name="back"))
    return saved(folder, nodes, {"w": numbers(16, 4, kind=np.float16)})


@graph
def bfloat16_inside(folder: str) -> str:
    nodes = [node("Cast", "x", "h", to=BF16), node("Relu", "h", "p")]
    nodes.append(helper.make_node("Cast", ["p"], ["y"], to=FLOAT, name="back"))
    return saved(folder, nodes)


@graph
def argmax_equal_and_expand(folder: str) -> str:
    nodes = [node("ArgMax", "x", "i", axis=-1, keepdims=1), node("Equal", "i n", "e"), node("Cast", "e", "y", to=FLOAT)]
    return saved(folder, nodes, {"n": integers(3)})


@graph
def a_constant_node(folder: str) -> str:
    made = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(numbers(16)))
    return saved(folder, [made, node("Add", "x c", "y")])


@graph
def two_outputs(folder: str) -> str:
    return saved(folder, [node("Relu", "x", "y"), node("Neg", "x", "z")], outputs=[("y", FLOAT), ("z", FLOAT)])


@graph
def an_output_that_is_an_input(folder: str) -> str:
    return saved(folder, [node("Identity", "x", "y")])


@graph
def int64_input(folder: str) -> str:
    return saved(folder, [node("Cast", "x", "y", to=FLOAT)], inputs=[("x", INT64, (1, 4))])


@graph
def int32_input(folder: str) -> str:
    return saved(folder, [node("Cast", "x", "y", to=FLOAT)], inputs=[("x", INT32, (1, 4))])


@graph
def double_weights(folder: str) -> str:
    nodes = [node("Cast", "w", "f", to=FLOAT), node("Add", "x f", "y")]
    return saved(folder, nodes, {"w": numbers(16, kind=np.float64)})


@graph
def int8_weights(folder: str) -> str:
    weights = np.arange(16).astype(np.int8)
    return saved(folder, [node("Cast", "w", "f", to=FLOAT), node("Add", "x f", "y")], {"w": weights})


@graph
def a_local_function(folder: str) -> str:
    body = [helper.make_node("Relu", ["a"], ["b"])]
    function = helper.make_function("pomt_trt", "Ours", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    return saved(folder, [helper.make_node("Ours", ["x"], ["y"], domain="pomt_trt")], functions=[function])


@graph
def a_choice_by_if(folder: str) -> str:
    then = helper.make_graph([node("Relu", "x", "a")], "then", [], [helper.make_tensor_value_info("a", FLOAT, SHAPE)])
    other = helper.make_graph([node("Neg", "x", "b")], "else", [], [helper.make_tensor_value_info("b", FLOAT, SHAPE)])
    nodes = [node("ReduceSum", "x", "s", keepdims=0), node("Greater", "s zero", "c")]
    nodes.append(node("If", "c", "y", then_branch=then, else_branch=other))
    return saved(folder, nodes, {"zero": np.float32(0)})


@graph
def a_loop(folder: str) -> str:
    held = [helper.make_tensor_value_info("i", INT64, []), helper.make_tensor_value_info("go", TensorProto.BOOL, [])]
    held.append(helper.make_tensor_value_info("v", FLOAT, SHAPE))
    result = [helper.make_tensor_value_info("on", TensorProto.BOOL, [])]
    result.append(helper.make_tensor_value_info("w", FLOAT, SHAPE))
    body = helper.make_graph([node("Identity", "go", "on"), node("Relu", "v", "w")], "body", held, result)
    return saved(folder, [node("Loop", "n c x", "y", body=body)], {"n": np.int64(3), "c": np.array(True)})


# What TensorRT does not take, or not all releases.


@graph
def a_made_up_operator(folder: str) -> str:
    return saved(folder, [node("Relu", "x", "a"), node("MadeUp", "a", "y")])


@graph
def a_plugin_that_is_not_registered(folder: str) -> str:
    attributes = {"R": 3, "prefix": 1, "score": "class", "plugin_version": "1", "plugin_namespace": ""}
    made = helper.make_node("PomtTokenTopK", ["x", "x"], ["y"], name="prune", domain="pomt_trt", **attributes)
    return saved(folder, [made])


@graph
def non_zero(folder: str) -> str:
    return saved(folder, [node("NonZero", "x", "y")], outputs=[("y", INT64)])


@graph
def scatter_elements(folder: str) -> str:
    nodes = [node("ScatterElements", "x i u", "y", axis=1)]
    return saved(folder, nodes, {"i": np.zeros((1, 1, 16), np.int64), "u": numbers(1, 1, 16)})


@graph
def scatter_elements_that_add(folder: str) -> str:
    nodes = [node("ScatterElements", "x i u", "y", axis=1, reduction="add")]
    return saved(folder, nodes, {"i": np.zeros((1, 1, 16), np.int64), "u": numbers(1, 1, 16)}, opset=18)


@graph
def ranking_3840(folder: str) -> str:
    return saved(folder, [node("TopK", "x k", "y i")], {"k": integers(3840)}, [("x", FLOAT, (1, 5000))])


@graph
def ranking_4000(folder: str) -> str:
    return saved(folder, [node("TopK", "x k", "y i")], {"k": integers(4000)}, [("x", FLOAT, (1, 5000))])


@graph
def ranking_as_many_as_an_input_says(folder: str) -> str:
    inputs = [("x", FLOAT, (1, 50)), ("k", INT64, (1,))]
    return saved(folder, [node("TopK", "x k", "y i")], inputs=inputs)


@graph
def a_dynamic_batch(folder: str) -> str:
    return saved(folder, [node("Relu", "x", "y")], inputs=[("x", FLOAT, ("batch", 16))])


@graph
def fp32_plus_fp16(folder: str) -> str:
    return saved(folder, [node("Add", "x w", "y")], {"w": numbers(16, kind=np.float16)})


@graph
def fp32_times_fp16_matrix(folder: str) -> str:
    return saved(folder, [node("MatMul", "x w", "y")], {"w": numbers(16, 4, kind=np.float16)})


@graph
def matrices_that_do_not_fit(folder: str) -> str:
    return saved(folder, [node("MatMul", "x w", "y")], {"w": numbers(15, 4)})


@graph
def a_reshape_to_another_size(folder: str) -> str:
    return saved(folder, [node("Reshape", "x s", "y")], {"s": integers(1, 7)})


@graph
def a_cycle(folder: str) -> str:
    return saved(folder, [node("Add", "x b", "a"), node("Relu", "a", "b"), node("Neg", "b", "y")])


@graph
def an_input_that_nothing_makes(folder: str) -> str:
    return saved(folder, [node("Add", "x nobody", "y")])


@graph
def an_output_that_nothing_makes(folder: str) -> str:
    return saved(folder, [node("Relu", "x", "a")])


@graph
def no_nodes_at_all(folder: str) -> str:
    return saved(folder, [])


@graph
def opset_999(folder: str) -> str:
    return saved(folder, [node("Relu", "x", "y")], opset=999)


@graph
def ir_version_99(folder: str) -> str:
    return saved(folder, [node("Relu", "x", "y")], ir_version=99)


@graph
def strings(folder: str) -> str:
    return saved(folder, [node("Identity", "x", "y")], inputs=[("x", TensorProto.STRING, (1,))])


# Files.


def _with_weights(folder: str, size: int | None) -> str:
    """A product whose weights, 64 numbers, lie in weights.bin; of `size` bytes, None: there is none."""
    weights = numpy_helper.from_array(numbers(16, 4), "w")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", "256")):
        weights.external_data.add(key=key, value=value)
    if size is not None:
        with open(os.path.join(folder, "weights.bin"), "wb") as file:
            file.write(numbers(16, 4).tobytes()[:size])
    return saved(folder, [node("MatMul", "x w", "y")], {"w": weights})


@graph
def weights_beside_it(folder: str) -> str:
    return _with_weights(folder, 256)


@graph
def weights_file_missing(folder: str) -> str:
    return _with_weights(folder, None)


@graph
def weights_file_cut_short(folder: str) -> str:
    return _with_weights(folder, 100)


@graph
def no_such_file(folder: str) -> str:
    return os.path.join(folder, "nowhere.onnx")


@graph
def an_empty_file(folder: str) -> str:
    path = os.path.join(folder, "graph.onnx")
    open(path, "wb").close()
    return path


@graph
def a_file_that_is_no_onnx(folder: str) -> str:
    path = os.path.join(folder, "graph.onnx")
    with open(path, "wb") as file:
        file.write(b"this is no ONNX")
    return path


@graph
def a_file_cut_short(folder: str) -> str:
    path = product_and_sum(folder)
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(data[: len(data) // 2])
    return path
