"""Outputs of a model: whether they are classes of which one is the answer, and the names of the classes."""

import json
from pathlib import Path
from typing import Any

from timm.data import ImageNetInfo

from pomt_trt.core.errors import InputError
from pomt_trt.core.metrics.segmentation import MOST_CLASSES

ONE_ANSWER = "single_label_classification"  # Hugging Face's word, under the key PROBLEM
PROBLEM = "problem_type"
REDUCE = "In Python, pomt_trt.reduce_tokens takes the model as it is."


def check_classes(name: str, classes: int, dense: bool) -> None:
    """Raises InputError unless the answer is one of several classes.

    Args:
        classes: outputs of the classifier; 0: there is none.
        dense: each patch has an answer.
    """
    if classes == 0:
        raise InputError(
            f"{name} has no classifier (num_classes = 0): it gives features, and these are not supported yet. Give a "
            f"linear head as --head FILE, or a --checkpoint that has a head. {REDUCE}"
        )
    if classes == 1:
        raise InputError(
            f"{name} has one output: a probability or a value, not a choice between classes, and these are not "
            "supported yet. A binary head can be written as two classes: one of zeros, and the head itself. " + REDUCE
        )
    if dense and classes > MOST_CLASSES:
        raise InputError(
            f"{name} has a head for {classes} classes of patches, and label maps have one byte a pixel: {MOST_CLASSES} "
            "classes at most. Train a head of fewer classes."
        )


def check_problem(name: str, configuration: dict[str, Any]) -> None:
    """Raises InputError where the configuration names another problem than one class for each image."""
    nested = configuration.get("pretrained_cfg")
    problem = configuration.get(PROBLEM) or (nested.get(PROBLEM) if isinstance(nested, dict) else None)
    if problem not in (None, ONE_ANSWER):
        raise InputError(
            f"the configuration of {name} says {PROBLEM} = {problem}, and only {ONE_ANSWER} is supported yet: one "
            f"class an image. Give a --head for that, or correct the configuration if it is wrong. {REDUCE}"
        )


def configuration_in(folder: Path) -> dict[str, Any]:
    """timm's config.json of a local folder; {} where it cannot be read: timm's own error follows."""
    try:
        configuration = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return configuration if isinstance(configuration, dict) else {}


def known_labels(configuration: dict[str, Any], classes: int) -> tuple[str, ...]:
    """Class names in timm's configuration, or ImageNet's for a thousand classes, or none."""
    names = configuration.get("label_names") or ()
    if len(names) == classes:
        return tuple(str(label) for label in names)
    return tuple(ImageNetInfo().label_descriptions()) if classes == 1000 else ()


def labels_from_file(path: str, classes: int) -> tuple[str, ...]:
    """Class names, one a line. Raises InputError unless there are as many as classes."""
    try:
        names = Path(path).read_text(encoding="utf-8").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read labels from {path}: {error}. Give --labels a text file, a name a line."
        ) from error
    if len(names) != classes:
        raise InputError(
            f"{path} names {len(names)} classes, the model has {classes}: write one name a line, in the order of the "
            "model's classes."
        )
    return tuple(label.strip() for label in names)
