"""Graphs of block probes hold the scheduled tokens, share the graph set's weights, and compute what PyTorch does."""

import numpy as np
import pytest
import torch

from pomt_trt.core.records import Schedule
from pomt_trt.core.schedules import block_costs, schedule
from pomt_trt.core.storage import store
from pomt_trt.host.graphs import block_probes, comparison, export, graph_checks
from tests.host import tiny

COUNTS = (17, 15, 12, 10, 8)


@pytest.fixture(scope="module", params=["pomt", "topk", "tome"])
def made(request, tmp_path_factory):
    """(plan, graph set of R = 0 and R = 4, the same with probes, folder)."""
    plan, spec, images = tiny.plan(tiny.vit(), request.param, layer=2 if request.param == "pomt" else None)
    work = tmp_path_factory.mktemp("chains")
    grid = tiny.grid(plan, spec, [0, 4])
    there = export.export(plan, grid, images, work)
    folder = work / "onnx" / there.form
    plain = [schedule.constant(count, spec.depth, 1) for count in COUNTS]
    asked = [block_costs.probe(one, grid[0]) for one in [*plain, *block_costs.staircases(COUNTS, spec.depth, 1)]]
    return plan, there, block_probes.extend(plan, there, asked, images, work), folder


def test_probes_stand_beside_the_graph_set_and_share_its_weights(made):
    plan, there, found, folder = made
    assert found.candidates[:2] == there.candidates and len(found.candidates) == 2 + len(COUNTS) + 3
    assert found._replace(candidates=(), graph_sha256={}) == there._replace(candidates=(), graph_sha256={})
    assert store.sha256_of(str(folder / "weights.bin")) == there.weights_sha256
    for one in found.candidates:
        assert store.sha256_of(str(folder / f"{one.id}.onnx")) == found.graph_sha256[one.id]
        graph_checks.check(str(folder / f"{one.id}.onnx"), plan.target, one.schedule.tokens)


def test_a_uniform_probe_computes_what_the_blocks_make_of_the_first_tokens(made):
    plan, _, found, folder = made
    image = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    vit = plan.module
    for count in COUNTS:
        chain = block_costs.probe(schedule.constant(count, 4, 1), found.candidates[0])
        with torch.no_grad():
            entering = vit.norm_pre(vit._pos_embed(vit.patch_embed(image)))[:, :count]
            expected = vit.forward_head(vit.norm(vit.blocks(entering))).numpy()
        logits = comparison.run_onnx(folder / f"{chain.id}.onnx", image.numpy(), 1)
        np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_a_probe_with_all_tokens_is_the_unreduced_model(made):
    _, _, found, folder = made
    image = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1)).numpy()
    probe = block_costs.probe(schedule.constant(17, 4, 1), found.candidates[0])
    logits, unreduced = (comparison.run_onnx(folder / f"{name}.onnx", image, 1) for name in (probe.id, "r000"))
    np.testing.assert_allclose(logits, unreduced, rtol=1e-4, atol=1e-4 * np.abs(unreduced).max())


def test_a_searched_schedule_joins_the_graph_set_of_its_probes(made, tmp_path):
    plan, there, _, folder = made
    from pomt_trt.core.records import SEARCHED, Candidate
    from pomt_trt.host.data import image_batches
    from pomt_trt.host.models import loading

    one = Candidate(plan.method, Schedule((17, 15, 15, 12, 10), 1), 1, kind=SEARCHED)
    images = image_batches.load(None, loading.load(plan.module)[1], 4, 0)
    found = export.extend(plan, there, [one], images, folder.parent.parent)
    assert found.candidates == (*there.candidates, one)
    graph_checks.check(str(folder / f"{one.id}.onnx"), plan.target, one.schedule.tokens)
