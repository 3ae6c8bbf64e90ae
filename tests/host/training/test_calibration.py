"""Counts of trained thresholds: means over images, and whole numbers that add up to them."""

import torch

from pomt_trt.host.training.calibration import calibrate, whole_counts
from pomt_trt.host.training.dynamic import Thresholds, run
from tests.host import tiny

CUTS = [Thresholds(0.5, 0.05), Thresholds(0.3, 0.06), Thresholds(0.4, 0.04), Thresholds(0.2, 0.09)]
IMAGES = torch.randn(7, 3, 16, 16, generator=torch.Generator().manual_seed(3))


def test_the_first_block_has_the_mean_of_the_dynamic_counts():
    found = calibrate(tiny.vit(), CUTS, IMAGES.split(3))
    removed = run(tiny.vit(), CUTS, IMAGES)[1]
    assert found.merged_mean[0] == removed.merged[:, 0].double().mean().item()
    assert found.pruned_std[0] == removed.pruned[:, 0].double().std(correction=0).item()


def test_one_image_gets_its_own_counts_and_its_own_logits():
    vit, image = tiny.vit(), IMAGES[:1]
    found = calibrate(vit, CUTS, [image])
    dynamic, removed = run(vit, CUTS, image)
    assert [one.merged for one in found.static] == removed.merged[0].tolist()
    assert [one.pruned for one in found.static] == removed.pruned[0].tolist()
    assert torch.allclose(run(vit, found.static, image)[0], dynamic, rtol=1e-6, atol=1e-6)


def test_sums_of_whole_counts_are_the_rounded_sums():
    found = whole_counts([(1.4, 0.3), (1.4, 0.3), (1.4, 0.3)], 30)
    assert found == [(1, 0), (2, 1), (1, 0)]


def test_two_tokens_are_left_where_thresholds_take_everything():
    found = calibrate(tiny.vit(), [Thresholds(0.0, 1.0)] * 4, [IMAGES])
    assert sum(one.merged + one.pruned for one in found.static) == 15
