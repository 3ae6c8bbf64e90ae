"""Chunk and RMSNorm as written by us: of constant shapes, and equal to torch's."""

import io
import warnings

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from pomt_trt.host.graphs import operators
from pomt_trt.host.graphs.trace import trace
from tests.host.graphs.test_trace import image, run

SHAPE = (2, 3, 10, 7)


class Chunked(nn.Module):
    """The sum over each chunk, one behind the other."""

    def __init__(self, chunks, dim):
        super().__init__()
        self.chunks, self.dim = chunks, dim

    def forward(self, x):
        return torch.stack([part.sum(dim=(1, 2, 3)) for part in (x * 2).chunk(self.chunks, dim=self.dim)], dim=1)


def compared(module, opset):
    """The trace of a module whose logits are torch's."""
    traced = trace(module.eval(), SHAPE, opset=opset, ir_version=8)
    with torch.no_grad():
        np.testing.assert_allclose(run(traced, image(SHAPE)), module(image(SHAPE)).numpy(), rtol=1e-5, atol=1e-5)
    return [node.op_type for node in traced.graph.graph.node]


@pytest.mark.parametrize("opset", [13, 17])
@pytest.mark.parametrize("chunks, dim", [(2, 2), (3, -2), (4, -1)])
def test_a_chunk_is_one_split_also_where_parts_differ(chunks, dim, opset):
    found = compared(Chunked(chunks, dim), opset)
    assert found.count("Split") == 1 and "Shape" not in found


@pytest.mark.parametrize("opset", [13, 17])
@pytest.mark.parametrize("eps", [None, 1e-2])
@pytest.mark.parametrize("axes", [(7,), (10, 7)])
def test_an_rms_norm_is_taken_over_the_last_axes(axes, eps, opset):
    norm = nn.RMSNorm(axes, eps=eps)
    nn.init.uniform_(norm.weight)
    assert compared(norm, opset) == ["Pow", "ReduceMean", "Add", "Sqrt", "Div", "Mul"]


def test_torchs_own_way_is_back_after_an_export_that_failed():
    with pytest.raises(ZeroDivisionError), operators.written(17):
        raise ZeroDivisionError
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecation
        torch.onnx.export(Chunked(2, 2), (image(SHAPE),), file, dynamo=False, opset_version=17)
    assert "Shape" in {node.op_type for node in onnx.load_from_string(file.getvalue()).graph.node}
