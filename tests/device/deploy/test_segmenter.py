"""Label maps in an image's own pixels, through whatever the preprocessing did to it, and as PNG files."""

import numpy as np
import pytest
from PIL import Image

from pomt_trt.core.errors import InputError
from pomt_trt.core.metrics.segmentation import IGNORED
from pomt_trt.core.records import SEGMENTATION, Preprocessing
from pomt_trt.device.deploy import preprocess
from pomt_trt.device.deploy.segmenter import Segmenter, own_label_map
from tests import fakes

GREY = Preprocessing(8, 8, 1, (0.5,), (0.5,), "bilinear", 1.0, "center")
SIZES = [(8, 8), (16, 16), (40, 24), (7, 30), (5, 5), (3, 20)]


class BrightPatches:
    """Stands in for an engine of 8 x 8 pixels: class 1 for patches of 2 x 2 pixels that are brighter than grey."""

    def __init__(self, batch=2):
        self.input_shape = (batch, 1, 8, 8)

    def run(self, batch):
        means = batch.reshape(len(batch), 4, 2, 4, 2).mean(axis=(2, 4))  # (B, 4, 4)
        return np.stack([-means, means], axis=1).astype(np.float32)  # (B, 2, 4, 4)

    def close(self):
        pass


def segmenter(preprocessing=GREY, batch=2):
    engine = fakes.made_up_engine()
    model = fakes.quadrant_model()._replace(task=SEGMENTATION, classes=2, preprocessing=preprocessing)
    return Segmenter(fakes.manifest(engine, engine, batch, model), BrightPatches(batch))


def half(size):
    """A picture whose right half is white."""
    pixels = np.zeros(size[::-1], np.uint8)
    pixels[:, size[0] // 2 :] = 255
    return Image.fromarray(pixels)


def test_each_image_has_a_map_of_its_own_size(tmp_path):
    half((40, 24)).save(str(tmp_path / "wide.png"))
    with segmenter() as segment:
        found = segment([str(tmp_path / "wide.png"), half((8, 8)), np.asarray(half((8, 8)))[:, :, np.newaxis]])
    assert [(one.shape, one.dtype) for one in found] == [((24, 40), np.uint8), ((8, 8), np.uint8), ((8, 8), np.uint8)]
    assert (found[1] == found[2]).all() and (found[1] == np.asarray(half((8, 8))) // 255).all()


def test_any_number_of_images_is_padded_to_the_engines_batch():
    pictures = [half(size) for size in SIZES[:3]]
    with segmenter(batch=1) as single, segmenter(batch=4) as batched:
        assert single([]) == batched([]) == []
        for one, other in zip(single(pictures), batched(pictures)):
            assert (one == other).all()
        assert (single(pictures[0])[0] == single(pictures)[0]).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("crop_pct, crop_mode", [(1.0, "center"), (0.8, "center"), (0.9, "squash"), (1.0, "border")])
def test_what_was_cropped_away_has_no_class_and_the_rest_its_own(size, crop_pct, crop_mode):
    """The engine's view of a half white picture, mapped back, is the picture."""
    look = GREY._replace(crop_pct=crop_pct, crop_mode=crop_mode)
    with segmenter(look) as segment:
        found = segment([half(size)])[0]
    assert found.shape == size[::-1]
    rows, columns = preprocess.places(size, look)
    seen_rows, seen_columns = ((-0.5 <= at) & (at < 7.5) for at in (rows, columns))
    assert ((found != IGNORED) == seen_rows[:, np.newaxis] & seen_columns).all()
    if crop_mode == "center" and crop_pct == 1.0:  # the short side is seen whole
        assert (seen_rows if size[1] <= size[0] else seen_columns).all()
    if crop_mode == "border":
        assert seen_rows.all() and seen_columns.all()
    patch = max(1, max(size) // 4)  # edges are known to a patch
    clear = np.abs(np.arange(size[0]) + 0.5 - size[0] / 2) > patch
    white = np.arange(size[0]) >= size[0] // 2
    for row in found[seen_rows][:, clear & seen_columns]:
        assert (row == white[clear & seen_columns]).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("crop_pct, crop_mode", [(1.0, "center"), (0.7, "center"), (0.9, "squash"), (1.0, "border")])
def test_places_are_where_nearest_resizing_finds_its_pixels(size, crop_pct, crop_mode):
    """A picture of its own column numbers, cropped, shows at each pixel the column whose place that is."""
    look = GREY._replace(height=16, width=16, crop_pct=crop_pct, crop_mode=crop_mode)
    numbers = np.tile(np.arange(size[0], dtype=np.uint8), (size[1], 1))
    cropped = preprocess.crop_labels(numbers, look)
    columns = preprocess.places(size, look)[1]
    row = cropped[8]
    for pixel in np.flatnonzero(row != IGNORED):
        scale = abs(columns[1] - columns[0])  # pixels of the crop for one of the picture
        assert abs(columns[row[pixel]] - pixel) <= 0.5 * max(scale, 1) + 1e-6


def test_a_label_map_is_padded_with_pixels_that_do_not_count():
    look = GREY._replace(crop_mode="border")
    found = preprocess.crop_labels(np.ones((4, 16), np.uint8), look)
    assert found.shape == (8, 8) and (found[3:5] == 1).all() and (found[[0, 1, 2, 5, 6, 7]] == IGNORED).all()


def test_logits_that_are_not_finite_give_no_class():
    assert (own_label_map(np.full((2, 4, 4), np.nan, np.float32), (9, 5), GREY) == IGNORED).all()


def test_says_what_is_no_image():
    with segmenter() as segment:
        with pytest.raises(InputError, match="int is no image"):
            segment([3])
        with pytest.raises(InputError, match="absent.png: no such file"):
            segment("absent.png")
