"""Which kind of accuracy a model has, and its estimate, for all tasks.

What labels decide needs labels and trained weights. Without them, accuracy is the agreement with the unreduced model.
"""

from typing import Dict, Optional, Tuple

from pomt_trt.core.metrics import classification, features, outputs, segmentation
from pomt_trt.core.metrics.pair import Pair
from pomt_trt.core.records import (
    ACCURACY_TITLES,
    AGREEMENT,
    AUROC,
    BINARY,
    CLASSIFICATION,
    COSINE,
    FEATURES,
    FIDELITY,
    KNN,
    MIOU,
    MULTILABEL,
    PIXEL_AGREEMENT,
    R2,
    REGRESSION,
    SEGMENTATION,
    SIDE_AGREEMENT,
    TOP1,
    AccuracyEstimate,
    ModelSpec,
    Preprocessing,
)

KINDS: Dict[str, Tuple[str, str]] = {  # task -> with labels and trained weights, without
    CLASSIFICATION: (TOP1, AGREEMENT),
    SEGMENTATION: (MIOU, PIXEL_AGREEMENT),
    FEATURES: (KNN, COSINE),
    BINARY: (AUROC, SIDE_AGREEMENT),
    MULTILABEL: (AUROC, SIDE_AGREEMENT),
    REGRESSION: (R2, FIDELITY),
}


def kind_of(spec: ModelSpec, labelled: bool) -> str:
    """The kind of accuracy of a model on images that are labelled or not."""
    return KINDS[spec.task][0 if labelled and not spec.random_weights else 1]


def depends_on_number(kind: str) -> bool:
    """Whether the accuracy itself, and not only its interval, depends on the number of images."""
    return kind in (MIOU, KNN)


def paired(kind: str, look: Preprocessing, pair: Pair, candidate_id: str, source: str) -> AccuracyEstimate:
    """The accuracy of a candidate and its drop against the unreduced model, with 95 % intervals.

    Args:
        kind: as kind_of says.
        look: of the model; pixels are compared at its input size.
        source: what computed the logits, such as "host-fp32" or "engine".
    Raises: InputError where there are no images, or shapes or labels do not match.
    """
    if kind in (MIOU, PIXEL_AGREEMENT):
        return segmentation.paired(kind, pair, (look.height, look.width), candidate_id, source)
    if kind in (KNN, COSINE):
        return features.paired(kind, pair, candidate_id, source)
    if kind in (TOP1, AGREEMENT):
        return classification.paired(kind, pair, candidate_id, source)
    return outputs.paired(kind, pair, candidate_id, source)


def doubt(unreduced: AccuracyEstimate) -> Optional[str]:
    """Why data or weights are probably wrong: the unreduced model is no better than a constant answer; else None."""
    constant, interval = unreduced.constant_accuracy, unreduced.accuracy_ci
    if constant is None or interval[0] > constant:
        return None
    label = "" if unreduced.kind in (AUROC, R2) else ", the commonest label"
    return (
        "the unreduced model has {} {:.1%} (95 % interval {:.1%} to {:.1%}), which is no better than one answer to "
        "all{} ({:.1%}). Likely causes: the labels' classes are in another order than the model's, "
        "the preprocessing is another than in training, or these are not the weights of this model.".format(
            ACCURACY_TITLES[unreduced.kind], unreduced.accuracy, interval[0], interval[1], label, constant
        )
    )
