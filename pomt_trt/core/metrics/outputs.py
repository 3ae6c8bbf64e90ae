"""Accuracy of outputs that are no choice between classes: probabilities of labels, and values.

Each metric is that of all images; its interval is a bootstrap over images, with the same images drawn for both models.
Several labels or values: the mean over them. Sources: F1 and AUROC as in scikit-learn's f1_score (threshold 0.5, macro)
and roc_auc_score (macro), R2 and MAE as in its r2_score and mean_absolute_error; the tests compare them.
"""

from typing import Callable, Dict, Tuple

import numpy as np

from pomt_trt.core.errors import InputError
from pomt_trt.core.metrics.pair import Pair
from pomt_trt.core.metrics.resampling import RESAMPLES, interval, resampled
from pomt_trt.core.records import AUROC, F1, FIDELITY, MAE, R2, SIDE_AGREEMENT, AccuracyEstimate, Metric

MetricT = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # outputs, targets (n, k), weights (m, n) -> (m,)
LABEL_RESAMPLES = 40000  # of all labels together: AUROC sorts for each of them
CHANCE = {AUROC: 0.5, R2: 0.0}  # what a constant answer has


def paired(kind: str, pair: Pair, candidate_id: str, source: str) -> AccuracyEstimate:
    """The accuracy of a candidate and its drop against the unreduced model, with 95 % intervals.

    An output that is not finite counts as the most wrong one.

    Args:
        kind: "auroc" (labels 0 or 1 decide), "side-agreement" (the share of labels that the unreduced model puts on
            the same side of 0.5), "r2" (values decide) or "fidelity" (R2 of the unreduced model's values).
        pair: outputs (images, k) before a sigmoid, and labels (images, k) or (images,).
    Raises: InputError where there are no images, or targets do not fit.
    """
    pair.check("images, outputs")
    probabilities = kind in (AUROC, SIDE_AGREEMENT)
    targets = _targets(kind, pair)
    own, reference = (_usable(outputs, targets, probabilities) for outputs in (pair.logits, pair.reference))
    most = max(200, min(RESAMPLES, LABEL_RESAMPLES // targets.shape[1]))
    metrics = [_compared(name, own, reference, targets, most) for name in _KINDS[kind]]
    return AccuracyEstimate(
        candidate_id=candidate_id,
        kind=kind,
        samples=len(own),
        accuracy=metrics[0].value,
        accuracy_ci=metrics[0].value_ci,
        drop=metrics[0].drop,
        drop_ci=metrics[0].drop_ci,
        kl_divergence=_divergence(reference, own, probabilities),
        source=source,
        constant_accuracy=CHANCE.get(kind),
        others=tuple(metrics[1:]),
    )


def _targets(kind: str, pair: Pair) -> np.ndarray:
    """(images, k) what the outputs should be."""
    if kind == FIDELITY:
        return pair.reference.astype(float)
    if kind == SIDE_AGREEMENT:
        return (pair.reference > 0).astype(float)
    if pair.labels is None or len(pair.labels) != len(pair.logits):
        raise InputError("there are no labels of the {} images. Give one an image.".format(len(pair.logits)))
    targets = np.asarray(pair.labels, float).reshape(len(pair.labels), -1)
    if targets.shape != pair.logits.shape:
        raise InputError(
            "labels of shape {} do not match outputs of shape {}. Give as many an image as the model has "
            "outputs.".format(targets.shape, pair.logits.shape)
        )
    varied = targets.min(axis=0) < targets.max(axis=0)
    if not varied.any():
        raise InputError(
            "all {} images have the same label, and {} compares images of different ones. Add such images, or raise "
            "--samples.".format(len(targets), kind)
        )
    return targets


def _usable(outputs: np.ndarray, targets: np.ndarray, probabilities: bool) -> np.ndarray:
    """Outputs in float64; one that is not finite is as wrong as can be."""
    outputs = outputs.astype(float)
    if np.isfinite(outputs).all():
        return outputs
    middle = 0.5 if probabilities else (targets.min(axis=0) + targets.max(axis=0)) / 2
    low, high = (-1e30, 1e30) if probabilities else (targets.min(axis=0), targets.max(axis=0))
    return np.where(np.isfinite(outputs), outputs, np.where(targets > middle, low, high))


def _compared(name: str, own: np.ndarray, reference: np.ndarray, targets: np.ndarray, resamples: int) -> Metric:
    metric = METRICS[name]

    def both(weights: np.ndarray) -> np.ndarray:
        return np.stack([metric(own, targets, weights), metric(reference, targets, weights)], axis=1)

    values = resampled(both, len(own), resamples)  # (1 + resamples, 2)
    drops = values[:, 1] - values[:, 0]
    return Metric(name, float(values[0, 0]), interval(values[1:, 0]), float(drops[0]), interval(drops[1:]))


def auroc(outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(m,) area under the ROC curve, the mean over labels that are both 0 and 1; NaN where a resample has none."""
    columns = [_auroc(outputs[:, k], targets[:, k], weights) for k in range(targets.shape[1]) if np.ptp(targets[:, k])]
    areas = np.stack(columns, axis=1)  # (m, labels)
    known = ~np.isnan(areas)
    with np.errstate(invalid="ignore"):
        mean = np.where(known, areas, 0.0).sum(axis=1) / known.sum(axis=1)  # type: np.ndarray
    return mean


def _auroc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(m,) the share of pairs of a positive and a negative image in which the positive scores more; ties count half."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(scores[order]) > 0]))  # of equal scores
    weighted, positive = weights[:, order], positive[order]
    ups = np.add.reduceat(weighted * positive, starts, axis=1)  # (m, different scores)
    downs = np.add.reduceat(weighted * (1 - positive), starts, axis=1)
    below = np.cumsum(downs, axis=1) - downs
    with np.errstate(invalid="ignore"):
        area = (ups * (below + downs / 2)).sum(axis=1) / (ups.sum(axis=1) * downs.sum(axis=1))  # type: np.ndarray
    return area


def f1(outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(m,) 2 TP / (2 TP + FP + FN) at a probability of 0.5, the mean over labels; 0 where there is nothing to find."""
    said = (outputs > 0).astype(float)
    right, both = weights @ (said * targets), weights @ (said + targets)  # (m, labels)
    mean = (2 * right / np.maximum(both, 1e-12)).mean(axis=1)  # type: np.ndarray
    return mean


def side_agreement(outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(m,) the share of outputs that are on the target's side of 0.5."""
    same = ((outputs > 0) == (targets > 0)).mean(axis=1)  # (n,)
    share = weights @ same / weights.sum(axis=1)  # type: np.ndarray
    return share


def r2(outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(m,) 1 - squared error / squared deviation from the mean, the mean over outputs whose targets vary."""
    total = weights.sum(axis=1, keepdims=True)
    means = weights @ targets / total  # (m, k)
    spread = weights @ targets**2 - total * means**2
    left = weights @ (targets - outputs) ** 2
    varies = spread > 1e-12 * (1 + total * means**2)
    shares = np.where(varies, 1 - left / np.where(varies, spread, 1.0), np.nan)
    with np.errstate(invalid="ignore"):
        mean = np.where(varies, shares, 0.0).sum(axis=1) / varies.sum(axis=1)  # type: np.ndarray
    return mean


def mean_absolute_error(outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(m,) in the targets' unit."""
    error = weights @ np.abs(targets - outputs).mean(axis=1) / weights.sum(axis=1)  # type: np.ndarray
    return error


METRICS: Dict[str, MetricT] = {
    AUROC: auroc,
    F1: f1,
    SIDE_AGREEMENT: side_agreement,
    R2: r2,
    FIDELITY: r2,
    MAE: mean_absolute_error,
}
_KINDS: Dict[str, Tuple[str, ...]] = {
    AUROC: (AUROC, F1),
    SIDE_AGREEMENT: (SIDE_AGREEMENT,),
    R2: (R2, MAE),
    FIDELITY: (FIDELITY, MAE),
}


def sigmoid(outputs: np.ndarray) -> np.ndarray:
    """Probabilities, float64 of the same shape."""
    half = np.exp(-np.abs(outputs.astype(float)))
    given = np.where(outputs >= 0, 1 / (1 + half), half / (1 + half))  # type: np.ndarray
    return given


def _divergence(reference: np.ndarray, own: np.ndarray, probabilities: bool) -> float:
    """Mean over images of KL(unreduced || this) summed over labels, in nats; of values, of Gaussians."""
    if not probabilities:
        spread = np.maximum(reference.var(axis=0), 1e-12)
        return float(((reference - own) ** 2 / (2 * spread)).sum(axis=1).mean())
    p = sigmoid(reference)

    def log(x: np.ndarray) -> np.ndarray:  # of the sigmoid
        logs = np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))  # type: np.ndarray
        return logs

    nats = p * (log(reference) - log(own)) + (1 - p) * (log(-reference) - log(-own))
    return max(0.0, float(nats.sum(axis=1).mean()))
