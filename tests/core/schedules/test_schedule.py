"""Static token counts: they never grow, always leave a patch token, and name what is impossible."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomt_trt.core.errors import UsageError
from pomt_trt.core.schedules import schedule

SHAPES = st.tuples(st.integers(3, 400), st.integers(1, 24), st.integers(0, 2))  # tokens, depth, prefix tokens


def never_grows(counts):
    return all(before >= after for before, after in zip(counts, counts[1:]))


@given(SHAPES, st.data())
def test_a_single_layer_removes_exactly_there(shape, data):
    tokens, depth, prefix = shape
    removed = data.draw(st.integers(0, tokens - prefix - 1))
    layer = data.draw(st.integers(0, depth - 1))
    made = schedule.single_layer(tokens, depth, prefix, layer, removed)
    assert made.tokens[: layer + 1] == (tokens,) * (layer + 1)
    assert made.tokens[layer + 1 :] == (tokens - removed,) * (depth - layer)
    assert (made.removed, made.depth, made.prefix_tokens) == (removed, depth, prefix)


@given(SHAPES, st.data())
def test_an_even_schedule_never_grows_and_removes_all_it_was_asked_to(shape, data):
    tokens, depth, prefix = shape
    removed = data.draw(st.integers(0, tokens - prefix - 1))
    made = schedule.even(tokens, depth, prefix, removed)
    assert never_grows(made.tokens) and made.tokens_after == tokens - removed > prefix and made.depth == depth
    steps = [before - after for before, after in zip(made.tokens, made.tokens[1:])]
    assert max(steps) - min(steps) <= 1  # spread evenly


@given(st.integers(3, 200), st.integers(0, 2), st.lists(st.integers(0, 40), min_size=1, max_size=12))
def test_a_schedule_per_block_never_grows_or_is_refused(tokens, prefix, removed):
    if tokens - sum(removed) > prefix:
        made = schedule.per_block(tokens, prefix, removed)
        assert never_grows(made.tokens) and made.removed == sum(removed) and made.depth == len(removed)
    else:
        with pytest.raises(UsageError, match="at least one patch token must stay. Remove fewer"):
            schedule.per_block(tokens, prefix, removed)


def test_halves_of_an_even_schedule_round_up():
    assert schedule.even(197, 4, 1, 2).tokens == (197, 196, 196, 195, 195)


def test_the_constant_schedule_removes_nothing():
    made = schedule.constant(197, 12, 1)
    assert made.tokens == (197,) * 13 and made.removed == 0


def test_rejects_schedule_that_grows():
    with pytest.raises(UsageError, match="block 1 cannot remove -1 of 15 tokens"):
        schedule.per_block(17, 1, [2, -1])


@pytest.mark.parametrize("layer", [-1, 12])
def test_a_layer_that_does_not_exist_is_refused_with_those_that_do(layer):
    with pytest.raises(UsageError, match="layer {} .* 12 blocks. Choose --layer 0 to 11".format(layer)):
        schedule.single_layer(197, 12, 1, layer, 5)


@pytest.mark.parametrize("removed", [-1, 196])
def test_removing_too_much_is_refused_with_the_most_there_is(removed):
    with pytest.raises(
        UsageError, match="R = {} .* 197 tokens with 1 prefix tokens allow R from 0 to 195".format(removed)
    ):
        schedule.even(197, 12, 1, removed)


@given(st.integers(1, 500), st.integers(0, 500), st.integers(1, 60))
def test_what_is_written_as_a_range_is_read_back(stop, more, step):
    assert schedule.parse_range("{}:{}:{}".format(stop + more, stop, step)) == (stop + more, stop, step)


def test_the_step_of_a_range_may_be_left_out():
    assert schedule.parse_range("196:96") == (196, 96, 1)


@pytest.mark.parametrize("text", ["", "196", "196:96:4:2", "a:b:c", "196:96:", "1.5:1:1"])
def test_what_is_no_range_is_refused_with_the_form_expected(text):
    with pytest.raises(UsageError, match="takes START:STOP:STEP such as 196:96:4, not '{}'".format(text)):
        schedule.parse_range(text)


@given(st.integers(-300, 300), st.integers(-300, 300), st.integers(-50, 50))
def test_a_range_that_does_not_count_down_is_refused_with_one_that_does(start, stop, step):
    text = "{}:{}:{}".format(start, stop, step)
    try:
        schedule.parse_range(text)
    except UsageError as error:
        suggested = str(error).rpartition("Try ")[2].rstrip(".")
        assert schedule.parse_range(suggested)
    else:
        assert start >= stop >= 1 and step >= 1


@given(st.integers(2, 400), st.data())
def test_a_grid_starts_with_the_model_itself_and_counts_down_to_stop(tokens, data):
    start = data.draw(st.integers(1, tokens))
    stop = data.draw(st.integers(1, start))
    step = data.draw(st.integers(1, 50))
    made = schedule.grid(tokens, start, stop, step)
    assert made[0] == tokens and made == sorted(set(made), reverse=True)
    assert all(stop <= count <= start and (start - count) % step == 0 for count in made[1:])
    assert (start - stop) % step or stop in made  # included when landed on


def test_a_grid_above_the_model_is_refused_with_where_to_start():
    with pytest.raises(UsageError, match="starts at 198, but the model has 197 tokens. Start at 196"):
        schedule.grid(197, 198, 96, 4)
