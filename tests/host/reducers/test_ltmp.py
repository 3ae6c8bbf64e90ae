"""LTMP spreads R by its thresholds, merges, then prunes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pomt_trt.core.errors import UsageError
from pomt_trt.host import reducers
from pomt_trt.host.reducers import METHODS
from pomt_trt.host.reducers.common.contract import Shape, Signals, Tokens, UserCounts
from tests.host import tiny
from tests.host.reducers.made import PREFIXES, merged_by_hand, rows, signals


@given(
    tokens=st.sampled_from([17, 50, 197]),
    depth=st.integers(1, 12),
    prefix=st.sampled_from(PREFIXES),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_ltmp_spreads_r_by_what_its_thresholds_remove(tokens, depth, prefix, seed, data):
    generator = np.random.RandomState(seed)
    merged, pruned = (tuple(generator.uniform(0.1, 9, depth).tolist()) for _ in range(2))
    learned = tiny.learned("ltmp", depth)._replace(merged_mean=merged, pruned_mean=pruned)
    removed = data.draw(st.integers(0, tokens - prefix - 1))
    try:
        found = reducers.schedule_for("ltmp", Shape(tokens, depth, prefix), removed, None, learned)
    except UsageError:
        assert removed > (tokens - prefix) // 2, "half can always be merged, or as many pruned"
        return
    assert found.removed == removed and found.tokens_before == tokens and len(found.merged) == depth
    total = sum(merged) + sum(pruned)
    if removed <= min((tokens - prefix) // 4, total):
        gone, wanted = 0, 0.0
        for block in range(depth):
            wanted += (merged[block] + pruned[block]) * removed / total
            gone += found.tokens[block] - found.tokens[block + 1]
            assert abs(gone - wanted) <= 0.5 + 1e-9, "sums are rounded, not counts"


def test_thresholds_that_remove_nothing_spread_nothing():
    none = (0.0,) * 4
    learned = tiny.learned("ltmp")._replace(merged_mean=none, pruned_mean=none)
    with pytest.raises(UsageError, match="the learned thresholds of ltmp cannot remove 3 of 17 tokens. Choose less"):
        reducers.schedule_for("ltmp", Shape(17, 4, 1), 3, None, learned)
    for method, message in (("ltmp", "by learned thresholds. Train them"), ("cropr", "by learned scorers")):
        with pytest.raises(UsageError, match=message):
            reducers.schedule_for(method, Shape(17, 4, 1), 3)


def test_blocks_after_the_last_that_removes_are_left_alone_and_those_before_it_bring_patches_into_order():
    schedule = METHODS["ltmp"].schedule_from(UserCounts(None, [0, 2, 0], [0, 0, 0]), Shape(9, 3, 1), None)
    steps = METHODS["ltmp"].steps(schedule, None)
    assert steps[2] is None and (steps[0].merged, steps[0].pruned, steps[1].merged) == (0, 0, 2)
    left = METHODS["ltmp"](steps[0]).reduce(Tokens(rows(1, 9)), Signals()).x
    assert left[0, :, 1].tolist() == [0, 2, 4, 6, 8, 1, 3, 5, 7]


@settings(deadline=None)
@given(
    tokens=st.integers(8, 24),
    prefix=st.sampled_from(PREFIXES),
    merged=st.integers(0, 3),
    pruned=st.integers(0, 2),
    seed=st.integers(0, 99),
)
def test_ltmp_merges_and_then_prunes_what_is_least_attended_to(tokens, prefix, merged, pruned, seed):
    if merged > (tokens - prefix) // 2 or tokens - prefix - merged - pruned < 1:
        return
    sig = signals(2, tokens, prefix, width=8, seed=seed)
    counts = UserCounts(None, [merged], [pruned])
    schedule = METHODS["ltmp"].schedule_from(counts, Shape(tokens, 1, prefix), None)
    step = METHODS["ltmp"].steps(schedule, None)[0]
    if step is None:
        return
    left = METHODS["ltmp"](step).reduce(Tokens(torch.eye(tokens).expand(2, -1, -1)), sig)
    for image in range(2):
        received = sig.attn[image].double().mean((0, 1)).numpy()
        members = merged_by_hand(sig.keys[image].double().numpy(), merged, prefix)
        ranked = sorted(range(prefix, len(members)), key=lambda i: (-max(received[list(members[i])]), i))
        kept = [*range(prefix), *sorted(ranked[: len(ranked) - pruned])]
        assert [set(row.nonzero()[:, 0].tolist()) for row in left.x[image]] == [members[i] for i in kept]
        if merged:
            assert left.size[image, :, 0].tolist() == [len(members[i]) for i in kept]
