"""Outputs of a model: what they mean, and the names of the classes."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from timm.data import ImageNetInfo

from pomt_trt.core.errors import InputError
from pomt_trt.core.metrics.segmentation import MOST_CLASSES
from pomt_trt.core.records import BINARY, CLASSIFICATION, FEATURES, MULTILABEL, REGRESSION, SEGMENTATION

PROBLEM = "problem_type"  # Hugging Face's key; its words and our tasks:
PROBLEMS = {
    "single_label_classification": CLASSIFICATION,
    "multi_label_classification": MULTILABEL,
    "regression": REGRESSION,
}
AUTO = "auto"
REDUCE = "In Python, pomt_trt.reduce_tokens takes the model as it is."


class Outputs(NamedTuple):
    """What is known of a model's head."""

    classes: int  # outputs of the classifier; 0: there is none, and the model gives features
    dense: bool  # each patch has outputs
    problem: str | None = None  # of the configuration, under the key PROBLEM


def task_of(name: str, outputs: Outputs, wanted: str) -> str:
    """What the outputs mean: the task that is asked for, or that the configuration and the number of outputs say.

    Raises: InputError where they say nothing, contradict each other, or mean what is not supported.
    """
    if outputs.dense:
        return _dense_task(name, outputs, wanted)
    if wanted != AUTO:
        return _checked(name, outputs, wanted)
    if outputs.classes == 0:
        return FEATURES
    if outputs.problem not in (None, *PROBLEMS):
        raise InputError(
            f"the configuration of {name} says {PROBLEM} = {outputs.problem}; known are {', '.join(PROBLEMS)}. Say "
            f"what its outputs are: --task {BINARY}, {MULTILABEL}, {REGRESSION} or {CLASSIFICATION}. {REDUCE}"
        )
    if outputs.problem is None and outputs.classes == 1:
        raise InputError(
            f"{name} has one output, which may be a probability or a value. Say which: --task {BINARY} (a sigmoid "
            f"gives the probability) or --task {REGRESSION}."
        )
    task = PROBLEMS.get(outputs.problem or "", CLASSIFICATION)
    return _checked(name, outputs, BINARY if task != REGRESSION and outputs.classes == 1 else task)


def _checked(name: str, outputs: Outputs, task: str) -> str:
    classes = outputs.classes
    wrong = {
        FEATURES: classes > 0,
        BINARY: classes != 1,
        CLASSIFICATION: classes < 2,
        MULTILABEL: classes < 1,
        REGRESSION: classes < 1,
    }
    if wrong[task]:
        has = (
            "no classifier (num_classes = 0)"
            if classes == 0
            else "one output"
            if classes == 1
            else f"{classes} outputs"
        )
        needs = {BINARY: "one output", CLASSIFICATION: "two or more classes", FEATURES: "no head"}.get(task, "a head")
        raise InputError(
            f"{name} has {has}, and --task {task} needs {needs}. Give another --task, a linear head as --head FILE, or "
            "a --checkpoint that has a head."
        )
    return task


def _dense_task(name: str, outputs: Outputs, wanted: str) -> str:
    """Of a model without pooling: only a choice between classes is known."""
    if wanted not in (AUTO, CLASSIFICATION):
        raise InputError(
            f"{name} has an output for each patch, and --task {wanted} is about whole images. Leave it out."
        )
    if outputs.classes < 2:
        has = "features" if outputs.classes == 0 else "one output"
        raise InputError(
            f"{name} gives {has} of each patch, and only classes of patches are supported. Give a model that pools, or "
            f"one with a head for two classes or more. {REDUCE}"
        )
    if outputs.classes > MOST_CLASSES:
        raise InputError(
            f"{name} has a head for {outputs.classes} classes of patches, and label maps have one byte a pixel: "
            f"{MOST_CLASSES} classes at most. Train a head of fewer classes."
        )
    return SEGMENTATION


def problem_of(configuration: dict[str, Any]) -> str | None:
    """The problem that timm's or transformers' configuration names."""
    nested = configuration.get("pretrained_cfg")
    problem = configuration.get(PROBLEM) or (nested.get(PROBLEM) if isinstance(nested, dict) else None)
    return None if problem is None else str(problem)


def configuration_in(folder: Path) -> dict[str, Any]:
    """timm's config.json of a local folder; {} where it cannot be read: timm's own error follows."""
    try:
        configuration = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return configuration if isinstance(configuration, dict) else {}


def labels_of(configuration: dict[str, Any], classes: int, file: str | None) -> tuple[str, ...]:
    """Names of the outputs, from a file or where known; features have none."""
    if file:
        return labels_from_file(file, classes)
    return known_labels(configuration, classes) if classes else ()


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
