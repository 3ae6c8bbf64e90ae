"""core/metrics/features: nearest neighbours are those of scikit-learn, and features are compared by their direction."""

import numpy as np
import pytest
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from pomt_trt.core.errors import InputError
from pomt_trt.core.metrics import features
from pomt_trt.core.metrics.pair import Pair
from pomt_trt.core.records import COSINE, KNN


def clouds(images=120, classes=4, spread=1.0, seed=0):
    """(features around a centre for each class, classes)."""
    random = np.random.RandomState(seed)
    labels = np.arange(images) % classes
    return (random.normal(size=(classes, 8))[labels] + spread * random.normal(size=(images, 8))).astype("f4"), labels


def paired(kind, own, labels=None, unreduced=None):
    return features.paired(kind, Pair(own if unreduced is None else unreduced, own, labels), "r001", "engine")


def test_the_neighbours_are_scikit_learns_with_each_image_left_out():
    own, labels = clouds()
    ours = features.nearest_classes(features.unit(own), labels, 5)
    theirs = cross_val_predict(KNeighborsClassifier(5, metric="cosine"), own, labels, cv=LeaveOneOut())
    ties = ours != theirs  # scikit-learn gives a tie to the lower class
    assert ties.mean() < 0.15
    for image in np.flatnonzero(ties):
        near = np.argsort(-(features.unit(own) @ features.unit(own)[image]))
        votes = np.bincount(labels[near[near != image][:5]], minlength=4)
        assert votes[ours[image]] == votes[theirs[image]] == votes.max()


def test_twenty_neighbours_vote_and_fewer_where_classes_are_small():
    assert features.neighbours(np.arange(1000) % 10) == 20
    assert features.neighbours(np.arange(40) % 10) == 3
    assert features.neighbours(np.arange(10)) == 1


def test_the_accuracy_of_neighbours_is_paired_with_the_unreduced_models():
    unreduced, labels = clouds(spread=0.3)
    own = clouds(spread=3.0)[0]
    estimate, same = paired(KNN, own, labels, unreduced), paired(KNN, unreduced, labels)
    assert same.accuracy > 0.9 and same.drop == 0 and same.constant_accuracy == 0.25
    assert estimate.drop == pytest.approx(same.accuracy - estimate.accuracy) and estimate.drop_ci[0] > 0


def test_the_cosine_does_not_depend_on_the_length_of_features():
    own, _ = clouds()
    far = own * np.linspace(0.1, 9, len(own))[:, np.newaxis].astype("f4")
    assert paired(COSINE, far, unreduced=own).accuracy == pytest.approx(1, abs=1e-9)
    estimate = paired(COSINE, clouds(seed=1)[0], unreduced=own)
    assert -1 <= estimate.accuracy_ci[0] < estimate.accuracy < estimate.accuracy_ci[1] < 0.9
    assert estimate.drop == estimate.kl_divergence == pytest.approx(1 - estimate.accuracy)


def test_features_that_are_not_finite_are_near_to_nothing():
    own, labels = clouds(spread=0.1)
    broken = own.copy()
    broken[:6] = np.inf
    assert paired(KNN, broken, labels, own).accuracy <= paired(KNN, own, labels).accuracy - 6 / 120 + 1e-9
    assert paired(COSINE, broken, unreduced=own).accuracy == pytest.approx(114 / 120)


def test_what_cannot_be_compared_is_refused():
    own, labels = clouds()
    with pytest.raises(InputError, match="features of one dimension have no direction"):
        paired(COSINE, own[:, :1])
    with pytest.raises(InputError, match="images of two classes or more"):
        paired(KNN, own, np.zeros_like(labels))
    with pytest.raises(InputError, match="need one label an image"):
        paired(KNN, own)
