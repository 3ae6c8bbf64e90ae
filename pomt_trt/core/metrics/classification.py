"""Accuracy of a classifier, its drop against the unreduced model on the same images, and their 95 % intervals."""

import math
from typing import Callable, Optional

import numpy as np

from pomt_trt.core.errors import InputError
from pomt_trt.core.metrics.pair import Pair
from pomt_trt.core.records import AGREEMENT, TOP1, AccuracyEstimate, Interval

Z_95 = 1.959963984540054  # the normal quantile that leaves 2.5 % on each side


def paired(kind: str, pair: Pair, candidate_id: str, source: str) -> AccuracyEstimate:
    """The accuracy of a candidate and its drop against the unreduced model, with 95 % intervals.

    A row that is not finite is a wrong prediction and never an agreement; it makes the divergence NaN.

    Args:
        kind: "top1" (labels decide) or "agreement" (the unreduced model decides; its own accuracy is then 1).
        pair: logits (images, classes), and labels for top1.
        source: what computed the logits, such as "host-fp32" or "engine".
    Raises: InputError where there are no images, or shapes or labels do not match.
    """
    assert kind in (TOP1, AGREEMENT), kind
    pair.check("images, classes")
    target = _target(kind, pair)
    right = (top1(pair.logits) == target) & (target >= 0)
    reference_right = np.ones(len(right), bool) if kind == AGREEMENT else top1(pair.reference) == target
    count, hits = len(right), int(right.sum())
    accuracy_ci = wilson(hits, count)
    if kind == AGREEMENT:  # the reference is right by definition, so only the agreement varies
        drop_ci = (1.0 - accuracy_ci[1], 1.0 - accuracy_ci[0])
    else:
        drop_ci = drop_interval(int((reference_right & ~right).sum()), int((right & ~reference_right).sum()), count)
    return AccuracyEstimate(
        candidate_id=candidate_id,
        kind=kind,
        samples=count,
        accuracy=hits / count,
        accuracy_ci=accuracy_ci,
        drop=(int(reference_right.sum()) - hits) / count,
        drop_ci=drop_ci,
        kl_divergence=kl_divergence(pair.reference, pair.logits),
        source=source,
        constant_accuracy=largest_share(target) if kind == TOP1 else None,
    )


def _target(kind: str, pair: Pair) -> np.ndarray:
    """(images,) the right class of each image."""
    if kind == AGREEMENT:
        return top1(pair.reference)
    if pair.labels is None or np.shape(pair.labels) != (len(pair.logits),):
        raise InputError(
            "{} labels do not match the logits of {} images. Give one label an image, or ask for agreement.".format(
                "no" if pair.labels is None else len(np.atleast_1d(pair.labels)), len(pair.logits)
            )
        )
    return np.asarray(pair.labels)


def top1(logits: np.ndarray) -> np.ndarray:
    """(n, classes) -> (n,) the index of the largest logit, the lower one on a tie; -1 where a row is not finite."""
    return np.where(np.isfinite(logits).all(axis=-1), logits.argmax(axis=-1), -1)


def largest_share(labels: np.ndarray) -> Optional[float]:
    """(n,) labels -> the share of the most frequent one; None where all are the same."""
    counts = np.unique(labels, return_counts=True)[1]
    return float(counts.max() / len(labels)) if len(counts) > 1 else None


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """(..., classes) -> log probabilities of the same shape, computed in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))  # type: np.ndarray
    return logs


def kl_divergence(reference_logits: np.ndarray, logits: np.ndarray) -> float:
    """Mean over images of KL(reference || this), in nats; NaN where a logit is not finite."""
    if not (np.isfinite(reference_logits).all() and np.isfinite(logits).all()):
        return math.nan
    reference, this = log_softmax(reference_logits), log_softmax(logits)
    return max(0.0, float((np.exp(reference) * (reference - this)).sum(axis=-1).mean()))


def wilson(hits: int, count: int) -> Interval:
    """The 95 % score interval of a proportion: within 0..1, and never of zero width.

    Source: Wilson, Probable inference, the law of succession, and statistical inference (JASA 1927).
    """
    share, square = hits / count, Z_95**2
    centre = (share + square / (2 * count)) / (1 + square / count)
    half = Z_95 * math.sqrt(share * (1 - share) / count + square / (4 * count**2)) / (1 + square / count)
    low = 0.0 if hits == 0 else centre - half  # exact in algebra, not in floating point
    high = 1.0 if hits == count else centre + half
    return max(0.0, low), min(1.0, high)


def drop_interval(lost: int, gained: int, count: int) -> Interval:
    """The 95 % score interval of a difference of paired proportions, (lost - gained) / count.

    It holds for few discordant pairs too: with none of `count` it is +-z^2 / (count + z^2), not a point.

    Args:
        lost: images that only the reference gets right; gained: images that only the candidate gets right.

    Source: Tango, Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design (Statistics in Medicine 17, 1998), equations 10 to 13.
    """
    drop = (lost - gained) / count

    def score(delta: float) -> float:
        return _tango_score(lost, gained, count, delta)

    low = _crossing(lambda delta: score(delta) > Z_95, -1.0, drop)
    high = _crossing(lambda delta: score(delta) > -Z_95, drop, 1.0)
    return low, high


def _tango_score(lost: int, gained: int, count: int, delta: float) -> float:
    """By how many standard errors the observed difference exceeds `delta`, if `delta` is the true one."""
    a = 2.0 * count
    b = -lost - gained + (2 * count - lost + gained) * delta
    c = -gained * delta * (1 - delta)
    gained_share = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)  # maximum likelihood, given delta
    variance = count * (2 * gained_share + delta * (1 - delta))
    distance = lost - gained - count * delta
    if variance <= 0.0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def _crossing(still_above: Callable[[float], bool], low: float, high: float) -> float:
    """By bisection, where `still_above` changes from true (at low) to false (at high)."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if still_above(middle) else (low, middle)
    return (low + high) / 2
