"""How far one model's logits are from another's on the same images: accuracies, paired drops and intervals.

Makes an AccuracyEstimate from two arrays of logits, on any machine. Leaves out where logits and labels came from.
"""

import math
from typing import Callable, Optional

import numpy as np

from pomt_trt.core.errors import InputError
from pomt_trt.core.records import AGREEMENT, TOP1, AccuracyEstimate, Interval

Z_95 = 1.959963984540054  # the normal quantile that leaves 2.5 % on either side


def paired(
    kind: str,
    reference_logits: np.ndarray,
    logits: np.ndarray,
    labels: Optional[np.ndarray],
    candidate_id: str,
    source: str,
) -> AccuracyEstimate:
    """The accuracy of `logits`, and its drop against the unreduced model on the same images, with 95 % intervals.

    A row that is not finite is a wrong prediction and never an agreement; it makes the divergence NaN.

    Args:
        kind: "top1" (labels decide) or "agreement" (the reference's top-1 decides; its own accuracy is then 1).
        reference_logits: (n, classes) of the unreduced model.
        logits: (n, classes) of the candidate.
        labels: (n,) integers for top1, None for agreement.
        source: what computed the logits, such as "host-fp32" or "engine".

    Raises: InputError where there are no images, or shapes or labels do not match.
    """
    reference_logits, logits = np.asarray(reference_logits), np.asarray(logits)
    _check(kind, reference_logits, logits, labels)
    target = top1(reference_logits) if labels is None or kind == AGREEMENT else np.asarray(labels)
    right = (top1(logits) == target) & (target >= 0)
    reference_right = np.ones(len(right), bool) if kind == AGREEMENT else top1(reference_logits) == target
    count, hits = len(right), int(right.sum())
    accuracy_ci = wilson(hits, count)
    if kind == AGREEMENT:  # the reference cannot be wrong here, so the drop has no variance but the agreement's own
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
        kl_divergence=kl_divergence(reference_logits, logits),
        source=source,
        constant_accuracy=largest_share(target) if kind == TOP1 else None,
    )


def _check(kind: str, reference: np.ndarray, logits: np.ndarray, labels: Optional[np.ndarray]) -> None:
    assert kind in (TOP1, AGREEMENT), kind
    if reference.ndim != 2 or reference.shape != logits.shape:
        raise InputError(
            "logits of shape {} cannot be paired with the unreduced model's {}: both must be (images, classes) of the "
            "same images. Compute both anew from the same data.".format(logits.shape, reference.shape)
        )
    if not len(logits):
        raise InputError("there are no images to estimate an accuracy from. Give at least one.")
    if kind == TOP1 and (labels is None or np.shape(labels) != (len(logits),)):
        raise InputError(
            "{} labels do not match the logits of {} images. Give one label an image, or ask for agreement.".format(
                "no" if labels is None else len(np.atleast_1d(labels)), len(logits)
            )
        )


def top1(logits: np.ndarray) -> np.ndarray:
    """(n, classes) -> (n,) the index of the largest logit, the lower on a tie; -1 where a row is not finite."""
    return np.where(np.isfinite(logits).all(axis=-1), logits.argmax(axis=-1), -1)


def largest_share(labels: np.ndarray) -> Optional[float]:
    """(n,) labels -> the share of the commonest one; None where all are the same."""
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
    """The 95 % score interval of a proportion; never of zero width, and always within 0..1.

    Source: Wilson, Probable inference, the law of succession, and statistical inference (JASA 1927).
    """
    share, square = hits / count, Z_95**2
    centre = (share + square / (2 * count)) / (1 + square / count)
    half = Z_95 * math.sqrt(share * (1 - share) / count + square / (4 * count**2)) / (1 + square / count)
    low = 0.0 if hits == 0 else centre - half  # the ends are exact in algebra, not in floating point
    high = 1.0 if hits == count else centre + half
    return max(0.0, low), min(1.0, high)


def drop_interval(lost: int, gained: int, count: int) -> Interval:
    """The 95 % score interval of a difference of paired proportions, (lost - gained) / count.

    Right for few and for no discordant pairs: with none of `count` it is +-z^2 / (count + z^2), not a point.

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
    """How many standard errors the observed difference lies above `delta`, were `delta` the true one."""
    a = 2.0 * count
    b = -lost - gained + (2 * count - lost + gained) * delta
    c = -gained * delta * (1 - delta)
    gained_share = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)  # the likeliest, given delta
    variance = count * (2 * gained_share + delta * (1 - delta))
    distance = lost - gained - count * delta
    if variance <= 0.0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def _crossing(still_above: Callable[[float], bool], low: float, high: float) -> float:
    """Where `still_above`, true on the left and false on the right, changes between low and high."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if still_above(middle) else (low, middle)
    return (low + high) / 2
