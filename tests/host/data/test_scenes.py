"""Scenes of several digits as data, and the bundled model that was trained on them."""

from pathlib import Path

import numpy as np
import pytest

import pomt_trt
from pomt_trt.host.data import digits, scenes

LEAST_MIOU = 0.65  # 0.754 on all
LEAST_GAIN = 0.05
SHIPPED = Path(pomt_trt.__file__).resolve().parent / "zoo" / "scenes"


@pytest.fixture(scope="module")
def held_out():
    return scenes.held_out()


def test_a_scene_is_some_digits_with_a_label_for_each_pixel(held_out):
    images, label_maps = held_out
    assert images.shape == label_maps.shape == (450, 28, 28) and images.dtype == label_maps.dtype == np.uint8
    assert label_maps.max() == 10 and len(scenes.CLASSES) == 11
    assert not images[label_maps > 0].min() < scenes.INK and images[label_maps == 0].max() < scenes.INK
    kinds = [len(np.unique(one)) - 1 for one in label_maps]
    assert min(kinds) >= 1 and max(kinds) >= 3


def test_a_scene_has_its_own_digit_in_it(held_out):
    _, labels = digits.samples(held_out=True)
    assert all(label + 1 in label_map for label, label_map in zip(labels, held_out[1], strict=True))


def test_digits_never_cover_each_other():
    digit, random = np.full((14, 14), 9, np.uint8), np.random.RandomState(0)
    canvas = np.zeros((28, 28), np.uint8)
    canvas[:, :15] = 1
    assert scenes._free_place(canvas, digit, random) is None  # 13 columns are free
    canvas[:, 13:] = 0
    places = [scenes._free_place(canvas, digit, np.random.RandomState(seed)) for seed in range(20)]
    found = [place for place in places if place is not None]
    assert found and not any(canvas[place].any() for place in found)


def test_held_out_scenes_show_held_out_digits_alone(monkeypatch):
    seen = []
    samples = digits.samples
    monkeypatch.setattr(digits, "samples", lambda *, held_out: seen.append(held_out) or samples(held_out=held_out))
    scenes.held_out()
    scenes.training()
    assert seen == [True, False]


def test_same_seed_gives_same_scenes_and_another_gives_others():
    first, again, other = scenes.training(3), scenes.training(3), scenes.training(4)
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


@pytest.fixture(scope="module")
def shipped():
    return pytest.importorskip("pomt_trt.host.models.loading", reason="the bundled model is loaded through timm").load(
        "scenes"
    )


def mean_iou(model, held_out, count=100):
    """On the first of the 450 scenes, for time."""
    import torch

    from pomt_trt.core.metrics import segmentation
    from pomt_trt.core.metrics.pair import Pair

    images, label_maps = (part[:count] for part in held_out)
    with torch.inference_mode():
        logits = model((torch.from_numpy(images)[:, None].float() / 255 - 0.5) / 0.5).numpy()  # (n, 11, 14, 14)
    return segmentation.paired("miou", Pair(logits, logits, label_maps), (28, 28), "r000", "host-fp32").accuracy


def test_shipped_model_labels_held_out_scenes(shipped, held_out):
    from pomt_trt.host.models.token_reduction import reduce_tokens

    assert mean_iou(reduce_tokens(shipped.module, "none", removed=0), held_out) >= LEAST_MIOU


def test_shipped_scorers_are_better_than_random_ones(shipped, held_out):
    import torch

    from pomt_trt.host.models.token_reduction import reduce_tokens
    from pomt_trt.host.reducers.common.learned import read

    learned = read("cropr", str(SHIPPED / "cropr.safetensors"), shipped.spec.depth, shipped.spec.width)
    drawn = torch.randn(learned.vectors.shape, generator=torch.Generator().manual_seed(0))
    found, other = (
        mean_iou(reduce_tokens(shipped.module, "cropr", removed=8, scorers=scorers, llf=True), held_out)
        for scorers in (learned.vectors, drawn)
    )
    assert found > other + LEAST_GAIN


def test_shipped_model_is_one_for_segmentation(shipped):
    spec = shipped.spec
    assert (spec.task, spec.tokens, spec.classes, spec.labels) == ("segmentation", 197, 11, scenes.CLASSES)
    assert spec.weights == "local-dir" and (spec.preprocessing.mean, spec.preprocessing.std) == ((0.5,), (0.5,))


def test_shipped_files_stay_small():
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 2_000_000
