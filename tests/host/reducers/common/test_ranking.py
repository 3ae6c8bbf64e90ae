"""Rankings are the same in PyTorch and ONNX Runtime, also for equal scores."""

import io

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pomt_trt.host.reducers.common import ranking
from tests.host.reducers.made import rows

few_values = st.integers(0, 3).map(float)  # ties are the rule


@given(st.lists(st.lists(few_values, min_size=7, max_size=7), min_size=1, max_size=3), st.integers(1, 7))
def test_ranks_by_score_and_then_by_lower_index(scores, k):
    expected = [sorted(range(7), key=lambda i: (-row[i], i))[:k] for row in scores]
    assert ranking.rank(torch.tensor(scores), k).tolist() == expected


def test_half_precision_scores_are_ranked_alike():
    scores = torch.rand(4, 196, generator=torch.Generator().manual_seed(1)).half()
    assert torch.equal(ranking.rank(scores, 196), ranking.rank(scores.float(), 196))


def test_nan_scores_still_give_each_index_once():
    scores = torch.tensor([[1.0, float("nan"), 0.5, float("nan"), 2.0]])
    assert sorted(ranking.rank(scores, 5)[0].tolist()) == [0, 1, 2, 3, 4]


def test_margin_is_the_relative_gap_at_the_cut():
    scores = torch.tensor([[0.5, 2.0, 1.0, 0.25], [1.0, 1.0, 1.0, 1.0], [8.0, 4.0, 2.0, 1.0], [-2.0, -3.0, -4.0, -1.0]])
    assert ranking.margin(scores, 2).tolist() == [0.5, 0.0, 0.5, 0.5]


def test_gathers_each_images_own_rows():
    taken = ranking.gather_rows(rows(2, 5), torch.tensor([[4, 0], [1, 1]]))
    assert taken.tolist() == [[[0, 4], [0, 0]], [[1, 1], [1, 1]]]


class Ranks(torch.nn.Module):
    def forward(self, scores):
        return ranking.rank(scores, 5)


@pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript-based ONNX export:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The feature will be removed:DeprecationWarning")
@pytest.mark.parametrize("opset", [13, 17])
def test_onnx_runtime_ranks_as_torch_does(opset):
    scores = torch.randint(0, 4, (3, 40), generator=torch.Generator().manual_seed(2)).float()  # many ties
    file = io.BytesIO()
    torch.onnx.export(Ranks(), (scores,), file, dynamo=False, opset_version=opset, input_names=["scores"])
    graph = onnx.load_from_string(file.getvalue()).graph
    assert {node.op_type for node in graph.node} <= {"TopK", "Constant", "Cast", "Identity"}
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    assert np.array_equal(session.run(None, {"scores": scores.numpy()})[0], Ranks()(scores).numpy())
