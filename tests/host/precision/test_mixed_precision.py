"""Mixed precision: what stays fp32, that the rest is fp16, and that models with large residuals survive it."""

from functools import partial

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from timm.layers import RmsNorm

from pomt_trt.core.errors import InputError
from pomt_trt.core.metrics import parity
from pomt_trt.core.targets import TARGETS, named
from pomt_trt.host.data import image_batches
from pomt_trt.host.graphs import comparison, export, graph_checks
from pomt_trt.host.graphs.trace import Trace
from pomt_trt.host.models import loading
from pomt_trt.host.precision import mixed_precision
from tests import suite
from tests.host import tiny

WEAK = {target.form("fp16"): name for name, target in TARGETS.items() if not target.strongly_typed}
METHODS = {"pomt": 2, "pomt-shift": 2, "topk": None, "cropr": None, "random": None}  # layer
MERGING = {"tome": 4, "ltmp": 2}  # blocks of the tiny model that merge
RESIDUAL = 1500.0  # the largest that users report of ViTs; its square is far beyond fp16


def traced(model, method="pomt", layer=2, removed=6, opset=17):
    """(trace in fp32, plan, candidate, images) of one candidate."""
    plan, spec, images = tiny.plan(model, method, layer=layer, opset=opset)
    candidate = tiny.grid(plan, spec, [removed])[0]
    return export._traced(plan, candidate.schedule, images), plan, candidate, images


def node_types(trace):
    """Node name -> the types of its floating-point inputs."""
    graph = onnx.shape_inference.infer_shapes(tiny.whole(trace)).graph
    types = {value.name: value.type.tensor_type.elem_type for value in [*graph.value_info, *graph.input, *graph.output]}
    types.update({tensor.name: tensor.data_type for tensor in graph.initializer})
    floats = {TensorProto.FLOAT, *mixed_precision.NARROW.values()}
    return {node.name: {types[name] for name in node.input if types[name] in floats} for node in graph.node}


def naive(trace, monkeypatch):
    """Everything in fp16, fp32 regions too."""
    with monkeypatch.context() as patched:
        patched.setattr(mixed_precision, "fp32_nodes", lambda _: ())
        return mixed_precision.mixed(trace)


def in_fp16(trace, batch):
    """Logits by ONNX's reference, which rounds to fp16 wherever the graph says so; ONNX Runtime's CPU does not."""
    evaluator = ReferenceEvaluator(tiny.whole(trace))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return np.concatenate([evaluator.run(None, {"image": image[None]})[0] for image in batch.numpy()])


def with_large_residuals(norm=torch.nn.LayerNorm):
    """A seeded model in which two channels of every token hold +-1500, and whose norms make them small."""
    model = tiny.vit(embed_dim=96, norm_layer=norm)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.06)
        model.pos_embed.normal_(std=0.5)
        model.pos_embed[..., 0], model.pos_embed[..., 1] = RESIDUAL, -RESIDUAL
        for norm in [module for module in model.modules() if isinstance(module, norm)]:
            norm.weight.fill_(RESIDUAL * (2 / model.embed_dim) ** 0.5)  # a token's standard deviation
            norm.weight[:2] = 0.1
    return model


@pytest.mark.parametrize("opset", [13, 17])
@pytest.mark.parametrize("method", METHODS)
def test_layer_norms_sums_and_what_only_a_ranking_reads_stay_fp32(method, opset):
    trace, *_ = traced(tiny.vit(), method, METHODS[method], opset=opset)
    kinds = {node.name: node.op_type for node in trace.graph.graph.node}
    found = [kinds[name] for name in mixed_precision.fp32_nodes(trace)]
    norms = [kinds[name] for name in mixed_precision.fp32_nodes(trace) if "norm" in name]
    assert len([kind for kind in norms if kind in ("LayerNormalization", "Sqrt")]) == 9  # two a block, and the last
    if opset == 13:
        assert [norms.count(kind) for kind in ("Pow", "Sqrt", "Sub")] == [9, 9, 9]
    else:
        assert not {"Pow", "Sqrt"} & set(norms)
    rankings = {"pomt": 1, "pomt-shift": 1, "topk": 4, "cropr": 2, "random": 0}[method]
    assert found.count("TopK") == rankings
    assert not {"Conv", "Erf", "Gemm", "Concat", "GatherElements"} & set(found)
    assert found.count("ReduceMax") == rankings * (method == "pomt")  # the others choose among fp16 values
    assert found.count("MatMul") == rankings * (method in ("topk", "cropr"))  # a row of attention, or the scorer
    assert found.count("Sqrt") - norms.count("Sqrt") == rankings * (method == "pomt-shift")  # the length of a change


