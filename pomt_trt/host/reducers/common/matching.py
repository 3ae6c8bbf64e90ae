"""Bipartite matching of tokens by their keys, and merging of the most similar pairs, for ToMe and LTMP.

Patch tokens at even positions may be merged into patch tokens at odd positions. Prefix tokens stay. Merging is one
matmul with a one-hot matrix, since not all engines scatter safely.

Source: Bolya et al., "Token Merging: Your ViT But Faster", ICLR 2023, section 3 and appendix D.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pomt_trt.host.reducers.common.contract import Reducer, Step, Tokens
from pomt_trt.host.reducers.common.ranking import ascending, gather_rows, join, margin, rank

NEVER_ZERO = 1e-12  # added to the squared norm of a key, so that a key of zeros gives no NaN


class Match(NamedTuple):
    """Which even patches are merged into which odd ones. Indices count within the even or the odd patches."""

    merged: Tensor  # (B, r), the most similar first
    partner: Tensor  # (B, r) the odd patch that each is merged into
    into: Tensor  # (B, r, odd) `partner`, one-hot
    staying: Tensor | None  # (B, even - r), ascending; None where all are merged
    margin: Tensor  # (B,) smallest relative margin, of the cut and of each choice of partner


def split(x: Tensor, prefix_tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of x (B, N, C): prefix, patches at even positions, patches at odd positions."""
    return x[:, :prefix_tokens], x[:, _first_even(prefix_tokens) :: 2], x[:, _first_odd(prefix_tokens) :: 2]


def even_odd(tokens: int, prefix_tokens: int) -> tuple[Tensor, int]:
    """Positions (tokens,) in the order prefix, even patches, odd patches; and how many patches are even."""
    positions = torch.arange(tokens)
    first, even, odd = (rows.flatten() for rows in split(positions[None, :, None], prefix_tokens))
    return torch.cat([first, even, odd]), len(even)


def _first_even(prefix_tokens: int) -> int:
    return prefix_tokens + prefix_tokens % 2


def _first_odd(prefix_tokens: int) -> int:
    return prefix_tokens + 1 - prefix_tokens % 2


class Merging(Reducer):
    """A method that merges tokens and keeps their sizes."""

    numbers: Tensor
    ones: Tensor

    def __init__(self, step: Step, *arguments: Any) -> None:
        super().__init__(step, *arguments)
        if step.merged:
            self.register_buffer("numbers", torch.arange(step.odd_patches))  # (odd,)
            if not step.sized:  # integers keep their type in graphs of every precision
                self.register_buffer("ones", torch.ones(1, step.tokens_in, 1, dtype=torch.long))

    def sizes(self, tokens: Tokens) -> Tensor:
        """(B, N, 1) fp32; ones where no block has merged before."""
        if tokens.size is not None:
            return tokens.size
        return self.ones.float().expand(tokens.x.shape[0], -1, -1)

    def match(self, keys: Tensor) -> Match:
        """The step.merged best pairs of an even patch and its most similar odd one, by cosine of keys (B, N, dh)."""
        even_patches, count = self.step.even_patches, self.step.merged
        _, even, odd = split(keys.float(), self.step.prefix_tokens)
        similarity = unit(even) @ unit(odd).transpose(1, 2)  # (B, even, odd)
        best, partner = similarity.max(2)  # (B, even) each; of equals the first
        order = rank(best, even_patches)
        merged = order[:, :count]
        partner = partner.gather(1, merged)  # (B, r)
        into = (partner.unsqueeze(2) == self.numbers).float()  # (B, r, odd)
        staying = ascending(order[:, count:], even_patches - count) if count < even_patches else None
        return Match(merged, partner, into, staying, _margin(similarity, best, merged))

    def undo(self, match: Match) -> tuple[Tensor, Tensor]:
        """How to give each token before the merge a row again, see unmerged.

        Returns:
            places: (B, N) for each token before the merge, its index among the tokens after it, then the merged ones.
            partner: (B, r) for each merged token, the index after the merge of the token that it is part of.
        """
        prefix, batch = self.step.prefix_tokens, match.merged.shape[0]
        first_even, first_odd = _first_even(prefix), _first_odd(prefix)
        staying = [] if match.staying is None else [match.staying * 2 + first_even]
        odd = (self.numbers * 2 + first_odd).expand(batch, -1)
        first = torch.arange(prefix, device=match.merged.device).expand(batch, -1)
        before = join(first, *staying, odd, match.merged * 2 + first_even)  # (B, N) where each stood
        places = rank(-before.float(), self.step.tokens_in)  # (B, N)
        return places, match.partner + (self.step.tokens_out - self.step.odd_patches)


