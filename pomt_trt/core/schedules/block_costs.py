"""Block latencies: which counts to time blocks at, and what any schedule then costs.

Makes schedules of chains, whose engines a device times, from counts; predictions from the BlockLatencies that come of
them. Any machine. Leaves out how chains are timed, and which schedule is worth it (core/schedules/schedule_pareto).

A plain chain is the model with the same count in every block. A block's latency at that count is the chain's divided by
the number of blocks: weights stream through the caches as they do in the model, and embedding, head, copies and the
call itself are in it. A schedule takes one block from each of so many chains, so it contains each of these once.
A walk is a chain by the method that goes from one timed count to the next lower one in block after block. What it takes
beyond its plain blocks, divided by the number of cuts, is what a cut costs at its mean count; between and beyond the
means of the walks, that cost lies on a line. A plunge cuts much in a single block: it shows which share of a block sees
the count before a cut (attention), and which the one after (the MLP).
"""

from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from pomt_trt.core.records import CHAIN, BlockLatencies, BlockLatency, Candidate, Interval, ReductionLatency, Schedule
from pomt_trt.core.schedules.schedule import single_layer
from pomt_trt.core.search.steps import find_steps

FIRST_COUNTS = 24  # timed in any case, apart from the model's own
MOST_COUNTS = 48  # timed at most; the rest goes into finding where steps lie
WALKS = 3
TELLING = 0.5  # of what a plunge's block saves: less must not depend on the share of attention for it to be told
PLAIN = "none"  # the method of chains in which no block removes anything
WORTH = 0.002  # a count that is not cheaper than a higher one by this share is not worth its tokens


class Timed(NamedTuple):
    """A chain and what it takes."""

    schedule: Schedule
    ms: float


def first_counts(tokens: int, lowest: int) -> Tuple[int, ...]:
    """Counts to begin with, descending: the model's own, multiples of a power of two, and `lowest`.

    Kernels work in tiles of powers of two, so this is where single cheap counts and most edges lie.
    """
    stride = 1
    while (tokens - lowest) / stride > FIRST_COUNTS:
        stride *= 2
    multiples = range(tokens - tokens % stride, lowest, -stride)
    return tuple(sorted({tokens, *multiples, lowest}, reverse=True))


def next_count(plain: Sequence[BlockLatency]) -> Optional[int]:
    """The count that would narrow the widest gap with a step in it; None where every edge is known, or enough is timed.

    Edges are what a schedule should stand on: the count above costs a step more, the one below saves next to nothing.
    """
    if len(plain) >= MOST_COUNTS:
        return None
    steps = find_steps([p.tokens for p in plain], [p.ms for p in plain], [p.ci_ms for p in plain])
    gaps = [(step.from_tokens - step.edge_tokens, step.edge_tokens) for step in steps if not step.valley]
    width, edge = max(gaps, default=(0, 0))
    return edge + width // 2 if width > 1 else None


def chain(schedule: Schedule, unreduced: Candidate) -> Candidate:
    """The candidate that is timed for a schedule, of the method, batch and precision of R = 0."""
    method = unreduced.method if schedule.removed else PLAIN
    return Candidate(method, schedule, unreduced.batch_size, unreduced.precision, CHAIN)


def plain_chain(tokens: int, depth: int, prefix_tokens: int) -> Schedule:
    """The same count in every block."""
    return Schedule((tokens,) * (depth + 1), prefix_tokens)


