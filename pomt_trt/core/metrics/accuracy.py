"""Which kind of accuracy a model has, and its estimate, for both tasks.

Top-1 and mIoU need labels and trained weights. Without them, accuracy is the agreement with the unreduced model.
"""

from typing import Optional

from pomt_trt.core.metrics import classification, segmentation
from pomt_trt.core.metrics.pair import Pair
from pomt_trt.core.records import (
    ACCURACY_TITLES,
    AGREEMENT,
    MIOU,
    PIXEL_AGREEMENT,
    SEGMENTATION,
    TOP1,
    AccuracyEstimate,
    ModelSpec,
    Preprocessing,
)


def kind_of(spec: ModelSpec, labelled: bool) -> str:
    """The kind of accuracy of a model on images that are labelled or not."""
    meaningful = labelled and not spec.random_weights
    if spec.task == SEGMENTATION:
        return MIOU if meaningful else PIXEL_AGREEMENT
    return TOP1 if meaningful else AGREEMENT


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
    return classification.paired(kind, pair, candidate_id, source)


def doubt(unreduced: AccuracyEstimate) -> Optional[str]:
    """Why data or weights are probably wrong: the unreduced model is no better than a constant answer; else None."""
    constant, interval = unreduced.constant_accuracy, unreduced.accuracy_ci
    if constant is None or interval[0] > constant:
        return None
    return (
        "the unreduced model has {} {:.1%} (95 % interval {:.1%} to {:.1%}), which is no better than one answer to "
        "all, the commonest label ({:.1%}). Likely causes: the labels' classes are in another order than the model's, "
        "the preprocessing is another than in training, or these are not the weights of this model.".format(
            ACCURACY_TITLES[unreduced.kind], unreduced.accuracy, interval[0], interval[1], constant
        )
    )
