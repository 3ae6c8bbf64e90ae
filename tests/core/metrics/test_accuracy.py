"""What is said of a model depends on its task, on labels, and on whether anything was trained."""

import numpy as np
import pytest

from pomt_trt.core.metrics import accuracy
from pomt_trt.core.metrics.pair import Pair
from pomt_trt.core.records import ACCURACY_TITLES, SEGMENTATION
from tests import fakes


@pytest.mark.parametrize(
    "labelled, weights, images, pixels",
    [
        (True, "checkpoint", "top1", "miou"),
        (True, "random (seed 0)", "agreement", "pixel-agreement"),
        (False, "checkpoint", "agreement", "pixel-agreement"),
    ],
)
def test_accuracy_needs_labels_and_trained_weights(labelled, weights, images, pixels):
    spec = fakes.quadrant_model(weights)
    assert accuracy.kind_of(spec, labelled) == images
    assert accuracy.kind_of(spec._replace(task=SEGMENTATION), labelled) == pixels
    for task in accuracy.KINDS:
        kind = accuracy.kind_of(spec._replace(task=task), labelled)
        assert kind in ACCURACY_TITLES and (kind in ("top1", "miou", "knn", "auroc", "r2")) == (images == "top1")


def of_top1(right, count=100, classes=10):
    """The estimate of a model that is right on `right` of `count` images, whose labels are spread evenly."""
    labels = np.arange(count) % classes
    logits = np.eye(classes)[np.where(np.arange(count) < right, labels, (labels + 1) % classes)]
    look = fakes.quadrant_model().preprocessing
    return accuracy.paired("top1", look, Pair(logits, logits, labels), "r000", "engine")


@pytest.mark.parametrize("right, doubted", [(0, True), (10, True), (15, True), (30, False), (100, False)])
def test_an_accuracy_no_better_than_one_answer_to_all_is_doubted(right, doubted):
    estimate = of_top1(right)
    assert estimate.constant_accuracy == 0.1
    note = accuracy.doubt(estimate)
    assert (note is not None) == doubted
    if note is not None:
        assert "top-1 {:.1%}".format(right / 100) in note and "the commonest label (10.0%)" in note
        assert "order" in note and "preprocessing" in note and "weights" in note


def test_agreement_and_images_of_one_class_are_not_doubted():
    look, logits = fakes.quadrant_model().preprocessing, np.eye(4, dtype=np.float32)
    alone = accuracy.paired("top1", look, Pair(logits, logits, np.zeros(4, int)), "r000", "engine")
    agreed = accuracy.paired("agreement", look, Pair(logits, logits), "r000", "engine")
    assert [(one.constant_accuracy, accuracy.doubt(one)) for one in (alone, agreed)] == [(None, None)] * 2


def test_one_answer_to_all_pixels_has_the_mean_over_the_labelled_classes():
    look = fakes.quadrant_model().preprocessing
    labels = np.zeros((1, 8, 8), np.uint8)
    labels[:, :2], labels[:, 2:4] = 255, 1  # a third of what is labelled
    dense = np.zeros((1, 4, 2, 2), np.float32)
    dense[:, 0] = 1
    estimate = accuracy.paired("miou", look, Pair(dense, dense, labels), "r000", "engine")
    assert estimate.constant_accuracy == pytest.approx(estimate.accuracy) == pytest.approx(2 / 3 / 2)
    assert "mIoU 33.3%" in accuracy.doubt(estimate)
