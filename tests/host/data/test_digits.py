"""The digits as data, and the bundled model that was trained on them."""

import sys

import numpy as np
import pytest
import torch

from pomt_trt.core.errors import MissingDependency
from pomt_trt.host.data import bundled, digits, image_batches
from pomt_trt.host.models import loading


def test_held_out_samples_never_appear_in_training():
    held, trained = (digits.samples(held_out=side)[0] for side in (True, False))
    looks = {sample.tobytes() for sample in trained}  # a duplicate under another number is none either
    assert len(held) + len(trained) == 1797 and not any(sample.tobytes() in looks for sample in held)


@pytest.mark.parametrize("held_out", [True, False])
def test_pictures_are_the_samples_of_their_side_at_places_by_seed(held_out):
    samples, labels = digits.samples(held_out=held_out)
    (images, same), (again, _), (moved, others) = (digits.pictures(seed, held_out=held_out) for seed in (3, 3, 4))
    assert np.array_equal(images, again) and not np.array_equal(images, moved)
    assert np.array_equal(labels, same) and np.array_equal(labels, others)
    assert np.array_equal(images.sum((1, 2)), samples.sum((1, 2)))  # the same ink


def test_every_class_is_held_out_to_a_quarter():
    held, kept = (np.bincount(digits.samples(held_out=side)[1]) for side in (True, False))
    assert np.array_equal(held, [round(int(n) / 4) for n in held + kept])


def test_the_first_ten_pictures_show_every_digit():
    assert sorted(digits.pictures(held_out=True)[1][:10]) == list(range(10))


def test_a_picture_is_one_digit_on_a_black_canvas():
    images, labels = digits.pictures(held_out=True)
    assert images.shape == (450, 28, 28) and images.dtype == np.uint8
    assert labels.shape == (450,) and labels.dtype == np.int64
    for image in images:
        rows, columns = np.nonzero(image)
        assert np.ptp(rows) < digits.DIGIT_PX and np.ptp(columns) < digits.DIGIT_PX
    assert images.max() > 240


def test_digits_reach_every_edge_of_the_canvas():
    seen = digits.pictures(held_out=True)[0].max(axis=0)  # (28, 28)
    assert seen[0].any() and seen[-1].any() and seen[:, 0].any() and seen[:, -1].any()


def test_without_scikit_learn_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)  # None makes the import fail
    with pytest.raises(MissingDependency, match=r"scikit-learn.*pip install 'pomt-trt\[host\]'"):
        digits.pictures(held_out=True)


def test_shipped_model_classifies_held_out_pictures(tmp_path):
    """Through files, as a user's pictures go."""
    bundled.write_folder("digits", tmp_path, count=200)  # of 450, for time
    loaded = loading.load("digits")
    images = image_batches.load(str(tmp_path), loaded.spec, 200, 0)
    with torch.inference_mode():
        guesses = torch.cat([loaded.module(batch).argmax(1) for batch in images.batches(50)])
    assert (guesses == images.labels).float().mean() >= 0.97
