"""What the blocks of a model cost on a device: which probes to time, and the latency that any schedule then has.

A probe is an engine of the whole model that is timed only to learn what blocks cost (its candidate's kind is `chain`).
With D blocks, N tokens entering a block, N' leaving it, and s the share of attention in a block's latency:
- Uniform probe, N in every block:  plain(N) = L / D.  Why a whole model: weights then stream through the caches as they
  do in use. Embedding, head and copies are in plain(N), in equal shares.
- A schedule takes  L = sum over blocks of s plain(N) + (1 - s) plain(N') + [N' < N] cut(N).  Attention sees the count
  before a cut, the MLP the count after it. Between timed counts, plain and cut are linear in N.
- Staircase probe, one cut a block from each timed count to the next:  cut(mean N of its cuts) is its latency beyond
  the first two terms, divided by its number of cuts.
- Single-cut probe, one deep cut:  s is the value in 0..1 that predicts its latency exactly.
"""

from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from pomt_trt.core.records import CHAIN, BlockLatencies, BlockLatency, Candidate, Interval, ReductionLatency, Schedule
from pomt_trt.core.schedules.schedule import single_layer
from pomt_trt.core.search.steps import find_steps

FIRST_COUNTS = 24  # timed in any case, besides the model's own
MOST_COUNTS = 48  # timed at most; those beyond the first locate steps
STAIRCASES = 3
SENSITIVE = 0.5  # share of the cut block's saving by which s must move the prediction; else s is not determined
PLAIN = "none"  # the method of uniform probes
WORTH = 0.002  # relative: a count must be so much cheaper than every higher one to be used in a schedule


class TimedProbe(NamedTuple):
    """A probe and its latency."""

    schedule: Schedule
    ms: float


def first_counts(tokens: int, lowest: int) -> Tuple[int, ...]:
    """Counts to begin with, descending: the model's own, multiples of a power of two, and `lowest`.

    Why: kernels work in tiles of powers of two, so most edges and valleys lie there.
    """
    stride = 1
    while (tokens - lowest) / stride > FIRST_COUNTS:
        stride *= 2
    multiples = range(tokens - tokens % stride, lowest, -stride)
    return tuple(sorted({tokens, *multiples, lowest}, reverse=True))


def next_count(plain: Sequence[BlockLatency]) -> Optional[int]:
    """The middle of the widest gap with a step in it; None where every edge is known, or MOST_COUNTS are timed.

    Why: a schedule should use edges. The count above an edge costs a step more; the count below saves very little.
    """
    if len(plain) >= MOST_COUNTS:
        return None
    steps = find_steps([p.tokens for p in plain], [p.ms for p in plain], [p.ci_ms for p in plain])
    gaps = [(step.from_tokens - step.edge_tokens, step.edge_tokens) for step in steps if not step.valley]
    width, edge = max(gaps, default=(0, 0))
    return edge + width // 2 if width > 1 else None


def probe(schedule: Schedule, unreduced: Candidate) -> Candidate:
    """The candidate that is timed for a schedule, with the method, batch and precision of R = 0."""
    method = unreduced.method if schedule.removed else PLAIN
    return Candidate(method, schedule, unreduced.batch_size, unreduced.precision, CHAIN)