def walks(counts: Sequence[int], depth: int, prefix_tokens: int) -> Tuple[Schedule, ...]:
    """Chains that go down the timed counts, one a cut, from the top, the middle and to the bottom; cuts evenly spread.

    Each takes up to half of the counts, so that several fit in.
    """
    cuts = min(depth, max(1, len(counts) // 2))
    last = len(counts) - 1 - cuts
    starts = sorted({round(last * number / (WALKS - 1)) for number in range(WALKS)})
    return tuple(_walk(counts[start : start + cuts + 1], depth, prefix_tokens) for start in starts)


def _walk(counts: Sequence[int], depth: int, prefix_tokens: int) -> Schedule:
    cuts = len(counts) - 1
    return Schedule(tuple(counts[block * cuts // depth] for block in range(depth + 1)), prefix_tokens)


def plunge(counts: Sequence[int], depth: int, prefix_tokens: int) -> Schedule:
    """A chain that cuts in its middle block alone, down to the lowest timed count that leaves half of the patches:
    every method can do that in one block.
    """
    fewest = counts[0] - (counts[0] - prefix_tokens) // 2
    lowest = min([count for count in counts[2:] if count >= fewest], default=counts[1])
    return single_layer(counts[0], depth, prefix_tokens, depth // 2, counts[0] - lowest)


def plain_latency(tokens: int, depth: int, chain_ms: float, chain_ci_ms: Interval) -> BlockLatency:
    """A block's share of a plain chain."""
    return BlockLatency(tokens, chain_ms / depth, (chain_ci_ms[0] / depth, chain_ci_ms[1] / depth))


def reductions(
    walked: Sequence[Timed], plunged: Optional[Timed], plain: Sequence[BlockLatency]
) -> Tuple[float, Tuple[ReductionLatency, ...]]:
    """BlockLatencies' attention_share and reducing, from what walks and a plunge take.

    The share is the one by which the plunge is predicted exactly, from 0 to 1; a half where there is no plunge, or the
    walks cut as much at once, so that shares cannot be told apart.
    """

    def costs(share: float) -> Tuple[ReductionLatency, ...]:
        return tuple(_reduction(one, plain, share) for one in walked)

    def unexplained_ms(share: float, one: Timed) -> float:  # falls or rises evenly with the share
        cut_ms = _on_lines(np.array(one.schedule.tokens[:1]), costs(share))
        return one.ms - _uncut_ms(one.schedule.tokens, plain, share) - float(cut_ms[0])

    if plunged is None:
        return 0.5, costs(0.5)
    none, whole = unexplained_ms(0.0, plunged), unexplained_ms(1.0, plunged)
    ends = _plain_ms(plunged.schedule.tokens, plain)
    told = none - whole > TELLING * (ends[0] - ends[-1]) > 0
    share = min(1.0, max(0.0, none / (none - whole))) if told else 0.5
    return share, costs(share)


def _reduction(walk: Timed, plain: Sequence[BlockLatency], share: float) -> ReductionLatency:
    tokens = walk.schedule.tokens
    cut_at = [before for before, after in zip(tokens, tokens[1:]) if after < before]
    beyond_ms = walk.ms - _uncut_ms(tokens, plain, share)
    return ReductionLatency(sum(cut_at) / len(cut_at), beyond_ms / len(cut_at), tokens)


def predicted_ms(schedule: Schedule, table: BlockLatencies) -> float:
    """What the whole model takes by this schedule; a count that was not timed lies between those that were."""
    before, after = np.array(schedule.tokens[:-1]), np.array(schedule.tokens[1:])
    cuts = before[after < before]
    return _uncut_ms(schedule.tokens, table.plain, table.attention_share) + float(_cut_ms(cuts, table.reducing).sum())


def block_ms(counts: Sequence[int], table: BlockLatencies) -> np.ndarray:
    """ms (counts, counts) of a block that the row's count enters and the column's leaves; only the upper triangle
    means something for descending counts."""
    plain, share = _plain_ms(counts, table.plain), table.attention_share
    cut = _cut_ms(np.array(counts), table.reducing)
    both: np.ndarray = share * plain[:, None] + (1 - share) * plain[None, :] + cut[:, None]
    np.fill_diagonal(both, plain)
    return both


def worthwhile(table: BlockLatencies) -> Tuple[int, ...]:
    """The timed counts that a schedule may stand on, descending: each cheaper than all higher ones."""
    kept: List[BlockLatency] = []
    for one in table.plain:
        if not kept or one.ms < (1 - WORTH) * kept[-1].ms:
            kept.append(one)
    return tuple(one.tokens for one in kept)


def _uncut_ms(tokens: Sequence[int], plain: Sequence[BlockLatency], share: float) -> float:
    """All blocks, attention at the count that enters each and MLP at the one that leaves it."""
    each = _plain_ms(tokens, plain)
    return float(share * each[:-1].sum() + (1 - share) * each[1:].sum())


def _plain_ms(counts: Sequence[int], plain: Sequence[BlockLatency]) -> np.ndarray:
    ascending = plain[::-1]
    return np.interp(counts, [p.tokens for p in ascending], [p.ms for p in ascending])


def _cut_ms(counts: np.ndarray, reducing: Sequence[ReductionLatency]) -> np.ndarray:
    """A cut never gains time by itself."""
    found: np.ndarray = np.maximum(0.0, _on_lines(counts, reducing))
    return found


def _on_lines(counts: np.ndarray, reducing: Sequence[ReductionLatency]) -> np.ndarray:
    """Along the lines through neighbouring means, the outer ones prolonged."""
    known = np.array([(r.tokens, r.ms) for r in reducing[::-1]])  # ascending
    if len(known) == 1:
        return np.full(np.shape(counts), known[0, 1])
    right = np.clip(np.searchsorted(known[:, 0], counts), 1, len(known) - 1)
    low, high = known[right - 1], known[right]
    share = (counts - low[..., 0]) / (high[..., 0] - low[..., 0])
    found: np.ndarray = low[..., 1] + share * (high[..., 1] - low[..., 1])
    return found
