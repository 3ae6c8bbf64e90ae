"""Every check fails when the graph does not show what it must."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pomt_trt.core.errors import VerificationFailed
from pomt_trt.core.targets import MOST_RANKED_TOKENS, named
from pomt_trt.host.graphs import graph_checks
from tests.host import tiny

TARGET = named("onnxruntime")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(folder with r006.onnx of pomt, its tokens by block)."""
    made = tiny.exported(tmp_path_factory.mktemp("checks"), tiny.vit(), [0, 6], layer=1)
    return made.folder, made.reduced.schedule.tokens


@pytest.fixture
def graph(written):
    """A fresh copy of the model, to be tampered with."""
    return onnx.load(str(written[0] / "r006.onnx"), load_external_data=False)


def check(written, model):
    """Checks a tampered model, written beside the weights."""
    path = written[0] / "tampered.onnx"
    path.write_bytes(model.SerializeToString())
    graph_checks.check(str(path), TARGET, written[1])


def node_of(model, kind):
    return next(node for node in model.graph.node if node.op_type == kind)


def test_an_exported_graph_passes(written, graph):
    check(written, graph)
    assert node_of(graph, "TopK")


@pytest.mark.parametrize("tokens", [(17, 17, 12, 11, 11), (17, 11, 11, 11, 11), (17, 17, 11, 11, 12)])
def test_another_schedule_is_refused(written, tokens):
    with pytest.raises(VerificationFailed, match=r"holds \(17, 17, 11, 11, 11\) tokens by block, not .* as scheduled"):
        graph_checks.check(str(written[0] / "r006.onnx"), TARGET, tokens)


def test_another_ir_version_is_refused(written, graph):
    graph.ir_version = 9
    with pytest.raises(VerificationFailed, match=r"opset \{'': 17\} and IR 9; onnxruntime takes opset 17 and IR 8"):
        check(written, graph)


@pytest.mark.parametrize("opset", [16, 18])
def test_another_opset_is_refused(graph, opset):
    graph.opset_import[0].version = opset
    with pytest.raises(VerificationFailed, match=rf"opset \{{'': {opset}\}} .* takes opset 17 .* Install the versions"):
        graph_checks.check_version(graph, TARGET)


def test_another_operator_set_beside_is_refused(graph):
    graph.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(VerificationFailed, match="com.microsoft"):
        graph_checks.check_version(graph, TARGET)


@pytest.mark.parametrize("kind", [*sorted(graph_checks.FORBIDDEN), "Mod", "ScatterElements"])
def test_operators_outside_the_table_are_refused(graph, kind):
    node_of(graph, "Add").op_type = kind
    with pytest.raises(VerificationFailed, match=f"is a {kind}, which onnxruntime does not take"):
        graph_checks.check_operators(graph.graph, TARGET)


def test_operators_of_another_domain_are_refused(graph):
    node_of(graph, "Add").domain = "com.microsoft"
    with pytest.raises(VerificationFailed, match="is a Add"):
        graph_checks.check_operators(graph.graph, TARGET)


def test_opset_13_has_no_layer_normalization(graph):
    with pytest.raises(VerificationFailed, match="is a LayerNormalization, which jetpack-4.6.1 does not take"):
        graph_checks.check_operators(graph.graph, named("jetpack-4.6.1"))


def test_a_number_of_ranked_tokens_that_is_no_constant_is_refused(written, graph):
    ranked = node_of(graph, "TopK")
    held = next(tensor for tensor in graph.graph.initializer if tensor.name == ranked.input[1])
    k = numpy_helper.to_array(held)
    graph.graph.initializer.append(numpy_helper.from_array(np.zeros_like(k), "nothing"))
    adding = helper.make_node("Add", [ranked.input[1], "nothing"], ["k"], name="adding")
    ranked.input[1] = "k"
    graph.graph.node.insert(0, adding)
    with pytest.raises(VerificationFailed, match="TopK .* has a K that is not constant"):
        check(written, graph)


def test_more_tokens_than_tensorrt_ranks_are_refused(graph):
    ranked = node_of(graph, "TopK")
    held = next(tensor for tensor in graph.graph.initializer if tensor.name == ranked.input[1])
    held.CopyFrom(numpy_helper.from_array(np.array([MOST_RANKED_TOKENS + 1]), held.name))
    with pytest.raises(VerificationFailed, match=f"ranks 3841 tokens; TensorRT ranks at most {MOST_RANKED_TOKENS}"):
        graph_checks.check_operators(graph.graph, TARGET)


@pytest.mark.parametrize("name", ["image", "logits"])
def test_images_and_logits_in_another_type_than_fp32_are_refused(graph, name):
    inferred = onnx.shape_inference.infer_shapes(graph).graph
    end = next(value for value in [*inferred.input, *inferred.output] if value.name == name)
    end.type.tensor_type.elem_type = TensorProto.FLOAT16
    with pytest.raises(VerificationFailed, match=f"tensor {name} is not fp32, as image, logits and ranked scores are"):
        graph_checks.check_types(inferred)


def test_scores_that_are_ranked_in_fp16_are_refused(graph):
    ranked = node_of(graph, "TopK")
    graph.graph.node.insert(0, helper.make_node("Cast", [ranked.input[0]], ["narrow"], to=TensorProto.FLOAT16))
    ranked.input[0] = "narrow"
    with pytest.raises(VerificationFailed, match="tensor narrow is not fp32"):
        graph_checks.check_types(onnx.shape_inference.infer_shapes(graph).graph)


@pytest.mark.parametrize("reader", ["Softmax", "MatMul"])
def test_a_cast_within_attention_is_refused(graph, reader):
    makers = {name: node.op_type for node in graph.graph.node for name in node.output}
    before = {"Softmax": "MatMul", "MatMul": "Softmax"}[reader]
    node = next(n for n in graph.graph.node if n.op_type == reader and makers.get(n.input[0]) == before)
    graph.graph.node.insert(0, helper.make_node("Cast", [node.input[0]], ["wide"], to=TensorProto.FLOAT))
    node.input[0] = "wide"
    with pytest.raises(VerificationFailed, match=f"cast stands before {node.name}, within attention"):
        graph_checks.check_types(onnx.shape_inference.infer_shapes(graph).graph)


def test_an_input_of_any_size_is_refused(written, graph):
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    with pytest.raises(VerificationFailed, match="has a shape that is not static"):
        check(written, graph)


def test_a_shape_that_cannot_be_inferred_is_refused():
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1])
    nodes = [helper.make_node("Mystery", ["image"], ["middle"]), helper.make_node("Relu", ["middle"], ["logits"])]
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1])
    with pytest.raises(VerificationFailed, match="the shape of middle cannot be inferred"):
        graph_checks.static_shapes(helper.make_graph(nodes, "g", [image], [logits]))


def test_a_block_without_a_norm_is_refused(written, graph):
    for node in graph.graph.node:
        for position, name in enumerate(node.input):
            if name == "blocks.2.norm1.weight":
                node.input[position] = "blocks.1.norm1.weight"
    with pytest.raises(VerificationFailed, match="norm is not in the graph, so its tokens cannot be counted"):
        check(written, graph)


def test_what_onnx_itself_refuses_is_explained(written, graph):
    del node_of(graph, "Softmax").input[:]
    with pytest.raises(VerificationFailed, match="tampered.onnx is not valid ONNX: .* Update torch and onnx"):
        check(written, graph)
