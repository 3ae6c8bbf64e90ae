"""Graphs of block probes hold the scheduled tokens, share the graph set's weights, and compute what PyTorch does."""

import numpy as np
import pytest
import torch

from pomt_trt.core.records import SEARCHED, Candidate, Schedule
from pomt_trt.core.schedules import block_costs, schedule
from pomt_trt.core.storage import store
from pomt_trt.host.graphs import block_probes, export, graph_checks
from tests.host import tiny

COUNTS = (17, 15, 12, 10, 8)


@pytest.fixture(scope="module", params=["pomt", "topk", "tome"])
def made(request, tmp_path_factory):
    """(graph set of R = 0 and R = 4, its record with probes)."""
    work, layer = tmp_path_factory.mktemp("chains"), 2 if request.param == "pomt" else None
    made = tiny.exported(work, tiny.vit(), [0, 4], request.param, layer=layer)
    schedules = [schedule.constant(count, 4, 1) for count in COUNTS]
    schedules += block_costs.staircases(COUNTS, 4, 1)
    asked = [block_costs.probe(one, made.family.candidates[0]) for one in schedules]
    return made, block_probes.extend(made.plan, made.family, asked, made.images, work)


def test_probes_stand_beside_the_graph_set_and_share_its_weights(made):
    exported, found = made
    there = exported.family
    assert found.candidates[:2] == there.candidates and len(found.candidates) == 2 + len(COUNTS) + 3
    assert found._replace(candidates=(), graph_sha256={}) == there._replace(candidates=(), graph_sha256={})
    assert store.sha256_of(str(exported.folder / "weights.bin")) == there.weights_sha256
    for one in found.candidates:
        assert store.sha256_of(str(exported.path(one))) == found.graph_sha256[one.id]
        graph_checks.check(str(exported.path(one)), exported.plan.target, one.schedule.tokens)


def test_a_uniform_probe_computes_what_the_blocks_make_of_the_first_tokens(made):
    exported, found = made
    image = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    vit = exported.plan.module
    for count in COUNTS:
        chain = block_costs.probe(schedule.constant(count, 4, 1), found.candidates[0])
        with torch.no_grad():
            entering = vit.norm_pre(vit._pos_embed(vit.patch_embed(image)))[:, :count]
            expected = vit.forward_head(vit.norm(vit.blocks(entering))).numpy()
        np.testing.assert_allclose(
            exported.logits(chain, image), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max()
        )


def test_a_searched_schedule_joins_the_graph_set_of_its_probes(made):
    exported, _ = made
    plan, there = exported.plan, exported.family
    one = Candidate(plan.method, Schedule((17, 15, 15, 12, 10), 1), 1, kind=SEARCHED)
    found = export.extend(plan, there, [one], exported.images, exported.folder.parent.parent)
    assert found.candidates == (*there.candidates, one)
    graph_checks.check(str(exported.path(one)), plan.target, one.schedule.tokens)
