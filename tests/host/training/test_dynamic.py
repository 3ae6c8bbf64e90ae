"""LTMP as it runs: the recorded numbers, images independent of their batch, counts in place of thresholds."""

import pytest
import torch

from pomt_trt.host.models.token_reduction import reduce_tokens
from pomt_trt.host.training.dynamic import Counts, Thresholds, run
from tests.host import golden, tiny

TOLERANCE = 2e-5
CUTS = [Thresholds(0.5, 0.05), Thresholds(0.3, 0.06), Thresholds(0.4, 0.04), Thresholds(0.2, 0.09)]


@pytest.fixture(params=["ltmp_A", "ltmp_A_light"])
def recorded(request):
    """(description, arrays, model, thresholds)"""
    about, arrays, vit = golden.read(request.param)
    pairs = zip(arrays["thresholds/merge"].tolist(), arrays["thresholds/prune"].tolist(), strict=True)
    return about, arrays, vit, [Thresholds(*pair) for pair in pairs]


def test_golden_logits_and_counts_are_the_recorded_ones(recorded):
    about, arrays, vit, cuts = recorded
    logits, removed = run(vit, cuts, arrays["input"])
    assert torch.allclose(logits, arrays["logits"], rtol=0, atol=TOLERANCE)
    assert removed.merged.tolist() == [about["merged"]] and removed.pruned.tolist() == [about["pruned"]]


@pytest.mark.parametrize("kind", ["plain", "distilled", "registers", "LayerScale, query and key norm"])
def test_an_image_alone_is_the_image_in_its_batch(kind):
    vit = tiny.vit(**tiny.KINDS[kind])
    images = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    together, removed = run(vit, CUTS, images)
    assert len({tuple(row) for row in removed.merged.tolist()}) > 1, "the images should differ in what they lose"
    for number, image in enumerate(images):
        alone, counts = run(vit, CUTS, image[None])
        assert torch.allclose(together[number], alone[0], rtol=1e-5, atol=1e-5)
        assert removed.merged[number].equal(counts.merged[0]) and removed.pruned[number].equal(counts.pruned[0])


@pytest.mark.parametrize("kind", list(tiny.KINDS))
def test_nothing_passes_the_highest_thresholds_and_the_model_is_timms(kind):
    if not tiny.KINDS[kind].get("class_token", True):
        pytest.skip("timm averages all tokens, in another order")
    vit = tiny.vit(**tiny.KINDS[kind])
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        expected = vit(images)
    assert torch.allclose(run(vit, [Thresholds(1.0, 0.0)] * 4, images)[0], expected, rtol=1e-5, atol=1e-5)


def test_prefix_tokens_survive_thresholds_that_take_everything():
    vit = tiny.vit(**tiny.KINDS["registers"])
    logits, removed = run(vit, [Thresholds(0.0, 1.0)] * 4, torch.randn(2, 3, 16, 16))
    assert logits.isfinite().all()
    assert (removed.merged.sum(1) + removed.pruned.sum(1)).tolist() == [16, 16]


@pytest.mark.parametrize("kind", ["plain", "distilled", "registers", "LayerScale, query and key norm"])
def test_counts_give_what_the_static_reducer_gives(kind):
    vit, images = tiny.vit(**tiny.KINDS[kind]), torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    merged, pruned = [3, 0, 2, 1], [1, 2, 0, 1]
    dynamic, removed = run(vit, [Counts(*pair) for pair in zip(merged, pruned, strict=True)], images)
    assert removed.merged.tolist() == [merged] * 3 and removed.pruned.tolist() == [pruned] * 3
    with torch.no_grad():
        static = reduce_tokens(vit, "ltmp", merged=merged, pruned=pruned)(images)
    assert torch.allclose(dynamic, static, rtol=1e-5, atol=1e-5)