@pytest.mark.parametrize("norm", [RmsNorm, partial(RmsNorm, affine=False), torch.nn.RMSNorm])
@pytest.mark.parametrize("opset", [13, 17])
def test_an_rms_norm_is_five_nodes_and_its_weight_that_stay_fp32(opset, norm):
    """timm's and torch's, whose weight is a parameter or absent."""
    trace, *_ = traced(tiny.vit(norm_layer=norm, init_values=0.1), "none", None, removed=0, opset=opset)
    kinds = {node.name: node.op_type for node in trace.graph.graph.node}
    found = [kinds[name] for name in mixed_precision.fp32_nodes(trace)]
    weights = 0 if "weight" not in dict(norm(4).named_parameters()) else 9
    assert found.count("Mul") == weights
    assert [found.count(kind) for kind in ("Pow", "ReduceMean", "Add", "Sqrt", "Div")] == [9] * 5
    assert len(found) == 45 + weights


@pytest.mark.parametrize("opset", [13, 17])
@pytest.mark.parametrize("method, merging", MERGING.items())
def test_who_is_merged_with_whom_is_found_in_fp32_and_merging_itself_is_fp16(method, merging, opset):
    trace, *_ = traced(tiny.vit(), method, None, opset=opset)
    region = set(mixed_precision.fp32_nodes(trace))
    makers = {name: node for node in trace.graph.graph.node for name in node.output}
    partners = [node for node in trace.graph.graph.node if node.op_type == "ArgMax"]
    assert len(partners) == merging
    for node in partners:
        similarity = makers[node.input[0]]
        assert {node.name, similarity.name} <= region and similarity.op_type == "MatMul"
    into = [node for node in trace.graph.graph.node if node.op_type == "Equal"]
    assert len(into) == merging and not region & {node.name for node in into}
    assert {node.name for node in trace.graph.graph.node if node.op_type == "TopK"} <= region


@pytest.mark.parametrize("opset", [13, 17])
def test_the_attention_that_ltmp_prunes_by_is_widened_before_it_is_averaged(opset):
    trace, *_ = traced(tiny.vit(), "ltmp", None, opset=opset)
    region = set(mixed_precision.fp32_nodes(trace))
    makers = {name: node for node in trace.graph.graph.node for name in node.output}
    seen = 0
    for node in trace.graph.graph.node:
        cast = makers.get(node.input[0]) if node.op_type == "ReduceMean" else None
        if cast is not None and makers[cast.input[0]].op_type == "Softmax":
            assert cast.op_type == "Cast" and node.name in region
            seen += 1
    assert seen == 3  # blocks that prune


@pytest.mark.parametrize("kind", [*tiny.KINDS, "DINOv2 with a head"])
@pytest.mark.parametrize("opset, narrow", [(13, "fp16"), (17, "fp16"), (17, "bf16")])
def test_all_other_nodes_compute_in_the_narrow_type_and_no_node_in_two(kind, opset, narrow, tmp_path):
    model = tiny.dinov2(tmp_path) if kind.startswith("DINOv2") else tiny.vit(**tiny.KINDS[kind])
    trace, *_ = traced(model, opset=opset)
    region = set(mixed_precision.fp32_nodes(trace))
    mixed = mixed_precision.mixed(trace, narrow)
    onnx.checker.check_model(tiny.whole(mixed), full_check=True)
    for node, types in node_types(mixed).items():
        if not node.endswith(".cast") and "Cast" not in node and types:
            outside = TensorProto.FLOAT16 if "Conv" in node else mixed_precision.NARROW[narrow]
            assert types == {TensorProto.FLOAT if node in region else outside}, node
    ends = [*mixed.graph.graph.input, *mixed.graph.graph.output]
    assert {value.type.tensor_type.elem_type for value in ends} == {TensorProto.FLOAT}


