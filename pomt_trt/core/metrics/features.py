"""Accuracy of features: what their nearest neighbours are, and how near they are to those of the unreduced model."""

import math
from typing import Tuple

import numpy as np

from pomt_trt.core.errors import InputError
from pomt_trt.core.metrics.classification import Z_95, drop_interval, largest_share, wilson
from pomt_trt.core.metrics.pair import Pair
from pomt_trt.core.records import KNN, AccuracyEstimate, Interval

NEIGHBOURS = 20
ROWS = 1024  # of images that are compared with all others at a time


def paired(kind: str, pair: Pair, candidate_id: str, source: str) -> AccuracyEstimate:
    """The accuracy of a candidate's features and its drop against those of the unreduced model, with 95 % intervals.

    Args:
        kind: "knn", the share of images whose class most of its nearest neighbours among the other images have, all
            features being the candidate's own; or "cosine", the mean cosine to the unreduced model's features.
        pair: features (images, dimension), and class numbers for knn.
    Raises: InputError where there are no images, one dimension, or labels do not fit.
    """
    pair.check("images, features")
    if pair.logits.shape[1] < 2:
        raise InputError(
            "features of one dimension have no direction to compare. Take the model for --task regression."
        )
    own, reference = unit(pair.logits), unit(pair.reference)
    cosines = (own * reference).sum(axis=1)
    accuracy, accuracy_ci, drop, drop_ci = _by_labels(own, reference, pair) if kind == KNN else _by_cosine(cosines)
    return AccuracyEstimate(
        candidate_id=candidate_id,
        kind=kind,
        samples=len(own),
        accuracy=accuracy,
        accuracy_ci=accuracy_ci,
        drop=drop,
        drop_ci=drop_ci,
        kl_divergence=max(0.0, float(1 - cosines.mean())),
        source=source,
        constant_accuracy=largest_share(pair.labels) if kind == KNN and pair.labels is not None else None,
    )


def unit(features: np.ndarray) -> np.ndarray:
    """Features (n, d) of length 1, float64; rows that are not finite or zero become 0, which is near to nothing."""
    features = np.where(np.isfinite(features).all(axis=1, keepdims=True), features, 0).astype(float)
    length = np.linalg.norm(features, axis=1, keepdims=True)
    divided = features / np.where(length > 0, length, 1)  # type: np.ndarray
    return divided


def neighbours(labels: np.ndarray) -> int:
    """How many neighbours vote: 20, or fewer where classes are so small that most of them would be of others."""
    return max(1, min(NEIGHBOURS, len(labels) // max(1, len(np.unique(labels))) - 1))


def nearest_classes(features: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """(n,) the class that most of the `count` nearest other images have, by cosine; on a tie the nearer one.

    Args:
        features: (n, d) of length 1. labels: (n,).
    """
    classes, index = np.unique(labels, return_inverse=True)
    answers = np.empty(len(labels), np.intp)
    for start in range(0, len(labels), ROWS):
        rows = np.arange(start, min(start + ROWS, len(labels)))
        cosines = features[rows] @ features.T
        cosines[np.arange(len(rows)), rows] = -np.inf  # an image is not its own neighbour
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
        votes = np.zeros((len(rows), len(classes)))
        weight = 1 + np.take_along_axis(cosines, nearest, axis=1) / (2 * NEIGHBOURS + 2)  # ties: the nearer class
        np.add.at(votes, (np.arange(len(rows))[:, np.newaxis], index[nearest]), weight)
        answers[rows] = votes.argmax(axis=1)
    found = classes[answers]  # type: np.ndarray
    return found


def _by_labels(own: np.ndarray, reference: np.ndarray, pair: Pair) -> Tuple[float, Interval, float, Interval]:
    labels = pair.labels
    if labels is None or np.shape(labels) != (len(own),) or len(own) < 2 or len(np.unique(labels)) < 2:
        raise InputError(
            "nearest neighbours need one label an image and images of two classes or more. Give labelled images, or "
            "unlabelled ones to compare features by their cosine."
        )
    count = neighbours(labels)
    right, reference_right = (nearest_classes(one, labels, count) == labels for one in (own, reference))
    right &= own.any(axis=1)
    hits, images = int(right.sum()), len(own)
    lost, gained = int((reference_right & ~right).sum()), int((right & ~reference_right).sum())
    drop = (lost - gained) / images
    return hits / images, wilson(hits, images), drop, drop_interval(lost, gained, images)


def _by_cosine(cosines: np.ndarray) -> Tuple[float, Interval, float, Interval]:
    """Intervals are normal, cut off at 1."""
    mean, half = float(cosines.mean()), Z_95 * float(cosines.std()) / math.sqrt(len(cosines))
    low, high = max(-1.0, mean - half), min(1.0, mean + half)
    return mean, (low, high), 1 - mean, (1 - high, 1 - low)