def staircases(counts: Sequence[int], depth: int, prefix_tokens: int) -> Tuple[Schedule, ...]:
    """Schedules that go down the timed counts one by one: over the upper, the middle and the lower half of them.

    Cuts are spread evenly over the blocks.
    """
    cuts = min(depth, max(1, len(counts) // 2))
    last = len(counts) - 1 - cuts
    starts = sorted({round(last * number / (STAIRCASES - 1)) for number in range(STAIRCASES)})
    return tuple(_staircase(counts[start : start + cuts + 1], depth, prefix_tokens) for start in starts)


def _staircase(counts: Sequence[int], depth: int, prefix_tokens: int) -> Schedule:
    cuts = len(counts) - 1
    return Schedule(tuple(counts[block * cuts // depth] for block in range(depth + 1)), prefix_tokens)


def single_cut(counts: Sequence[int], depth: int, prefix_tokens: int) -> Schedule:
    """Cuts in the middle block only, to the lowest timed count that leaves half of the patches.

    Why half: every method can remove that much in one block.
    """
    fewest = counts[0] - (counts[0] - prefix_tokens) // 2
    lowest = min([count for count in counts[2:] if count >= fewest], default=counts[1])
    return single_layer(counts[0], depth, prefix_tokens, depth // 2, counts[0] - lowest)


def plain_latency(tokens: int, depth: int, probe_ms: float, probe_ci_ms: Interval) -> BlockLatency:
    """plain(tokens), from the latency of a uniform probe."""
    return BlockLatency(tokens, probe_ms / depth, (probe_ci_ms[0] / depth, probe_ci_ms[1] / depth))


def reductions(
    stairs: Sequence[TimedProbe], single: Optional[TimedProbe], plain: Sequence[BlockLatency]
) -> Tuple[float, Tuple[ReductionLatency, ...]]:
    """BlockLatencies' attention_share and reducing, from timed staircases and a timed single cut.

    The share s is 0.5 where there is no single cut, or where it cuts no deeper than the staircases: their predictions
    then move with s as its own does, and s is not determined.
    """

    def costs(share: float) -> Tuple[ReductionLatency, ...]:
        return tuple(_reduction(one, plain, share) for one in stairs)

    def unexplained_ms(share: float, one: TimedProbe) -> float:  # linear in the share
        cut_ms = _on_lines(np.array(one.schedule.tokens[:1]), costs(share))
        return one.ms - _uncut_ms(one.schedule.tokens, plain, share) - float(cut_ms[0])

    if single is None:
        return 0.5, costs(0.5)
    at_0, at_1 = unexplained_ms(0.0, single), unexplained_ms(1.0, single)
    ends = _plain_ms(single.schedule.tokens, plain)
    is_determined = at_0 - at_1 > SENSITIVE * (ends[0] - ends[-1]) > 0
    share = min(1.0, max(0.0, at_0 / (at_0 - at_1))) if is_determined else 0.5
    return share, costs(share)


def _reduction(stairs: TimedProbe, plain: Sequence[BlockLatency], share: float) -> ReductionLatency:
    tokens = stairs.schedule.tokens
    cut_at = [before for before, after in zip(tokens, tokens[1:]) if after < before]
    beyond_ms = stairs.ms - _uncut_ms(tokens, plain, share)
    return ReductionLatency(sum(cut_at) / len(cut_at), beyond_ms / len(cut_at), tokens)


def predicted_ms(schedule: Schedule, table: BlockLatencies) -> float:
    """The latency of the whole model with this schedule, by the formula above."""
    before, after = np.array(schedule.tokens[:-1]), np.array(schedule.tokens[1:])
    cuts = before[after < before]
    return _uncut_ms(schedule.tokens, table.plain, table.attention_share) + float(_cut_ms(cuts, table.reducing).sum())


def block_ms(counts: Sequence[int], table: BlockLatencies) -> np.ndarray:
    """ms (counts, counts) of a block that the row's count enters and the column's leaves.

    Only the upper triangle has a meaning, since counts descend.
    """
    plain, share = _plain_ms(counts, table.plain), table.attention_share
    cut = _cut_ms(np.array(counts), table.reducing)
    both: np.ndarray = share * plain[:, None] + (1 - share) * plain[None, :] + cut[:, None]
    np.fill_diagonal(both, plain)
    return both


def worthwhile(table: BlockLatencies) -> Tuple[int, ...]:
    """The timed counts that a schedule may use, descending: each is cheaper than all higher ones."""
    kept: List[BlockLatency] = []
    for one in table.plain:
        if not kept or one.ms < (1 - WORTH) * kept[-1].ms:
            kept.append(one)
    return tuple(one.tokens for one in kept)


def _uncut_ms(tokens: Sequence[int], plain: Sequence[BlockLatency], share: float) -> float:
    """The sum over blocks of s plain(N) + (1 - s) plain(N')."""
    each = _plain_ms(tokens, plain)
    return float(share * each[:-1].sum() + (1 - share) * each[1:].sum())


def _plain_ms(counts: Sequence[int], plain: Sequence[BlockLatency]) -> np.ndarray:
    ascending = plain[::-1]
    return np.interp(counts, [p.tokens for p in ascending], [p.ms for p in ascending])


def _cut_ms(counts: np.ndarray, reducing: Sequence[ReductionLatency]) -> np.ndarray:
    """cut(N), never below 0: a cut saves no time by itself."""
    cut_ms: np.ndarray = np.maximum(0.0, _on_lines(counts, reducing))
    return cut_ms


def _on_lines(counts: np.ndarray, reducing: Sequence[ReductionLatency]) -> np.ndarray:
    """Linear interpolation between the staircases' mean counts, and extrapolation beyond them."""
    means = np.array([(r.tokens, r.ms) for r in reducing[::-1]])  # ascending
    if len(means) == 1:
        return np.full(np.shape(counts), means[0, 1])
    right = np.clip(np.searchsorted(means[:, 0], counts), 1, len(means) - 1)
    low, high = means[right - 1], means[right]
    share = (counts - low[..., 0]) / (high[..., 0] - low[..., 0])
    cut_ms: np.ndarray = low[..., 1] + share * (high[..., 1] - low[..., 1])
    return cut_ms