@pytest.mark.parametrize("method", METHODS)
def test_every_operator_of_a_bf16_graph_takes_the_types_it_is_given(method):
    """By ONNX's own table of the opset, which its checker does not look at and ONNX Runtime cannot be asked of bf16."""
    trace, plan, *_ = traced(tiny.vit(init_values=0.1, qk_norm=True), method, METHODS[method])
    model = tiny.whole(mixed_precision.mixed(trace, "bf16"))
    types = node_types(Trace(model, {}))
    names = {TensorProto.FLOAT: "float", TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}
    for node in model.graph.node:
        schema = onnx.defs.get_schema(node.op_type, plan.target.opset)
        allowed = {kind for constraint in schema.type_constraints for kind in constraint.allowed_type_strs}
        assert {f"tensor({names[kind]})" for kind in types[node.name]} <= allowed, node.op_type
    assert {TensorProto.BFLOAT16} in types.values()


@pytest.mark.parametrize("narrow, rounding", [("fp16", 2**-11), ("bf16", 2**-8)])
def test_weights_are_narrow_but_for_those_of_layer_norms(narrow, rounding):
    """And for those of a bf16 model's patch embedding, which are fp16."""
    trace, *_ = traced(tiny.vit(init_values=0.1))
    if narrow == "bf16":  # which goes as far as fp32
        trace.weights["blocks.1.mlp.fc1.bias"] = np.full(96, 7e4, np.float32)
    for name, value in mixed_precision.mixed(trace, narrow).weights.items():
        outside = "float16" if narrow == "fp16" or "patch_embed" in name else "bfloat16"
        assert value.dtype.name == ("float32" if "norm" in name else outside), name
        np.testing.assert_allclose(value.astype(np.float32), trace.weights[name], rtol=rounding, atol=2**-24)


def test_the_trace_itself_is_left_as_it_was():
    trace, *_ = traced(tiny.vit())
    before = trace.graph.SerializeToString(), {name: value.copy() for name, value in trace.weights.items()}
    mixed_precision.mixed(trace)
    mixed_precision.pinned(trace)
    assert trace.graph.SerializeToString() == before[0]
    assert all(np.array_equal(value, before[1][name]) for name, value in trace.weights.items())


def test_a_weight_that_fp16_cannot_hold_is_refused_by_name():
    trace, *_ = traced(tiny.vit())
    trace.weights["blocks.1.mlp.fc1.bias"] = np.full(96, 7e4, np.float32)
    with pytest.raises(
        InputError, match=r"blocks.1.mlp.fc1.bias holds 7e\+04, and fp16 ends at 65504. Use --precision"
    ):
        mixed_precision.mixed(trace)


def check_for_all_targets(graph, form):
    """A graph of a form in fp16 is one that every target of that form reads."""
    targets = [target for target in TARGETS.values() if target.form_among([form], form[5:9]) == form]
    assert targets
    for target in targets:
        graph_checks.check_version(graph, target)
        graph_checks.check_operators(graph.graph, target)


@pytest.mark.parametrize("narrow", mixed_precision.NARROW)
@pytest.mark.parametrize("method", suite.sampled([*METHODS, *MERGING], ["pomt", "tome"]))
def test_mixed_graphs_of_strongly_typed_targets_agree_with_pytorch(method, narrow, tmp_path):
    how = {"layer": METHODS.get(method), "target": "jetpack-6.2", "precision": narrow}
    exported = tiny.exported(tmp_path, tiny.vit(), [0, 2, 6, 9], method, **how)
    made = exported.family
    assert (made.form, made.precision, made.fp32_nodes) == (f"op17-{narrow}", narrow, ())
    assert {candidate.precision for candidate in made.candidates} == {narrow}
    for candidate in made.candidates:
        check_for_all_targets(exported.graph(candidate), made.form)
        found = exported.logits(candidate)
        likeness = parity.compare(found, *exported.expected(candidate), narrow)
        assert found.dtype == np.float32 and likeness.compared and likeness.passed


