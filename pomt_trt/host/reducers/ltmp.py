"""Learned thresholds merging and pruning, with a static schedule: the mean counts of the learned thresholds.

In every block the most similar patches are merged as in ToMe, then those that receive the least attention are dropped.
With an image's own counts, this equals the paper's dynamic function on that image. All prefix tokens are protected; the
paper protects the class token.

Source: Bonnaerens and Dambre, "Learned Thresholds Token Merging and Pruning for Vision Transformers", TMLR 2023.
"""

from typing import Any

from torch import Tensor

from pomt_trt.core.errors import UsageError
from pomt_trt.core.records import Schedule
from pomt_trt.host.reducers.common.contract import Need, Shape, Signals, Site, Step, Tokens, UserCounts
from pomt_trt.host.reducers.common.learned import Learned, Thresholds
from pomt_trt.host.reducers.common.matching import Match, Merging, merge, sized, split, stayed
from pomt_trt.host.reducers.common.ranking import ascending, gather_rows, join, margin, rank

FASTER = 1.05  # factor by which the multiplier grows while too few tokens are removed
LARGEST = 1e4  # multiplier at which the search ends


class Ltmp(Merging):
    """Merges, then prunes. Order: prefix, patches at even positions, patches at odd positions."""

    method = "ltmp"
    needs = Need.KEYS | Need.ATTN_FULL
    every_block = True

    def __init__(self, step: Step, *arguments: Any) -> None:
        super().__init__(step, *arguments)
        merges = Need.KEYS if step.merged else Need.NONE
        self.needs = merges | (Need.ATTN_FULL if step.pruned else Need.NONE)

    @classmethod
    def spread(cls, shape: Shape, removed: int, layer: int | None, learned: Learned | None = None) -> Schedule:
        """The mean counts of the learned thresholds, times one multiplier that makes their sum R.

        Cumulative sums are rounded, not counts. What a block cannot remove goes to the next.
        Raises: UsageError where there are no thresholds, they remove nothing, or R is too large.
        """
        if not isinstance(learned, Thresholds):
            raise UsageError("ltmp turns a number of tokens into a schedule by learned thresholds. Train them.")
        means = [(m, p) for m, p in zip(learned.merged_mean, learned.pruned_mean)]
        total = sum(m + p for m, p in means)
        multiplier = removed / total if total > 0 else LARGEST
        while multiplier < LARGEST:
            counts = _taken(means, multiplier, shape.tokens - shape.prefix_tokens, removed)
            if sum(m + p for m, p in counts) == removed:
                return _schedule(counts, shape)
            multiplier *= FASTER
        raise UsageError(
            f"the learned thresholds of ltmp cannot remove {removed} of {shape.tokens} tokens. Choose less."
        )

    @classmethod
    def schedule_from(
        cls, counts: UserCounts, shape: Shape, layer: int | None, learned: Learned | None = None
    ) -> Schedule:
        """From `merged` and `pruned`, one entry for each block."""
        if counts.removed is not None or counts.merged is None or counts.pruned is None:
            raise UsageError("ltmp takes merged=[...] and pruned=[...], one entry a block each, and not removed.")
        for name, each in (("merged", counts.merged), ("pruned", counts.pruned)):
            if len(each) != shape.depth:
                raise UsageError(
                    f"{name} has {len(each)} entries, the model {shape.depth} blocks. Give one entry a block."
                )
        return _schedule(list(zip(counts.merged, counts.pruned)), shape)

    @classmethod
    def steps(cls, schedule: Schedule, layer: int | None) -> list[Step | None]:
        """As Reducer.steps. All blocks up to the last that removes have a step: they order patches as the paper."""
        if layer is not None:
            raise UsageError(f"ltmp acts in every block, but layer {layer} is asked for. Give none.")
        merged, tokens = schedule.merged or (0,) * schedule.depth, schedule.tokens
        last = max((block for block in range(schedule.depth) if tokens[block] > tokens[block + 1]), default=-1)
        return sized(
            _step(block, tokens[block], tokens[block + 1], schedule.prefix_tokens, merged[block])
            if block <= last
            else None
            for block in range(schedule.depth)
        )

    def reduce(self, tokens: Tokens, signals: Signals) -> Tokens:
        importance = None
        if self.step.pruned:
            assert signals.attn is not None
            importance = signals.attn.float().mean((1, 2)).unsqueeze(2)  # (B, N, 1)
        merged, importance = self._merged(tokens, signals, importance)
        return merged if importance is None else self._pruned(merged, importance)

    def _merged(self, tokens: Tokens, signals: Signals, importance: Tensor | None) -> tuple[Tokens, Tensor | None]:
        """Tokens after the merge, and their importance (B, N - m, 1), if there is one."""
        prefix = self.step.prefix_tokens
        if not self.step.merged:
            x, size, importance = (
                None if rows is None else join(*split(rows, prefix)) for rows in (tokens.x, tokens.size, importance)
            )
            assert x is not None
            return tokens._replace(x=x, size=size).moved(lambda rows: join(*split(rows, prefix))), importance
        assert signals.keys is not None
        match = self.match(signals.keys)
        x, size = merge(tokens.x, self.sizes(tokens), match, prefix)
        importance = None if importance is None else _largest(importance, match, prefix)
        left = tokens.cut(x, match.margin)._replace(size=size)
        return left.moved(lambda rows: stayed(rows, match, prefix)), importance

    def _pruned(self, tokens: Tokens, importance: Tensor) -> Tokens:
        """The most important patches, in their order."""
        prefix, kept = self.step.prefix_tokens, self.step.kept_patches
        score = importance[:, prefix:, 0]  # (B, patches)
        stay = ascending(rank(score, kept), kept)
        size = None if tokens.size is None else _kept(tokens.size, stay, prefix)
        left = tokens.cut(_kept(tokens.x, stay, prefix), margin(score, kept))._replace(size=size)
        return left.moved(lambda rows: _kept(rows, stay, prefix))


