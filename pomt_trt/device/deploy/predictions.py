"""Formats the logits of an image: as JSON, as a line of text, and by task as a PNG file or a row of a .npy file."""

import contextlib
import io
import os
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
from PIL import Image

from pomt_trt.core.errors import InputError, UsageError
from pomt_trt.core.metrics.segmentation import IGNORED
from pomt_trt.core.records import BINARY, FEATURES, MULTILABEL, REGRESSION, SEGMENTATION, ModelSpec
from pomt_trt.core.storage import store
from pomt_trt.device.deploy.classifier import probabilities, softmax
from pomt_trt.device.deploy.feature_file import FeatureFile
from pomt_trt.device.deploy.segmenter import own_label_map

Answer = Dict[str, Any]


class Answering(NamedTuple):
    """The formats of a task."""

    answer: Callable[[str, Tuple[int, int], np.ndarray], Answer]  # (path, (width, height), logits) -> JSON
    words: Callable[[Answer], str]  # JSON -> text
    title: str  # of the column with that text
    file: Any = contextlib.ExitStack()  # a context manager, to be entered before the first answer; here, of nothing


def answering(model: ModelSpec, top_k: int, out: Optional[str]) -> Answering:
    """The formats for a model.

    Args:
        top_k: number of classes to name for an image.
        out: folder for label maps, which is created; or the .npy file for features.
    Raises: UsageError if a task that writes files has no `out`, or another one has it.
    """
    if model.task == SEGMENTATION:
        if out is None:
            raise UsageError("{} labels pixels: give --out DIR, a folder for its label maps.".format(model.name))
        return Answering(_Segmentation(model, top_k, out).answer, _shares_in_words, "label map and shares")
    if model.task == FEATURES:
        return _features(model, out)
    if out is not None:
        raise UsageError(
            "{} is for {}, and --out is for label maps and features. Leave it out.".format(model.name, model.task)
        )
    if model.task == MULTILABEL:
        return Answering(lambda path, size, logits: _labels(model, top_k, logits), _in_words, "labels by themselves")
    if model.task == BINARY:
        return Answering(lambda path, size, logits: _one_label(model, logits), _one_in_words, "probability")
    if model.task == REGRESSION:
        return Answering(lambda path, size, logits: _values(model, logits), _values_in_words, "values")
    return Answering(lambda path, size, logits: _predictions(model, top_k, logits), _in_words, "predictions")


def _features(model: ModelSpec, out: Optional[str]) -> Answering:
    """With `out` a row of the file for each image, in the order of the images; without it the features themselves."""
    if out is None:
        return Answering(
            lambda path, size, features: {"features": [float(value) for value in features]},
            lambda answer: " ".join("{:.4g}".format(value) for value in answer["features"]),
            "features",
        )
    file = FeatureFile(out, model.classes)
    return Answering(
        lambda path, size, features: {"row": file.append(features)},
        lambda answer: str(answer["row"]),
        "row in {}".format(out),
        file,
    )


def _labels(model: ModelSpec, top_k: int, logits: np.ndarray) -> Answer:
    """As _predictions; probabilities do not sum to 1."""
    return {"predictions": _best(model, probabilities(logits), top_k, "probability")}


def _one_label(model: ModelSpec, logits: np.ndarray) -> Answer:
    """The probability of the label that the model is about: its only name, or the second of two."""
    named = {"label": model.labels[-1]} if model.labels else {}
    return dict(named, probability=float(probabilities(logits)[0]))


def _one_in_words(answer: Answer) -> str:
    return "{}{:.1f} %".format(answer["label"] + " " if "label" in answer else "", 100 * answer["probability"])


def _values(model: ModelSpec, values: np.ndarray) -> Answer:
    """Each value, with its name where outputs have names."""
    names = model.labels or [str(number) for number in range(len(values))]
    return {"values": [{"label": name, "value": float(value)} for name, value in zip(names, values)]}


def _values_in_words(answer: Answer) -> str:
    values = answer["values"]
    if len(values) == 1:
        return "{:.6g}".format(values[0]["value"])
    return ", ".join("{} {:.6g}".format(one["label"], one["value"]) for one in values)


def _predictions(model: ModelSpec, top_k: int, logits: np.ndarray) -> Answer:
    """Label, index and probability of the top_k classes, the most probable first."""
    return {"predictions": _best(model, softmax(logits), top_k, "probability")}


def _in_words(answer: Answer) -> str:
    return ", ".join("{} {:.1f} %".format(p["label"], 100 * p["probability"]) for p in answer["predictions"])


class _Segmentation:
    """Writes one label map for each image, under a file name of its own."""

    def __init__(self, model: ModelSpec, top_k: int, folder: str) -> None:
        self._model, self._top_k, self._folder = model, top_k, folder
        self._taken: Dict[str, str] = {}  # label map -> its image

    def answer(self, path: str, size: Tuple[int, int], logits: np.ndarray) -> Answer:
        """The label map's file, and the share of pixels that each class has, the largest first.

        Raises: InputError if the image lies in the folder of label maps, where a label map could replace it.
        """
        file = self._file(path)
        labels = own_label_map(logits, size, self._model.preprocessing)
        write_png(labels, file)
        labelled = labels[labels != IGNORED]
        shares = np.bincount(labelled, minlength=self._model.classes) / max(len(labelled), 1)
        best = _best(self._model, shares, self._top_k, "share")
        return {"label_map": file, "shares": [one for one in best if one["share"] > 0]}

    def _file(self, path: str) -> str:
        """DIR/picture.png for picture.jpg. If several images have one name, all but the first get a number."""
        if os.path.realpath(os.path.dirname(path) or ".") == os.path.realpath(self._folder):
            raise InputError("{} lies in the folder for label maps. Give --out another folder.".format(path))
        stem, number = os.path.splitext(os.path.basename(path))[0], 1
        file = os.path.join(self._folder, stem + ".png")
        while self._taken.setdefault(file, path) != path:
            number += 1
            file = os.path.join(self._folder, "{}-{}.png".format(stem, number))
        return file


def _shares_in_words(answer: Answer) -> str:
    shares = ["{} {:.1f} %".format(one["label"], 100 * one["share"]) for one in answer["shares"]]
    return "{}  {}".format(answer["label_map"], ", ".join(shares))


def _best(model: ModelSpec, values: np.ndarray, count: int, name: str) -> List[Dict[str, Any]]:
    """Label, index and value of the `count` classes with the largest values."""
    labels = model.labels
    return [
        {"label": labels[i] if i < len(labels) else str(i), "index": int(i), name: float(values[i])}
        for i in np.argsort(-values, kind="stable")[:count]
    ]


def write_png(labels: np.ndarray, path: str) -> None:
    """Writes a label map as a PNG with a palette: a pixel's byte is its class, the palette has the class's colour."""
    picture = Image.fromarray(labels)
    picture.putpalette([channel for label in range(256) for channel in colour(label)])
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    store.write_bytes(path, buffer.getvalue())


def colour(label: int) -> Tuple[int, int, int]:
    """Red, green and blue of a class. Each takes every third bit of the class, the lowest bit first; 255 is white.

    Source: the colours of PASCAL VOC's label maps (Everingham et al., IJCV 2010), where 0 is black.
    """
    if label == IGNORED:
        return 255, 255, 255
    red, green, blue = (
        sum((label >> (3 * place + channel) & 1) << (7 - place) for place in range(3)) for channel in range(3)
    )
    return red, green, blue