@pytest.mark.parametrize("target", WEAK.values())
@pytest.mark.parametrize("method", suite.sampled([*METHODS, *MERGING], ["pomt", "ltmp"]))
def test_weakly_typed_targets_read_fp32_graphs_and_the_names_of_what_to_pin(method, target, tmp_path):
    how = {"layer": METHODS.get(method), "target": target}
    exported = [
        tiny.exported(tmp_path, tiny.vit(), [0, 2, 6, 9], method, precision=asked, **how) for asked in ("fp32", "fp16")
    ]
    wide, made = (each.family for each in exported)
    assert wide.fp32_nodes == () and wide.precision == "fp32" and made.precision == "fp16"
    assert (made.weights_sha256, made.model_sha256) == (wide.weights_sha256, wide.model_sha256)
    assert made.form == named(target).form("fp16") != wide.form
    names = made.fp32_nodes
    assert len(names) == len(set(names))
    for candidate in made.candidates:
        graphs = [each.graph(candidate) for each in exported]
        for plain, ours in zip(graphs[0].graph.node, graphs[1].graph.node, strict=True):
            assert ours.name == (mixed_precision.PINNED + plain.name if ours.name in names else plain.name)
            assert (ours.op_type, ours.input, ours.output) == (plain.op_type, plain.input, plain.output)
        check_for_all_targets(graphs[1], made.form)
        found = {node.name for node in graphs[1].graph.node} & set(names)
        assert found == {node.name for node in graphs[1].graph.node if node.name.startswith(mixed_precision.PINNED)}
        norms = [name for name in found if "norm" in name]  # a merge has square roots of its own
        assert len([name for name in norms if "LayerNormalization" in name or "Sqrt" in name]) == 9


@pytest.mark.parametrize("norm", [torch.nn.LayerNorm, RmsNorm])
@pytest.mark.parametrize("removed", [0, 6])
@pytest.mark.parametrize("opset", suite.sampled([13, 17], [17]))
def test_large_residuals_stay_right_in_our_fp16_and_overflow_in_a_naive_one(opset, removed, norm, monkeypatch):
    trace, plan, candidate, images = traced(with_large_residuals(norm), removed=removed, opset=opset)
    batch = next(images.batches(tiny.IMAGES))
    expected, margins = comparison.logits_and_margins(plan.reduced(candidate.schedule), batch, 1)
    assert np.ptp(expected, axis=0).max() > 0.1 * np.abs(expected).max()  # pictures make a difference
    ours = parity.compare(in_fp16(mixed_precision.mixed(trace), batch), expected, margins, "fp16")
    assert ours.compared and ours.passed
    assert parity.compare(in_fp16(naive(trace, monkeypatch), batch), expected, margins, "fp16").error > 0.5


@pytest.mark.long
def test_the_bundled_model_in_fp16_classifies_its_held_out_pictures_as_in_fp32(tmp_path):
    module, spec = loading.load("digits")
    images = image_batches.load(None, spec, 450, 0)
    assert len(images) == 450
    batch = next(images.batches(450)).numpy()
    logits = {}
    for asked in ("fp32", "fp16"):
        plan = export.Plan(module, "pomt", None, 50, 0, named("onnxruntime"), asked)
        made = export.export(plan, tiny.grid(plan, spec, [80]), images, tmp_path)
        logits[asked] = comparison.run_onnx(tmp_path / "onnx" / made.form / "r080.onnx", batch, 50)
    assert (logits["fp16"].argmax(1) == logits["fp32"].argmax(1)).mean() >= 0.995
    assert parity.compare(logits["fp16"], logits["fp32"]).error < 2e-2
