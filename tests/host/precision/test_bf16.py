"""bf16 graphs on ONNX Runtime: rounded after every operation, as a device would, and nothing else."""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from pomt_trt.host.precision import bf16

BF16 = helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)


def graph(kind):
    """logits = (image + 1) @ weight, in a type; and the weight."""
    weight = np.random.RandomState(0).rand(8, 4).astype(helper.tensor_dtype_to_np_dtype(kind))
    nodes = [
        helper.make_node("Cast", ["image"], ["narrow"], to=kind),
        helper.make_node("Add", ["narrow", "one"], ["sum"]),
        helper.make_node("MatMul", ["sum", "weight"], ["product"]),
        helper.make_node("Cast", ["product"], ["logits"], to=TensorProto.FLOAT),
    ]
    shapes = {"image": [2, 8], "logits": [2, 4]}
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    tensors = [numpy_helper.from_array(np.ones(1, weight.dtype), "one"), numpy_helper.from_array(weight, "weight")]
    made = helper.make_graph(nodes, "graph", ends[:1], ends[1:], tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), weight


def test_every_result_is_rounded_to_bf16_and_nothing_else_is():
    model, weight = graph(TensorProto.BFLOAT16)
    image = np.random.RandomState(1).rand(2, 8).astype(np.float32)
    bf16.make_runnable(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {"image": image})[0]
    summed = (image.astype(BF16).astype(np.float32) + 1).astype(BF16).astype(np.float32)
    expected = (summed @ weight.astype(np.float32)).astype(BF16).astype(np.float32)
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found - (image + 1) @ weight.astype(np.float32)).max() > 1e-3


def test_a_graph_that_onnx_runtime_runs_is_left_alone():
    model, _ = graph(TensorProto.FLOAT16)
    before = model.SerializeToString()
    bf16.make_runnable(model)
    assert model.SerializeToString() == before
