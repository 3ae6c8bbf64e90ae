"""Label maps from the logits of patches, and mIoU with its paired drop, against values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomt_trt.core.errors import InputError
from pomt_trt.core.metrics import segmentation
from pomt_trt.core.metrics.pair import Pair
from pomt_trt.core.metrics.segmentation import IGNORED, centres
from pomt_trt.core.records import MIOU, PIXEL_AGREEMENT

SIZE = (4, 6)


def logits_for(label_maps, classes=3):
    """Logits of a model with a patch a pixel that gives exactly these label maps."""
    return np.moveaxis(np.eye(classes, dtype=np.float32)[np.asarray(label_maps)] * 4, 3, 1)


def random_maps(seed, images=5, classes=3):
    return np.random.RandomState(seed).randint(classes, size=(images,) + SIZE).astype(np.uint8)


def paired(labels, reference, candidate, kind=MIOU):
    return segmentation.paired(kind, Pair(logits_for(reference), logits_for(candidate), labels), SIZE, "r004", "engine")


def by_definition(labels, predicted, classes=3):
    """Mean over labelled classes of intersection over union, by sets of pixels."""
    ratios = []
    for one in range(classes):
        labelled, predicted_so = (labels == one), (predicted == one) & (labels != IGNORED)
        if labelled.any():
            ratios.append((labelled & predicted_so).sum() / (labelled | predicted_so).sum())
    return np.mean(ratios)


def test_two_patches_share_the_pixels_between_them_by_distance():
    logits = np.array([[[3.0, 0.0]], [[0.0, 1.0]]], np.float32)  # (classes, 1 row, 2 columns)
    classes = segmentation.label_map(logits, centres(1, 1), centres(2, 8))
    # logit 0 falls as 3 - 3 t, logit 1 rises as t, equal at t = 0.75; pixels' centres lie at t = -0.375 + k / 4
    assert classes.tolist() == [[0, 0, 0, 0, 0, 1, 1, 1]] and classes.dtype == np.uint8


def test_the_lower_class_wins_a_tie():
    assert not segmentation.label_map(np.ones((3, 2, 2), np.float32), centres(2, 5), centres(2, 5)).any()


def test_an_image_with_a_logit_that_is_not_finite_has_no_labels():
    logits = np.zeros((2, 2, 2), np.float32)
    logits[1, 0, 1] = np.nan
    assert (segmentation.label_map(logits, centres(2, 4), centres(2, 4)) == IGNORED).all()


def test_large_maps_are_made_band_by_band(monkeypatch):
    logits = np.random.RandomState(0).rand(3, 5, 4).astype(np.float32)
    whole = segmentation.label_map(logits, centres(5, 33), centres(4, 17))
    monkeypatch.setattr(segmentation, "BAND_BYTES", 1)
    assert (segmentation.label_map(logits, centres(5, 33), centres(4, 17)) == whole).all()


@given(st.integers(1, 9), st.integers(1, 40))
def test_pixels_lie_evenly_about_the_middle_of_the_cells(cells, pixels):
    places = centres(cells, pixels)
    assert places.shape == (pixels,) and places.mean() == pytest.approx((cells - 1) / 2, abs=1e-9)
    assert places[0] == pytest.approx(cells / pixels / 2 - 0.5)


@given(st.integers(0, 1000))
def test_mean_iou_is_that_of_the_definition(seed):
    labels, reference, candidate = (random_maps(3 * seed + turn) for turn in range(3))
    labels[0, 0] = IGNORED
    estimate = paired(labels, reference, candidate)
    assert estimate.accuracy == pytest.approx(by_definition(labels, candidate))
    assert estimate.drop == pytest.approx(by_definition(labels, reference) - by_definition(labels, candidate))
    assert estimate.drop_ci[0] <= estimate.drop_ci[1] and estimate.samples == 5


def test_a_class_without_labels_counts_for_no_model():
    labels = np.zeros((2,) + SIZE, np.uint8)
    wrong = labels.copy()
    wrong[0, 0, 0] = 2
    estimate = paired(labels, labels, wrong)
    assert estimate.accuracy == pytest.approx(47 / 48) and estimate.drop == pytest.approx(1 / 48)


def test_ignored_pixels_count_for_no_class():
    labels = random_maps(0)
    reference = labels.copy()
    labels[:, 1:3] = IGNORED
    reference[:, 1:3] = 0
    assert paired(labels, reference, reference).accuracy == 1.0


def test_the_unreduced_model_against_itself_has_no_drop():
    labels, maps = random_maps(0), random_maps(1)
    estimate = paired(labels, maps, maps)
    assert estimate.drop == 0 and estimate.drop_ci == (0, 0) and estimate.kl_divergence == 0
    assert estimate.accuracy_ci[0] < estimate.accuracy < estimate.accuracy_ci[1]


def test_an_interval_holds_the_drop_of_most_new_images():
    """Half of the pixels of 400 images lose their class with chance 0.2; of 40 of them each, most intervals know it."""
    random = np.random.RandomState(0)
    labels = random.randint(3, size=(400,) + SIZE).astype(np.uint8)
    wrong = np.where(random.rand(*labels.shape) < 0.1, (labels + 1) % 3, labels).astype(np.uint8)
    true = 1 - by_definition(labels, wrong)
    rows = [slice(start, start + 40) for start in range(0, 400, 40)]
    intervals = [paired(labels[row], labels[row], wrong[row]).drop_ci for row in rows]
    assert sum(low <= true <= high for low, high in intervals) >= 8


def test_pixel_agreement_is_with_the_unreduced_model_and_ignores_labels():
    reference = random_maps(0)
    candidate = reference.copy()
    candidate[0, 0] = (candidate[0, 0] + 1) % 3  # 6 of 120 pixels
    estimate = paired(random_maps(9), reference, candidate, PIXEL_AGREEMENT)
    assert estimate.kind == "pixel-agreement" and estimate.accuracy == pytest.approx(114 / 120)
    assert estimate.drop == pytest.approx(6 / 120) and estimate.kl_divergence > 0
    assert estimate.drop_ci == pytest.approx((1 - estimate.accuracy_ci[1], 1 - estimate.accuracy_ci[0]))


def test_an_image_that_is_not_finite_is_wrong_and_never_an_agreement():
    maps = random_maps(0)
    broken = logits_for(maps)
    broken[0, 0, 0, 0] = np.nan
    for kind, labels in ((MIOU, maps), (PIXEL_AGREEMENT, None)):
        estimate = segmentation.paired(kind, Pair(logits_for(maps), broken, labels), SIZE, "r004", "engine")
        assert estimate.accuracy == pytest.approx(0.8, abs=0.05) and np.isnan(estimate.kl_divergence)


@pytest.mark.parametrize(
    "labels, message",
    [
        (np.zeros((4, 6), np.float32), "holds float32 of shape.*one byte a pixel"),
        (np.zeros((4, 6, 3), np.uint8), "no label map"),
        (np.zeros((6, 4), np.uint8), "a.png has 4 x 6 pixels, its image 6 x 4"),
        (np.full((4, 6), 3, np.uint8), "a.png holds the label 3, the model has 3 classes: 0 to 2, and 255"),
    ],
)
def test_a_file_that_is_no_label_map_is_explained(labels, message):
    with pytest.raises(InputError, match=message):
        segmentation.checked_labels(labels, 3, "a.png", (4, 6))


def test_a_label_map_may_leave_pixels_out():
    labels = np.array([[0, 2], [255, 1]], np.uint8)
    assert segmentation.checked_labels(labels, 3, "a.png", (2, 2)) is labels


@pytest.mark.parametrize(
    "labels, message",
    [
        (None, "None do not match 5 images"),
        (random_maps(0)[:4], "Give one label map an image"),
        (np.full((5,) + SIZE, IGNORED, np.uint8), "no pixel of the images is labelled"),
    ],
)
def test_says_which_labels_do_not_match(labels, message):
    with pytest.raises(InputError, match=message):
        paired(labels, random_maps(1), random_maps(2))


def test_says_which_logits_do_not_match():
    with pytest.raises(InputError, match="cannot be paired.*same data"):
        segmentation.paired(MIOU, Pair(np.zeros((5, 3)), np.zeros((5, 3)), random_maps(0)), SIZE, "r004", "engine")
    none = np.zeros((0, 3) + SIZE)
    with pytest.raises(InputError, match="no images"):
        segmentation.paired(MIOU, Pair(none, none, random_maps(0)[:0]), SIZE, "r004", "engine")
