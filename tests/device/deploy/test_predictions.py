"""From logits to what is said of an image: predictions, or a label map beside its shares."""

import os

import numpy as np
import pytest
from PIL import Image

from pomt_trt.core.errors import InputError, UsageError
from pomt_trt.core.records import SEGMENTATION
from pomt_trt.device.deploy.predictions import answering, colour, write_png
from tests import fakes

MODEL = fakes.quadrant_model()
DENSE = MODEL._replace(task=SEGMENTATION)
QUADRANTS = np.eye(4, dtype=np.float32).reshape(4, 2, 2) * 9  # (classes, 2, 2)


def test_predictions_are_the_most_probable_classes():
    how = answering(MODEL, 2, None)
    answer = how.answer("a.png", (8, 8), np.array([0.0, 2.0, 1.0, -1.0], np.float32))
    assert [one["index"] for one in answer["predictions"]] == [1, 2]
    assert how.words(answer) == "upper right 64.4 %, lower left 23.7 %"


def test_a_label_map_is_a_png_of_the_images_size_beside_its_shares(tmp_path):
    how = answering(DENSE, 5, str(tmp_path / "maps"))
    answer = how.answer("pictures/a.jpg", (12, 10), QUADRANTS)
    assert answer["label_map"] == str(tmp_path / "maps" / "a.png")
    with Image.open(answer["label_map"]) as picture:
        assert picture.mode == "P" and picture.size == (12, 10)
        labels = np.asarray(picture)
        assert np.asarray(picture.convert("RGB"))[-2, -3].tolist() == list(colour(3))
    assert labels[1, 2] == 0 and labels[1, -3] == 1 and labels[-2, 2] == 2 and labels[-2, -3] == 3
    assert sum(one["share"] for one in answer["shares"]) == pytest.approx(1)
    assert "a.png  upper" in how.words(answer)


def test_only_classes_that_are_there_have_shares(tmp_path):
    logits = np.zeros((4, 2, 2), np.float32)
    logits[2] = 1
    answer = answering(DENSE, 5, str(tmp_path)).answer("a.jpg", (8, 8), logits)
    assert answer["shares"] == [{"label": "lower left", "index": 2, "share": 1.0}]


def test_images_of_one_name_have_maps_of_their_own(tmp_path):
    how = answering(DENSE, 5, str(tmp_path))
    files = [how.answer(path, (8, 8), QUADRANTS)["label_map"] for path in ("x/a.png", "y/a.png", "y/a.jpg", "x/a.png")]
    assert [os.path.basename(file) for file in files] == ["a.png", "a-2.png", "a-3.png", "a.png"]


def test_a_label_map_never_replaces_its_image(tmp_path):
    path = str(tmp_path / "a.png")
    fakes.picture(0).save(path)
    before = os.stat(path)
    with pytest.raises(InputError, match="lies in the folder for label maps. Give --out another folder"):
        answering(DENSE, 5, str(tmp_path)).answer(path, (16, 16), QUADRANTS)
    assert os.stat(path) == before


def test_a_folder_belongs_to_label_maps_alone():
    with pytest.raises(UsageError, match="labels pixels: give --out DIR"):
        answering(DENSE, 5, None)
    with pytest.raises(
        UsageError, match="is for classification, and --out is for label maps and features. Leave it out"
    ):
        answering(MODEL, 5, "maps")


def test_no_two_of_the_classes_share_a_colour():
    assert len({colour(label) for label in range(256)}) == 256
    assert colour(0) == (0, 0, 0) and colour(1) == (128, 0, 0) and colour(3) == (128, 128, 0)
    assert colour(255) == (255, 255, 255)


def test_a_png_holds_the_classes_themselves(tmp_path):
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    write_png(labels, str(tmp_path / "a.png"))
    with Image.open(str(tmp_path / "a.png")) as picture:
        assert (np.asarray(picture) == labels).all()
