"""Ranking of tokens by score, the same in torch, ONNX Runtime and on paper: higher score first, then lower index.

Makes indices from scores, and rows from indices; also the margin that says how far a cut was from going the other way.
Knows no method. Scores are ranked in fp32, since ties are common in fp16. A NaN has no rank: the indices stay a
permutation, in an order that nobody promises (the logits of such an image are NaN in any case).
"""

from typing import Any

import torch
from torch import Tensor


class _Rank(torch.autograd.Function):
    """A stable descending sort that exports as TopK with a constant K (torch.sort alone exports a K from Shape)."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, k: int) -> Tensor:
        indices = torch.sort(scores, dim=1, descending=True, stable=True).indices[:, :k]
        ctx.mark_non_differentiable(indices)
        return indices

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return None, None

    @staticmethod
    def symbolic(g: Any, scores: Any, k: int) -> Any:
        size = g.op("Constant", value_t=torch.tensor([k]))
        _, indices = g.op("TopK", scores, size, axis_i=1, largest_i=1, sorted_i=1, outputs=2)
        batch = scores.type().sizes()[0]  # torch cannot infer it, and static shapes downstream depend on it
        indices.setType(scores.type().with_dtype(torch.long).with_sizes([batch, k]))
        return indices


def rank(scores: Tensor, k: int) -> Tensor:
    """Indices (B, k) of the k best of `scores` (B, n) of each image, best first, ties by lower index."""
    return _Rank.apply(scores.float(), k)  # type: ignore[no-any-return]


def margin(scores: Tensor, k: int) -> Tensor:
    """Relative distance (B,) between the last kept and the first discarded score: (s_k - s_k+1) / |s_k|; 1 <= k < n."""
    last, first = torch.topk(scores.float(), k + 1).values[:, k - 1 :].unbind(1)  # (B,), (B,)
    return (last - first) / last.abs()


def ascending(indices: Tensor, k: int) -> Tensor:
    """Indices (B, k) of each image in ascending order; below 2^24, where fp32 is exact."""
    return indices.gather(1, rank(-indices.float(), k))


def join(*parts: Tensor) -> Tensor:
    """Sequences (B, n_i, C) one after the other; those without a row leave no trace in a graph."""
    return torch.cat([part for part in parts if part.shape[1]], 1)


def gather_rows(x: Tensor, indices: Tensor) -> Tensor:
    """Rows of x (B, N, C) at `indices` (B, K), each image its own -> (B, K, C)."""
    return x.gather(1, indices.unsqueeze(2).expand(-1, -1, x.shape[2]))
