"""The search over schedules, beside trying all of them."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomt_trt.core.records import Sensitivity
from pomt_trt.core.schedules.schedule_pareto import Costs, ParetoSchedule, front, losses, within

COUNTS = (17, 13, 9, 5)
ANY = tuple(range(18))  # a block can remove all that enters it


def brute_force(costs):
    """(latency, loss) of every schedule that never grows."""
    states, results = range(len(costs.counts)), []
    for path in itertools.product(states, repeat=len(costs.loss)):
        walk = (0,) + path
        steps = list(zip(walk, path))
        if all(before <= after for before, after in steps):
            ms = sum(costs.ms[step] for step in steps)
            loss = sum(costs.loss[(block,) + step] for block, step in enumerate(steps))
            if math.isfinite(ms + loss):
                results.append((ms, loss))
    return results


def cost_of(costs, tokens):
    """(latency, loss) of one schedule, added up."""
    states = [costs.counts.index(count) for count in tokens]
    steps = list(zip(states, states[1:]))
    return sum(costs.ms[s] for s in steps), sum(costs.loss[(b,) + s] for b, s in enumerate(steps))


@st.composite
def all_costs(draw):
    """Of up to four blocks and four counts; some cuts cannot be made. Quarters add up exactly."""
    blocks, counts = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    quarter = st.integers(0, 40).map(lambda n: n / 4)
    table = st.lists(quarter, min_size=counts**2, max_size=counts**2).map(lambda v: np.reshape(v, (counts, counts)))
    ms, loss = draw(table), np.stack([draw(table) for _ in range(blocks)])
    barred = draw(st.lists(st.booleans(), min_size=counts**2, max_size=counts**2))
    loss[:, np.reshape(barred, (counts, counts))] = np.inf
    loss[:, np.arange(counts), np.arange(counts)] = 0.0
    return Costs(COUNTS[:counts], ms, loss)


@given(all_costs())
def test_the_front_is_the_pareto_set_of_all_schedules(costs):
    everything = brute_force(costs)
    pareto = {
        one for one in everything if not any(a <= one[0] and b <= one[1] and (a, b) != one for a, b in everything)
    }
    schedules = front(costs)
    assert {(one.latency_ms, one.loss) for one in schedules} == pareto and len(schedules) == len(pareto)


@given(all_costs(), st.sampled_from([0.0, 0.3, 5.0]))
def test_what_is_found_costs_what_is_said(costs, resolution_ms):
    found = front(costs, resolution_ms)
    assert found
    for one in found:
        assert one.tokens[0] == costs.counts[0] and list(one.tokens) == sorted(one.tokens, reverse=True)
        assert (one.latency_ms, one.loss) == cost_of(costs, one.tokens)


@given(all_costs(), st.integers(0, 120))
def test_the_best_within_a_budget_is_the_best_there_is(costs, budget):
    affordable = [loss for ms, loss in brute_force(costs) if ms <= budget / 2]
    chosen = within(front(costs), budget / 2)
    assert [one.loss for one in chosen] == ([min(affordable)] if affordable else [])


@given(all_costs(), st.sampled_from([0.1, 1.0, 4.0]))
def test_a_coarse_front_is_at_most_a_slot_a_block_slower_than_the_exact_one(costs, resolution_ms):
    coarse, slack_ms = front(costs, resolution_ms), resolution_ms * len(costs.loss)
    for one in front(costs):
        assert any(c.loss <= one.loss and c.latency_ms <= one.latency_ms + slack_ms for c in coarse)


def test_a_cut_in_a_single_block_is_found_where_it_is_the_best():
    ms = np.array([[4.0, 3.5, 3.0, 2.5], [0, 3.0, 2.5, 2.0], [0, 0, 2.0, 1.5], [0, 0, 0, 1.0]])
    ms[np.triu_indices(4, 1)] += 3.0  # a cut costs so much that two never pay
    kl = ((9.0, 9.0, 9.0), (0.1, 0.2, 0.4), (0.2, 0.3, 0.5), (0.3, 0.4, 0.6))
    early = Sensitivity("pomt", 8, (13, 9, 5), ANY, kl)
    schedules = front(Costs(COUNTS, ms, losses(early, COUNTS)))
    assert all(len(set(one.tokens)) <= 2 for one in schedules)
    assert within(schedules, 12.0) == [ParetoSchedule((17, 17, 5, 5, 5), 4 + 5.5 + 1 + 1, pytest.approx(0.4))]


def test_cuts_are_spread_where_each_is_cheap_and_deep_ones_lose_much():
    ms = np.array([[4.0, 3.5, 3.0, 2.5], [0, 3.0, 2.5, 2.0], [0, 0, 2.0, 1.5], [0, 0, 0, 1.0]])
    steep = Sensitivity("pomt", 8, (13, 9, 5), ANY, ((0.1, 5.0, 9.0), (0.1, 0.4, 9.0), (0.1, 0.4, 0.5)))
    schedules = within(front(Costs(COUNTS, ms, losses(steep, COUNTS))), 7.6)
    assert schedules[0].tokens == (17, 13, 9, 5) and schedules[0].loss == pytest.approx(0.1 + 0.3 + 0.1)


def test_a_loss_telescopes_within_a_block_and_never_falls():
    sensitivity = Sensitivity("pomt", 8, (13, 5), ANY, ((0.2, 0.1), (0.4, 0.8)))
    loss = losses(sensitivity, COUNTS)
    assert loss[0, 0].tolist() == pytest.approx([0.0, 0.2, 0.2, 0.2])  # what falls is noise
    assert loss[1, 0].tolist() == pytest.approx([0.0, 0.4, 0.6, 0.8])
    assert loss[1, 0, 1] + loss[1, 1, 3] == pytest.approx(loss[1, 0, 3])


def test_there_is_no_way_where_the_method_cannot_go():
    half = tuple(count // 2 for count in range(18))
    loss = losses(Sensitivity("tome", 8, (13, 5), half, ((0.2, math.nan), (0.4, 0.8))), COUNTS)
    assert np.isinf(loss[0, :, 2]).tolist() == [True, True, False, True]  # 9 lies beyond what was reached; stay may
    assert np.isinf(loss[1, :2, 3]).all() and loss[1, 2, 3] == pytest.approx(0.8 - 0.6)  # half of 13 is 6
    assert np.diagonal(loss, axis1=1, axis2=2).max() == 0.0


def test_many_blocks_and_counts_take_seconds():
    counts = tuple(range(197, 48, -6))
    each = np.array(counts) / 100.0
    ms = (each[:, None] + each[None, :]) / 2 + 0.05
    np.fill_diagonal(ms, each)
    kl = tuple(tuple(0.002 * (layer + 1) ** -0.5 * (197 - c) ** 1.5 for c in counts[1:]) for layer in range(12))
    costs = Costs(counts, ms, losses(Sensitivity("pomt", 8, counts[1:], tuple(range(198)), kl), counts))
    schedules = front(costs, 12 * each[0] / 2000)
    assert schedules[-1].tokens == (197,) * 13 and len(schedules) > 50