def _largest(importance: Tensor, match: Match, prefix_tokens: int) -> Tensor:
    """Importance (B, N - r, 1) after a merge: the maximum over the parts of each token."""
    first, even, odd = split(importance, prefix_tokens)
    joining = (match.into * gather_rows(even, match.merged)).transpose(1, 2)  # (B, odd, r)
    odd = join(odd.transpose(1, 2), joining.transpose(1, 2)).amax(1).unsqueeze(2)  # (B, odd, 1)
    staying = [] if match.staying is None else [gather_rows(even, match.staying)]
    return join(first, *staying, odd)


def _kept(rows: Tensor, stay: Tensor, prefix_tokens: int) -> Tensor:
    return join(rows[:, :prefix_tokens], gather_rows(rows[:, prefix_tokens:], stay))


def _step(block: int, tokens_in: int, tokens_out: int, prefix_tokens: int, merged: int) -> Step:
    """The step of a block. Raises UsageError, with the possible range, for impossible counts."""
    most, pruned = (tokens_in - prefix_tokens) // 2, tokens_in - tokens_out - merged
    patches = tokens_out - prefix_tokens
    if not 0 <= merged <= most or pruned < 0 or patches < 1:
        raise UsageError(
            f"ltmp cannot merge {merged} and prune {pruned} of {tokens_in} tokens ({prefix_tokens} prefix) in block "
            f"{block}. Merge 0 to {most} there, and let one patch stay."
        )
    return Step(Site.MID, block, tokens_in, tokens_out, prefix_tokens, patches, merged)


def _schedule(counts: list[tuple[int, int]], shape: Shape) -> Schedule:
    """From (merged, pruned) in each block."""
    left = [shape.tokens]
    for block, (merged, pruned) in enumerate(counts):
        left.append(_step(block, left[-1], left[-1] - merged - pruned, shape.prefix_tokens, merged).tokens_out)
    return Schedule(tuple(left), shape.prefix_tokens, tuple(merged for merged, _ in counts))


def _taken(means: list[tuple[float, float]], multiplier: float, patches: int, most: int) -> list[tuple[int, int]]:
    """(merged, pruned) of each block: cumulative sums are rounded, and at most `most` are removed in all."""
    wanted, taken = 0.0, 0
    counts = []
    for mean_merged, mean_pruned in means:
        wanted += multiplier * mean_merged
        merged = max(0, min(round(wanted) - taken, patches // 2, most - taken))
        wanted, taken, patches = wanted + multiplier * mean_pruned, taken + merged, patches - merged
        pruned = max(0, min(round(wanted) - taken, patches - 1, most - taken))
        taken, patches = taken + pruned, patches - pruned
        counts.append((merged, pruned))
    return counts