def merge(x: Tensor, size: Tensor, match: Match, prefix_tokens: int) -> tuple[Tensor, Tensor]:
    """Rows (B, N - r, C) and sizes (B, N - r, 1) after the merge: prefix, staying even patches, odd patches.

    An odd row becomes the mean of its parts, weighted by size: sum of (size / total size) x row. Why the weights are
    divided and not the sum: large activations times large sizes would exceed fp16.
    """
    (first, even, odd), (size_first, size_even, size_odd) = split(x, prefix_tokens), split(size, prefix_tokens)
    joining = gather_rows(size_even, match.merged)  # (B, r, 1)
    total = size_odd + match.into.transpose(1, 2) @ joining  # (B, odd, 1)
    shares = (match.into * joining).transpose(1, 2) / total  # (B, odd, r)
    odd = odd * (size_odd / total) + shares @ gather_rows(even, match.merged)  # (B, odd, C)
    x = join(first, *_staying(even, match), odd)
    return x, join(size_first, *_staying(size_even, match), total)


def stayed(rows: Tensor, match: Match, prefix_tokens: int) -> Tensor:
    """Rows (B, N - r, D) of the tokens that others were merged into, and of those that stayed; not of the others."""
    first, even, odd = split(rows, prefix_tokens)
    return join(first, *_staying(even, match), odd)


def unmerged(x: Tensor, merges: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Rows of the tokens before these merges, from rows x (B, N_out, C) after them. Merged tokens share one.

    Source: unmerging, Bolya and Hoffman, "Token Merging for Fast Stable Diffusion", CVPR Workshops 2023; here
    once, at the end.
    """
    for places, partner in reversed(list(merges)):
        x = gather_rows(join(x, gather_rows(x, partner)), places)  # (B, N, C)
    return x


def sized(steps: Iterable[Step | None]) -> list[Step | None]:
    """The steps with `sized` set: whether an earlier step merges."""
    marked: list[Step | None] = []
    merged = False
    for step in steps:
        marked.append(None if step is None else step._replace(sized=merged))
        merged = merged or (step is not None and step.merged > 0)
    return marked


def unit(keys: Tensor) -> Tensor:
    """fp32 keys (B, N, dh) at length 1. A key of zeros stays zero."""
    return keys / ((keys * keys).sum(2, keepdim=True) + NEVER_ZERO).sqrt()


def _staying(rows: Tensor, match: Match) -> list[Tensor]:
    return [] if match.staying is None else [gather_rows(rows, match.staying)]


def _margin(similarity: Tensor, best: Tensor, merged: Tensor) -> Tensor:
    """Smallest relative margin (B,): of the last merged pair over the next, of each partner over the second best."""
    gaps = [margin(best, merged.shape[1])] if merged.shape[1] < best.shape[1] else []
    if similarity.shape[2] > 1:
        first, second = similarity.topk(2, 2).values.unbind(2)  # (B, even) each
        gaps.append(((first - second) / first.abs()).gather(1, merged).amin(1))
    return torch.stack(gaps).amin(0) if gaps else torch.full_like(best[:, 0], torch.inf)
