"""All methods: counts in plain integers, and schedules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomt_trt.core.errors import UsageError
from pomt_trt.core.schedules import schedule as schedules
from pomt_trt.host import reducers
from pomt_trt.host.reducers import METHODS
from pomt_trt.host.reducers.common.contract import Shape, Site, Tokens
from tests.host import tiny
from tests.host.reducers.made import PREFIXES, most, plan, rows, signals

ACTING = ("random", "topk", "pomt", "pomt-shift", "tome")


@pytest.mark.parametrize("method, prefix", [(m, p) for m in ACTING for p in PREFIXES if m != "topk" or p > 0])
def test_every_plan_is_what_reduce_does(method, prefix):
    sizes = [(n, range(1, most(method, n, prefix) + 1)) for n in range(5, 41, 3)]
    sizes += [(n, (1, 56, most(method, n, prefix))) for n in (196, 197, 198, 201)]
    for tokens, all_removed in sizes:
        sig = signals(1, tokens, prefix)
        for removed in all_removed:
            step = plan(method, tokens, prefix, removed)
            assert step is not None
            reduced = METHODS[method](step).reduce(Tokens(rows(1, tokens)), sig).x
            assert reduced.shape == (1, tokens - removed, 2) and step.tokens_out == tokens - removed
            assert reduced[0, :prefix, 1].tolist() == list(range(prefix))


@pytest.mark.parametrize("method", ACTING)
@given(
    tokens=st.sampled_from([*range(5, 41), 196, 197, 198, 201, 1025]), prefix=st.sampled_from(PREFIXES), data=st.data()
)
def test_refuses_what_is_out_of_range_and_says_the_range(method, tokens, prefix, data):
    prefix = max(prefix, 1) if method == "topk" else prefix
    limit = max(most(method, tokens, prefix), 0)
    removed = data.draw(st.one_of(st.integers(-9, -1), st.integers(limit + 1, tokens)))
    with pytest.raises(UsageError, match=rf"cannot remove {removed} of {tokens} tokens.* Choose 0 to {limit} there"):
        plan(method, tokens, prefix, removed)


@pytest.mark.parametrize("method", METHODS)
def test_removing_nothing_is_no_step(method):
    schedule = reducers.schedule_for(method, Shape(197, 12, 1), 0, None, tiny.learned(method, 12))
    assert METHODS[method].steps(schedule, None) == [None] * 12


def test_topk_says_why_it_needs_a_prefix_token():
    with pytest.raises(UsageError, match="class token's attention.*Use pomt or random"):
        plan("topk", 196, 0, 4)


def test_unknown_method_names_the_known_ones():
    with pytest.raises(UsageError, match="'prune'.*none, random, topk, pomt"):
        reducers.find("prune")


def test_one_number_becomes_a_schedule():
    assert reducers.schedule_for("pomt", Shape(197, 12, 1), 56) == schedules.single_layer(197, 12, 1, 3, 56)
    assert reducers.schedule_for("pomt", Shape(197, 12, 1), 56, layer=5) == schedules.single_layer(197, 12, 1, 5, 56)
    assert reducers.schedule_for("random", Shape(197, 12, 1), 56) == schedules.single_layer(197, 12, 1, 0, 56)
    assert reducers.schedule_for("topk", Shape(197, 12, 1), 50) == schedules.even(197, 12, 1, 50)
    assert reducers.schedule_for("none", Shape(197, 12, 1), 0) == schedules.constant(197, 12, 1)


@pytest.mark.parametrize("method, layer", [("pomt", 4), ("pomt", None), ("random", 4), ("topk", None)])
def test_a_schedule_says_itself_in_which_blocks_it_acts(method, layer):
    steps = METHODS[method].steps(schedules.per_block(197, 1, [0, 0, 0, 56, 0, 8, 8, 0, 0, 0, 0, 0]), layer)
    assert [(s.layer, s.tokens_in, s.tokens_out) for s in steps if s] == [(3, 197, 141), (5, 141, 133), (6, 133, 125)]
    assert {s.site for s in steps if s} == {Site.MID}


def test_what_acts_before_the_first_block_acts_nowhere_else():
    with pytest.raises(UsageError, match=r"removes tokens in blocks \[3\], but without a layer .* Give a layer"):
        METHODS["random"].steps(schedules.single_layer(197, 12, 1, 3, 56), None)
