"""Held-out pictures of the bundled models as folders that --data reads."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pomt_trt.core.data import dataset
from pomt_trt.core.data.class_order import Head
from pomt_trt.core.errors import UsageError
from pomt_trt.core.records import Preprocessing, Training
from pomt_trt.core.storage import learned, store
from pomt_trt.host.data import bundled, scenes
from pomt_trt.host.models import loading


def pixels(path):
    with Image.open(path) as picture:
        assert picture.mode == "L"
        return np.asarray(picture)


def test_digits_lie_in_a_folder_for_each_label(tmp_path):
    assert bundled.write_folder("digits", tmp_path / "data", 25) == 25
    images, labels = bundled.BUNDLED["digits"](held_out=True)
    found = sorted(dataset.find(str(tmp_path / "data"), Head(10)).items, key=lambda item: item.path[-8:])
    assert [item.label for item in found] == labels[:25].tolist()
    assert all(np.array_equal(pixels(item.path), image) for item, image in zip(found, images, strict=False))


def test_scenes_lie_beside_their_label_maps(tmp_path):
    assert bundled.write_folder("scenes", tmp_path, 3) == 3
    images, label_maps = bundled.BUNDLED["scenes"](held_out=True)
    found = dataset.find_label_maps(str(tmp_path))
    assert found.kind == "labelled" and len(found.items) == 3
    for item, image, label_map in zip(found.items, images, label_maps, strict=False):
        assert np.array_equal(pixels(item.path), image) and np.array_equal(pixels(item.label_map), label_map)


@pytest.mark.parametrize("name", list(bundled.BUNDLED))
@pytest.mark.parametrize("count", [0, 451])
def test_a_count_that_is_not_there_is_refused(tmp_path, name, count):
    with pytest.raises(UsageError, match=f"{count} pictures asked for; {name} holds out 450. Ask for 1 to 450"):
        bundled.write_folder(name, tmp_path, count)


@pytest.mark.parametrize("model, method", [("digits", "ltmp"), ("digits", "cropr"), ("scenes", "cropr")])
def test_what_a_bundled_model_learned_comes_with_its_record(model, method):
    found = store.read_record(learned.record_of(model, method), Training).record
    assert (found.method, found.model, found.data) == (method, model, model)
    assert found.accuracy_kind == ("miou" if model == "scenes" else "top1")
    assert found.accuracy_after > found.accuracy_before


@pytest.mark.parametrize(
    "name, task, labels",
    [("digits", "classification", tuple("0123456789")), ("scenes", "segmentation", scenes.CLASSES)],
)
def test_a_shipped_model_says_what_it_is_and_how_to_feed_it(name, task, labels):
    module, spec = loading.load(name)
    assert (spec.task, spec.tokens, spec.depth, spec.width, spec.labels) == (task, 197, 12, 64, labels)
    assert spec.preprocessing == Preprocessing(28, 28, 1, (0.5,), (0.5,), "bicubic", 1.0, "center")
    assert spec.weights == "local-dir" and {parameter.dtype for parameter in module.parameters()} == {torch.float32}
    assert sum(file.stat().st_size for file in Path(learned.ZOO, name).iterdir()) < 2_000_000
