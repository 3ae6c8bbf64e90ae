"""Which counts are timed, and what a schedule costs by them, beside a machine whose blocks cost what we say."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomt_trt.core.records import BlockLatencies, Schedule
from pomt_trt.core.schedules import block_costs, schedule

DEPTH, TOKENS = 12, 197
SHARE = 0.7  # of a block: its attention


def smooth_ms(tokens):
    """A block on a machine without steps."""
    return 0.1 + 2e-3 * tokens + 4e-6 * tokens**2


def stepped_ms(tokens):
    """A block on a machine whose kernels work in tiles of 32 tokens, but begin a new one 3 tokens late."""
    return 0.1 * math.ceil((tokens - 3) / 32)


def cut_ms(tokens):
    return 0.02 + 1e-4 * tokens


def model_ms(tokens, block_ms, embedding_ms=0.3):
    """A whole model: embedding and head, its blocks, and what cuts cost; attention sees the count before a cut."""
    total = embedding_ms
    for before, after in zip(tokens, tokens[1:]):
        total += SHARE * block_ms(before) + (1 - SHARE) * block_ms(after) + (cut_ms(before) if after < before else 0.0)
    return total


def table_of(counts, block_ms, depth=DEPTH, noise=0.0):
    """What timing probes on that machine gives."""

    def timed(probe):
        ms = model_ms(probe.tokens, block_ms)
        return ms, ((1 - 1e-3) * ms, (1 + 1e-3) * ms)

    plain = tuple(block_costs.plain_latency(n, depth, *timed(schedule.constant(n, depth, 1))) for n in counts)
    stairs = [block_costs.TimedProbe(walk, timed(walk)[0]) for walk in block_costs.staircases(counts, depth, 1)]
    deep = block_costs.single_cut(counts, depth, 1)
    found = block_costs.reductions(stairs, block_costs.TimedProbe(deep, timed(deep)[0]), plain)
    return BlockLatencies("d", "onnxruntime", "1", "op17-fp32", "pomt", 1, depth, plain, *found)


@given(st.integers(2, 1400), st.integers(1, 1400))
def test_first_counts_span_the_range_and_are_few(tokens, lowest):
    lowest = min(lowest, tokens)
    counts = block_costs.first_counts(tokens, lowest)
    assert counts[0] == tokens and counts[-1] == lowest
    assert list(counts) == sorted(set(counts), reverse=True) and len(counts) <= block_costs.FIRST_COUNTS + 3


def test_first_counts_of_common_models():
    assert block_costs.first_counts(197, 49)[:4] == (197, 192, 184, 176)
    assert block_costs.first_counts(17, 8) == (17, 16, 15, 14, 13, 12, 11, 10, 9, 8)
    assert block_costs.first_counts(1370, 342)[:3] == (1370, 1344, 1280)


@given(st.integers(2, 24), st.integers(2, 30))
def test_staircases_go_down_the_counts_and_reach_both_ends(depth, size):
    counts = tuple(range(200, 200 - 4 * size, -4))
    stairs = block_costs.staircases(counts, depth, 1)
    assert 1 <= len(stairs) <= block_costs.STAIRCASES
    for one in stairs:
        assert one.depth == depth and set(one.tokens) <= set(counts)
        cuts = [counts.index(b) - counts.index(a) for a, b in zip(one.tokens, one.tokens[1:])]
        assert set(cuts) <= {0, 1} and sum(cuts) == min(depth, max(1, size // 2))
    assert stairs[0].tokens[0] == counts[0] and stairs[-1].tokens[-1] == counts[-1]


@given(st.lists(st.integers(0, 24), min_size=DEPTH, max_size=DEPTH))
def test_a_schedule_on_timed_counts_is_predicted_exactly_where_costs_add_up(indices):
    counts = tuple(range(TOKENS, 48, -6))
    table = table_of(counts, smooth_ms)
    tokens = (TOKENS,) + tuple(counts[min(i, len(counts) - 1)] for i in sorted(indices))
    found = block_costs.predicted_ms(Schedule(tokens, 1), table)
    assert found == pytest.approx(model_ms(tokens, smooth_ms), rel=1e-9)


def test_the_share_of_attention_is_found():
    table = table_of(block_costs.first_counts(TOKENS, 49), smooth_ms)
    assert table.attention_share == pytest.approx(SHARE) and table.reducing[0].ms == pytest.approx(
        cut_ms(table.reducing[0].tokens)
    )


@pytest.mark.parametrize("single_ms, share", [(None, 0.5), (0.0, 0.0), (100.0, 1.0)])
def test_without_a_single_cut_half_of_a_block_is_its_attention_and_noise_makes_it_no_more_than_all(single_ms, share):
    counts = block_costs.first_counts(TOKENS, 49)
    plain = table_of(counts, smooth_ms).plain
    stairs = [
        block_costs.TimedProbe(walk, model_ms(walk.tokens, smooth_ms))
        for walk in block_costs.staircases(counts, DEPTH, 1)
    ]
    single = None if single_ms is None else block_costs.TimedProbe(block_costs.single_cut(counts, DEPTH, 1), single_ms)
    assert block_costs.reductions(stairs, single, plain)[0] == share


def test_where_staircases_cut_as_deep_the_share_is_not_determined():
    assert table_of((TOKENS, 128, 64), smooth_ms).attention_share == 0.5


@given(st.integers(1, 24), st.integers(2, 30))
def test_a_single_cut_cuts_once_and_leaves_half_of_the_patches(depth, size):
    counts = tuple(range(200, 200 - 6 * size, -6))
    tokens = block_costs.single_cut(counts, depth, 1).tokens
    assert len(tokens) == depth + 1 and set(tokens) <= set(counts) and len(set(tokens)) == 2
    assert tokens[0] == 200 and tokens[-1] - 1 >= (200 - 1) // 2 - 1


def test_embedding_and_head_are_counted_once():
    table = table_of((TOKENS, 128, 64), lambda tokens: 0.0)
    assert block_costs.predicted_ms(schedule.constant(TOKENS, DEPTH, 1), table) == pytest.approx(0.3)


@given(st.integers(0, 11), st.integers(0, 140))
def test_counts_between_the_timed_ones_lie_on_a_line(layer, removed):
    table = table_of(block_costs.first_counts(TOKENS, 49), smooth_ms)
    asked = schedule.single_layer(TOKENS, DEPTH, 1, layer, removed)
    assert block_costs.predicted_ms(asked, table) == pytest.approx(model_ms(asked.tokens, smooth_ms), rel=2e-3)


@given(st.lists(st.sampled_from(block_costs.first_counts(TOKENS, 49)), min_size=DEPTH, max_size=DEPTH))
def test_the_matrix_of_blocks_adds_up_to_the_prediction(counts):
    table = table_of(block_costs.first_counts(TOKENS, 49), smooth_ms)
    states = block_costs.worthwhile(table)
    tokens = (TOKENS,) + tuple(sorted(counts, reverse=True))
    ms = block_costs.block_ms(states, table)
    added = sum(ms[states.index(a), states.index(b)] for a, b in zip(tokens, tokens[1:]))
    assert added == pytest.approx(block_costs.predicted_ms(Schedule(tokens, 1), table))


def test_every_edge_is_found_to_the_token_and_schedules_stand_on_edges():
    counts = block_costs.first_counts(TOKENS, 49)
    while True:
        table = table_of(sorted(counts, reverse=True), stepped_ms)
        more = block_costs.next_count(table.plain)
        if more is None:
            break
        assert more not in counts
        counts += (more,)
    assert len(counts) < block_costs.MOST_COUNTS
    assert block_costs.worthwhile(table)[1:] == (195, 163, 131, 99, 67)


def test_without_steps_no_more_counts_are_timed_than_at_first():
    assert block_costs.next_count(table_of(block_costs.first_counts(TOKENS, 49), smooth_ms).plain) is None


def test_a_cut_gains_no_time_by_itself():
    table = table_of(block_costs.first_counts(TOKENS, 49), smooth_ms)
    cheaper = table._replace(reducing=tuple(r._replace(ms=-1.0) for r in table.reducing))
    asked = schedule.single_layer(TOKENS, DEPTH, 1, 3, 69 - 64)
    free = model_ms(asked.tokens, smooth_ms) - cut_ms(TOKENS)
    assert block_costs.predicted_ms(asked, table) > free
    assert block_costs.predicted_ms(asked, cheaper) == pytest.approx(free)


def test_a_table_of_one_staircase_predicts_too():
    table = table_of((17, 9), smooth_ms, depth=4)
    assert len(table.reducing) == 1
    assert block_costs.predicted_ms(Schedule((17, 17, 9, 9, 9), 1), table) > 0
