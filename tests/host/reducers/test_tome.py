"""ToMe merges the most similar pairs, weighted by size, and its merges can be undone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pomt_trt.core.errors import UsageError
from pomt_trt.core.records import Schedule
from pomt_trt.host import reducers
from pomt_trt.host.reducers import METHODS
from pomt_trt.host.reducers.common.contract import Shape, Signals, Tokens, UserCounts
from tests.host.reducers.made import PREFIXES, merged_by_hand, most, plan, signals


def tome_on_positions(step, keys, size=None):
    """(members, tokens) where each row that enters tells its position."""
    positions = torch.eye(step.tokens_in).expand(len(keys), -1, -1)
    tokens = METHODS["tome"](step).reduce(Tokens(positions, size), Signals(keys=keys))
    return [[set(row.nonzero()[:, 0].tolist()) for row in image] for image in tokens.x], tokens


def test_two_equal_keys_make_one_token_at_the_place_of_the_odd_one():
    keys = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1], [-1, 0.5, 0]])[None]
    members, tokens = tome_on_positions(plan("tome", 5, 1, 1), keys)
    assert members == [[{0}, {4}, {1}, {2, 3}]] and tokens.size.flatten().tolist() == [1, 1, 1, 2]


@settings(deadline=None)
@given(tokens=st.integers(6, 24), prefix=st.sampled_from(PREFIXES), seed=st.integers(0, 99), data=st.data())
def test_tome_merges_the_pairs_that_are_most_alike_by_their_sizes(tokens, prefix, seed, data):
    if most("tome", tokens, prefix) < 1:
        return
    removed = data.draw(st.integers(1, most("tome", tokens, prefix)))
    keys = signals(2, tokens, prefix, width=8, seed=seed).keys
    size = torch.randint(1, 5, (2, tokens, 1), generator=torch.Generator().manual_seed(seed)).float()
    members, left = tome_on_positions(plan("tome", tokens, prefix, removed)._replace(sized=True), keys, size)
    for image in range(2):
        assert members[image] == merged_by_hand(keys[image].double().numpy(), removed, prefix)
        assert left.size[image].sum() == size[image].sum()
    assert torch.allclose(left.x.sum(2), torch.ones(2, tokens - removed), atol=1e-6), "the weights of a mean"
    assert torch.allclose((left.x * left.size).sum(1), size[..., 0], atol=1e-5), "each token counts by its size"


@pytest.mark.parametrize(
    "removed, expected",
    [
        (16, [16] * 11 + [10]),
        ((16, -1), [32, 29, 26, 23, 20, 17, 14, 11, 8, 5, 2, 0]),
        ((8, 0), [8] * 12),
        ([0, 98, 98] + [0] * 9, [0, 98, 49] + [0] * 9),
    ],
    ids=str,
)
def test_tome_clips_to_what_a_block_can_merge_and_says_so(removed, expected, caplog):
    found = METHODS["tome"].schedule_from(UserCounts(removed), Shape(197, 12, 1), None)
    assert [before - after for before, after in zip(found.tokens, found.tokens[1:])] == expected
    clipped = sum(expected) < (192 if removed == 16 else 196 if isinstance(removed, list) else 0)
    assert ("tome merges" in caplog.text) == clipped


def test_a_slope_that_leads_below_zero_is_refused():
    with pytest.raises(UsageError, match=r"removed is \(16, -2\): give a count of 0 or more, and -1 to 1"):
        METHODS["tome"].schedule_from(UserCounts((16, -2)), Shape(197, 12, 1), None)


@given(st.integers(4, 30), st.integers(0, 3), st.integers(0, 1000), st.data())
def test_every_token_finds_the_one_that_it_was_merged_into(tokens, prefix, seed, data):
    """Rows that say what a token is made of: each original gets back the mean of a group that it is in."""
    first = data.draw(st.integers(0, most("tome", tokens, prefix)))
    second = data.draw(st.integers(0, most("tome", tokens - first, prefix)))
    schedule = Schedule((tokens, tokens - first, tokens - first - second), prefix)
    steps = METHODS["tome"].steps(schedule, None)
    acting = reducers.made("tome", steps, 0)
    now = Tokens(torch.eye(tokens).expand(2, -1, -1), merges=())
    for step in steps:
        if step is not None:
            keys = torch.randn(2, step.tokens_in, 3, generator=torch.Generator().manual_seed(seed + step.layer))
            now = acting[str(step.layer)].reduce(now, Signals(keys=keys))
    found = reducers.restored(now, now.x, tokens)  # (2, tokens, tokens)
    assert found.shape == (2, tokens, tokens) and len(now.merges) == (first > 0) + (second > 0)
    own = found.diagonal(dim1=1, dim2=2)  # 1 / size of its group
    sizes = (found > 0).sum(2)
    assert torch.allclose(own * sizes, torch.ones(2, tokens)) and bool((sizes[:, :prefix] == 1).all())
