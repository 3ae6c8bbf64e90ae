"""What cuts cost, block by block: what PyTorch says of each, resumed where it was left."""

import math

import numpy as np
import pytest

from pomt_trt.core.errors import UsageError
from pomt_trt.core.metrics import classification
from pomt_trt.core.metrics.pair import Pair
from pomt_trt.core.records import Schedule
from pomt_trt.host import reducers, sensitivity
from pomt_trt.host.graphs import comparison
from pomt_trt.host.models import token_reduction
from tests.host import tiny


@pytest.fixture(scope="module", params=["pomt", "topk", "tome"])
def measured(request):
    """(plan, R = 0, images, all that measure yields)."""
    plan, spec, images = tiny.plan(tiny.vit(), request.param, layer=1 if request.param == "pomt" else None)
    unreduced = tiny.grid(plan, spec, [0])[0]
    begun = sensitivity.unmeasured(plan, unreduced.schedule, images, 8)
    return plan, unreduced, images, list(sensitivity.measure(plan, unreduced, images, "agreement", begun))


def test_there_is_a_row_a_block_and_the_last_record_has_them_all(measured):
    *_, found = measured
    assert [len(one.kl) for one in found] == [1, 2, 3, 4]
    last = found[-1]
    assert last.counts == (16, 14, 12, 11, 10, 8) and last.images == tiny.IMAGES
    assert all(len(row) == len(last.counts) and min(row) >= 0 for row in last.kl)
    assert last.removable == sensitivity.removable(measured[0].method, 17, 1)


def test_a_value_is_the_divergence_of_that_cut_alone(measured):
    plan, unreduced, images, found = measured
    batch = next(images.batches(tiny.IMAGES))

    def logits(schedule):
        return comparison.logits_and_margins(
            token_reduction.with_schedule(plan.module, plan.method, schedule), batch, 1
        )[0]

    cut = Schedule((17, 17, 17, 12, 12), 1)
    paired = classification.paired("agreement", Pair(logits(unreduced.schedule), logits(cut)), "x", "host-fp32")
    assert found[-1].kl[2][2] == pytest.approx(paired.kl_divergence, rel=1e-4, abs=1e-7)


def test_what_is_known_is_not_measured_again(measured):
    plan, unreduced, images, found = measured
    marked = found[1]._replace(kl=tuple(tuple(-1.0 for _ in row) for row in found[1].kl))
    resumed = list(sensitivity.measure(plan, unreduced, images, "agreement", marked))
    assert [len(one.kl) for one in resumed] == [3, 4] and resumed[-1].kl[:2] == marked.kl
    np.testing.assert_allclose(resumed[-1].kl[2:], found[-1].kl[2:], rtol=1e-4, atol=1e-7)


def test_a_method_that_removes_little_at_a_time_goes_on_in_the_next_block(monkeypatch):
    plan, spec, images = tiny.plan(tiny.vit(), "topk")
    monkeypatch.setattr(reducers.METHODS["topk"], "most_removable", classmethod(lambda cls, patches: min(4, patches)))
    unreduced = tiny.grid(plan, spec, [0])[0]
    assert sensitivity._cut(
        sensitivity.Sensitivity("topk", 8, (8,), sensitivity.removable("topk", 17, 1), ()), unreduced.schedule, 1, 8
    ) == Schedule((17, 17, 13, 9, 8), 1)
    begun = sensitivity.unmeasured(plan, unreduced.schedule, images, 8)
    *_, found = sensitivity.measure(plan, unreduced, images, "agreement", begun)
    assert [math.isnan(row[-1]) for row in found.kl] == [False, False, True, True]  # 9 tokens need three blocks


@pytest.mark.parametrize("method, layer", [("none", None), ("random", None)])
def test_methods_that_remove_nothing_within_blocks_are_refused(method, layer):
    with pytest.raises(UsageError, match=f"--schedule search spreads .* {method} removes nothing within"):
        sensitivity.check(method, layer)


@pytest.mark.parametrize("method", ["ltmp", "cropr"])
def test_methods_that_have_learned_where_to_remove_are_refused(method):
    with pytest.raises(UsageError, match=f"{method} has learned that. Use --method pomt, topk or tome"):
        sensitivity.check(method, None)


@pytest.mark.parametrize("method, layer", [("pomt", 3), ("topk", None), ("tome", None), ("random", 3)])
def test_other_methods_can_be_searched(method, layer):
    sensitivity.check(method, layer)


@pytest.mark.parametrize("tokens, lowest", [(197, 49), (17, 8), (17, 16), (5, 2)])
def test_counts_go_down_to_the_lowest(tokens, lowest):
    counts = sensitivity.counts(tokens, lowest)
    assert counts[-1] == lowest and tokens not in counts and list(counts) == sorted(set(counts), reverse=True)
