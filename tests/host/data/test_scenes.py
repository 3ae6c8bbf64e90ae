"""Scenes of several digits as data, and the bundled model that was trained on them."""

import numpy as np
import pytest
import torch

from pomt_trt.core.metrics import segmentation
from pomt_trt.core.metrics.pair import Pair
from pomt_trt.core.storage import learned as storage
from pomt_trt.host.data import digits, image_batches, scenes
from pomt_trt.host.models import loading
from pomt_trt.host.models.token_reduction import reduce_tokens
from pomt_trt.host.reducers.common import learned

LEAST_MIOU = 0.65  # 0.754 on all
LEAST_GAIN = 0.05


def test_a_scene_is_some_digits_with_a_label_for_each_pixel():
    images, label_maps = scenes.pictures(held_out=True)
    assert images.shape == label_maps.shape == (450, 28, 28) and images.dtype == label_maps.dtype == np.uint8
    assert label_maps.max() == 10 and len(scenes.CLASSES) == 11
    assert not images[label_maps > 0].min() < scenes.INK and images[label_maps == 0].max() < scenes.INK
    kinds = [len(np.unique(one)) - 1 for one in label_maps]
    assert min(kinds) >= 1 and max(kinds) >= 3


@pytest.mark.parametrize("held_out", [True, False])
def test_a_scene_has_its_own_digit_of_its_side_in_it(held_out):
    labels = digits.samples(held_out=held_out)[1]
    label_maps = scenes.pictures(held_out=held_out)[1]
    assert all(label + 1 in label_map for label, label_map in zip(labels, label_maps, strict=True))


def test_digits_never_cover_each_other():
    digit, random = np.full((14, 14), 9, np.uint8), np.random.RandomState(0)
    canvas = np.zeros((28, 28), np.uint8)
    canvas[:, :15] = 1
    assert scenes._free_place(canvas, digit, random) is None  # 13 columns are free
    canvas[:, 13:] = 0
    places = [scenes._free_place(canvas, digit, np.random.RandomState(seed)) for seed in range(20)]
    found = [place for place in places if place is not None]
    assert found and not any(canvas[place].any() for place in found)


def test_same_seed_gives_same_scenes_and_another_gives_others():
    first, again, other = (scenes.pictures(seed, held_out=False) for seed in (3, 3, 4))
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


@pytest.fixture(scope="module")
def mean_iou():
    """A function that gives mean IoU on the first 100 of the 450 scenes, by method and its arguments."""
    module, spec = loading.load("scenes")
    images = image_batches.load(None, spec, 100, 0)

    def measured(method, **arguments):
        reduced = reduce_tokens(module, method, **arguments)
        with torch.inference_mode():
            logits = torch.cat([reduced(batch) for batch in images.batches(50)]).numpy()  # (n, 11, 14, 14)
        pair = Pair(logits, logits, images.labels.numpy())
        return segmentation.paired("miou", pair, (28, 28), "r000", "host-fp32").accuracy

    return measured


def test_shipped_model_labels_held_out_scenes(mean_iou):
    assert mean_iou("none", removed=0) >= LEAST_MIOU


def test_shipped_scorers_are_better_than_random_ones(mean_iou):
    path = storage.file_of("scenes", "cropr")
    vectors = learned.read("cropr", path, 12, 64).vectors
    drawn = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(0))
    found, other = (mean_iou("cropr", removed=8, scorers=scorers) for scorers in (vectors, drawn))
    assert found > other + LEAST_GAIN
