"""Ranking of tokens by score, the same in torch and ONNX Runtime: higher score first, then lower index.

Scores are ranked in fp32, since equal scores are common in fp16. With NaN scores the indices are still a permutation,
in any order: the logits of such an image are NaN anyway.
"""

from typing import Any

import torch
from torch import Tensor


class _Rank(torch.autograd.Function):
    """A stable descending sort that exports as TopK with a constant K. torch.sort exports a K computed from Shape."""

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
        batch = scores.type().sizes()[0]  # torch cannot infer it, and static shapes need it
        indices.setType(scores.type().with_dtype(torch.long).with_sizes([batch, k]))
        return indices


def rank(scores: Tensor, k: int) -> Tensor:
    """Indices (B, k) of the k highest of `scores` (B, n), highest first, equal ones by lower index."""
    return _Rank.apply(scores.float(), k)  # type: ignore[no-any-return]


def margin(scores: Tensor, k: int) -> Tensor:
    """(s_k - s_k+1) / |s_k|, (B,): s_k is the last kept score, s_k+1 the first discarded one; 1 <= k < n."""
    last, first = torch.topk(scores.float(), k + 1).values[:, k - 1 :].unbind(1)  # (B,), (B,)
    return (last - first) / last.abs()


def ascending(indices: Tensor, k: int) -> Tensor:
    """Indices (B, k) in ascending order. They must be below 2^24, where fp32 is exact."""
    return indices.gather(1, rank(-indices.float(), k))


def join(*parts: Tensor) -> Tensor:
    """Sequences (B, n_i, C), concatenated. Empty ones do not appear in a graph."""
    return torch.cat([part for part in parts if part.shape[1]], 1)


def gather_rows(x: Tensor, indices: Tensor) -> Tensor:
    """Rows (B, K, C) of x (B, N, C) at `indices` (B, K)."""
    return x.gather(1, indices.unsqueeze(2).expand(-1, -1, x.shape[2]))
