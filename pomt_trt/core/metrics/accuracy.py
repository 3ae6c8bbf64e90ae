"""Which accuracy a model has, and its estimate, whatever its task.

Makes an AccuracyEstimate from two arrays of logits, on any machine: top-1 or mean intersection over union where labels
and trained weights make that mean something, else agreement with the unreduced model. Leaves out how these are computed
(agreement.py, segmentation.py).
"""

from typing import Any, Optional

from pomt_trt.core.metrics import classification, segmentation
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
    """What can be said of a model on images that are labelled, or not."""
    meaningful = labelled and not spec.random_weights
    if spec.task == SEGMENTATION:
        return MIOU if meaningful else PIXEL_AGREEMENT
    return TOP1 if meaningful else AGREEMENT


def paired(
    kind: str,
    look: Preprocessing,
    reference_logits: Any,
    logits: Any,
    labels: Any,
    candidate_id: str,
    source: str,
) -> AccuracyEstimate:
    """The accuracy of `logits`, and its drop against the unreduced model on the same images, with 95 % intervals.

    Args:
        kind: as kind_of says.
        look: of the model, whose input size is the one at which pixels are compared.
        reference_logits, logits: (n, classes), or (n, classes, rows, columns) in segmentation.
        labels: (n,) classes, or (n, H, W) label maps; None where there are none.
        source: what computed the logits, such as "host-fp32" or "engine".
    Raises: InputError where there are no images, or shapes or labels do not match.
    """
    if kind in (MIOU, PIXEL_AGREEMENT):
        size = look.height, look.width
        return segmentation.paired(kind, reference_logits, logits, labels, size, candidate_id, source)
    return classification.paired(kind, reference_logits, logits, labels, candidate_id, source)


def doubt(unreduced: AccuracyEstimate) -> Optional[str]:
    """What an unreduced model's accuracy says against data or weights, with likely causes; None: nothing."""
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
