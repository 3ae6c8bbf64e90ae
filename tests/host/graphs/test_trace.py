"""One module traced: parameters under their own names, nothing left that a constant can say."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from pomt_trt.core.errors import VerificationFailed
from pomt_trt.host.graphs import trace as tracing
from pomt_trt.host.graphs.trace import trace
from tests.host import tiny

SHAPE = (2, 3, 16, 16)


def run(traced, image):
    """Logits of a trace on ONNX Runtime, with its weights put back."""
    model = tiny.whole(traced)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image.numpy()})[0]


def image(shape=SHAPE):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


class Linears(nn.Module):
    """One weight read both ways, one read through two different transpositions, two equal ones, one not read."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.both = nn.Parameter(torch.randn(4, 4))
        self.turned = nn.Parameter(torch.randn(4, 4, 4))
        self.plain = nn.Linear(4, 4)
        self.twin = nn.Linear(4, 4)
        self.twin.load_state_dict(self.plain.state_dict())
        self.unused = nn.Linear(4, 4)

    def forward(self, x):
        x = x @ self.both + x @ self.both.t()
        x = x @ self.turned.permute(0, 2, 1) + x @ self.turned.permute(2, 1, 0)
        return self.twin(self.plain(x)).mean(dim=(1, 2))


@pytest.fixture(scope="module")
def linears():
    module = Linears().eval()
    return module, trace(module, (1, 4, 4, 4), opset=17, ir_version=8)


@pytest.mark.parametrize(("opset", "ir_version"), [(13, 7), (17, 8)])
def test_a_trace_computes_what_the_module_computes(opset, ir_version):
    model = tiny.vit(init_values=0.1)
    traced = trace(model, SHAPE, opset=opset, ir_version=ir_version)
    assert traced.graph.ir_version == ir_version
    assert [(entry.domain, entry.version) for entry in traced.graph.opset_import] == [("", opset)]
    with torch.no_grad():
        np.testing.assert_allclose(run(traced, image()), model(image()).numpy(), rtol=1e-4, atol=1e-5)


def test_parameters_stand_under_their_state_dict_names():
    model = tiny.vit()
    traced = trace(model, SHAPE, opset=17, ir_version=8)
    state = model.state_dict()
    assert set(traced.weights) == set(state)
    for name, value in traced.weights.items():
        ours = state[name].numpy()
        assert np.array_equal(value, ours) or np.array_equal(value, ours.T), name
    assert not set(state) & {tensor.name for tensor in traced.graph.graph.initializer}


def test_a_prefix_is_taken_off():
    wrapped = nn.ModuleDict({"vit": tiny.vit()})
    wrapped.forward = lambda x: wrapped["vit"](x)
    traced = trace(wrapped, SHAPE, opset=17, ir_version=8, prefix="vit.")
    assert set(traced.weights) == set(tiny.vit().state_dict())


def test_weights_are_transposed_once_and_for_all_unless_they_are_read_in_two_ways(linears):
    module, traced = linears
    assert np.array_equal(traced.weights["plain.weight"], module.plain.weight.detach().numpy().T)
    for name in ("both", "turned"):
        assert np.array_equal(traced.weights[name], getattr(module, name).detach().numpy()), name
    with torch.no_grad():
        np.testing.assert_allclose(
            run(traced, image((1, 4, 4, 4))), module(image((1, 4, 4, 4))).numpy(), rtol=1e-4, atol=1e-5
        )


def test_equal_parameters_keep_their_own_names_and_unread_ones_are_left_out(linears):
    _, traced = linears
    read = {name for node in traced.graph.graph.node for name in node.input}
    assert {"plain.weight", "twin.weight", "plain.bias", "twin.bias"} <= read
    assert {name for name in traced.weights if name.startswith("unused")} == set()


def test_nothing_is_left_that_a_constant_can_say():
    traced = trace(tiny.vit(global_pool="avg"), SHAPE, opset=17, ir_version=8)
    graph = traced.graph.graph
    assert not {"Constant", "Shape", "ConstantOfShape", "Identity"} & {node.op_type for node in graph.node}
    constants = {tensor.name for tensor in graph.initializer}
    assert all(set(node.input) - constants for node in graph.node)
    assert [value.name for value in graph.input] == ["image"] and [value.name for value in graph.output] == ["logits"]


def test_two_traces_of_one_structure_have_the_same_names():
    graphs = [trace(tiny.vit(), (batch, 3, 16, 16), opset=17, ir_version=8).graph.graph for batch in (2, 3)]
    assert graphs[0].node == graphs[1].node
    names = [tensor.name for tensor in graphs[0].initializer]
    assert names == [tensor.name for tensor in graphs[1].initializer] and len(names) == len(set(names))


def test_the_module_is_left_as_it_was():
    model = tiny.vit()
    model.blocks[1].attn.fused_attn = False
    before = [block.attn.fused_attn for block in model.blocks]
    trace(model, SHAPE, opset=17, ir_version=8)
    assert [block.attn.fused_attn for block in model.blocks] == before


def test_another_opset_than_was_asked_for_is_refused(monkeypatch):
    made = trace(tiny.vit(), SHAPE, opset=17, ir_version=8).graph
    monkeypatch.setattr(tracing, "_exported", lambda *_: made)
    with pytest.raises(VerificationFailed, match=r"opset \{'': 17\}, not 13. Install"):
        trace(tiny.vit(), SHAPE, opset=13, ir_version=7)
