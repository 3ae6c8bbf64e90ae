"""What is said of a model depends on its task, on labels, and on whether anything was trained."""

import numpy as np
import pytest

from pomt_trt.core import accuracy
from pomt_trt.core.describe import ACCURACY_TITLES
from pomt_trt.core.records import SEGMENTATION
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
    assert {images, pixels} <= set(ACCURACY_TITLES)


def test_each_task_has_its_estimate():
    logits = np.eye(4, dtype=np.float32)
    look = fakes.quadrant_model().preprocessing
    found = accuracy.paired("top1", look, logits, logits, np.arange(4), "r000", "engine")
    assert (found.kind, found.accuracy) == ("top1", 1.0)
    dense = logits.reshape(1, 4, 2, 2)  # each quadrant of an 8 x 8 picture is of its own class
    labels = np.arange(4, dtype=np.uint8).reshape(1, 2, 2).repeat(4, axis=1).repeat(4, axis=2)
    found = accuracy.paired("miou", look, dense, dense, labels, "r000", "engine")
    assert (found.kind, found.samples, found.drop) == ("miou", 1, 0) and found.accuracy == 1.0
