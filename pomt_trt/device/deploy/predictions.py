"""What is said of one image: from its logits to JSON and a line of a table; label maps go to PNG files.

Makes an Answering from a predictor, on the machine that runs engines; numpy and Pillow. Leaves out reading images and
running the engine (infer.py).
"""

import io
import os
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
from PIL import Image

from pomt_trt.core.errors import InputError, UsageError
from pomt_trt.core.metrics.segmentation import IGNORED
from pomt_trt.core.records import SEGMENTATION, ModelSpec
from pomt_trt.core.storage import store
from pomt_trt.device.deploy.classifier import softmax
from pomt_trt.device.deploy.segmenter import own_label_map

Answer = Dict[str, Any]


class Answering(NamedTuple):
    """How a task answers."""

    answer: Callable[[str, Tuple[int, int], np.ndarray], Answer]  # (path, its (width, height), its logits) -> for JSON
    words: Callable[[Answer], str]  # for people
    title: str  # of the column that words stand in


def answering(model: ModelSpec, top_k: int, folder: Optional[str]) -> Answering:
    """How a model's outputs are told.

    Args:
        top_k: classes to name for an image.
        folder: where label maps go; made where absent.
    Raises: UsageError where a model that needs a folder has none, or the other way round.
    """
    if model.task == SEGMENTATION:
        if folder is None:
            raise UsageError("{} labels pixels: give --out DIR, a folder for its label maps.".format(model.name))
        return Answering(_Segmentation(model, top_k, folder).answer, _shares_in_words, "label map and shares")
    if folder is not None:
        raise UsageError("{} labels whole images, and --out is for label maps. Leave it out.".format(model.name))
    return Answering(lambda path, size, logits: _predictions(model, top_k, logits), _in_words, "predictions")


def _predictions(model: ModelSpec, top_k: int, logits: np.ndarray) -> Answer:
    """Label, index and probability of the most probable classes, the most probable first."""
    return {"predictions": _best(model, softmax(logits), top_k, "probability")}


def _in_words(answer: Answer) -> str:
    return ", ".join("{} {:.1f} %".format(p["label"], 100 * p["probability"]) for p in answer["predictions"])


class _Segmentation:
    """Writes a label map for each image of a run; names are given once."""

    def __init__(self, model: ModelSpec, top_k: int, folder: str) -> None:
        self._model, self._top_k, self._folder = model, top_k, folder
        self._taken: Dict[str, str] = {}  # file -> the image that it belongs to

    def answer(self, path: str, size: Tuple[int, int], logits: np.ndarray) -> Answer:
        """The file of an image's label map, and which share of the labelled pixels each class has, the largest first.

        Raises: InputError where the folder of label maps is the image's own: its file could be replaced.
        """
        file = self._file(path)
        labels = own_label_map(logits, size, self._model.preprocessing)
        with store.explained(self._folder):
            os.makedirs(self._folder, exist_ok=True)
        write_png(labels, file)
        seen = labels[labels != IGNORED]
        shares = np.bincount(seen, minlength=self._model.classes) / max(len(seen), 1)
        found = _best(self._model, shares, self._top_k, "share")
        return {"label_map": file, "shares": [one for one in found if one["share"] > 0]}

    def _file(self, path: str) -> str:
        """DIR/picture.png for picture.jpg; of several images of one name, those after the first are numbered."""
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
    """The classes of the largest values, with their label, index and value."""
    labels = model.labels
    return [
        {"label": labels[i] if i < len(labels) else str(i), "index": int(i), name: float(values[i])}
        for i in np.argsort(-values, kind="stable")[:count]
    ]


def write_png(labels: np.ndarray, path: str) -> None:
    """Writes a label map as a PNG with a palette: each pixel's byte is its class, shown in the class's colour."""
    picture = Image.fromarray(labels)
    picture.putpalette([channel for label in range(256) for channel in colour(label)])
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    store.write_bytes(path, buffer.getvalue())


def colour(label: int) -> Tuple[int, int, int]:
    """Red, green and blue of a class, each from every third of its bits, the lowest weighing most; 255 is white.

    Source: the colours of PASCAL VOC's label maps (Everingham et al., IJCV 2010), where 0 is black.
    """
    if label == IGNORED:
        return 255, 255, 255
    red, green, blue = (
        sum((label >> (3 * place + channel) & 1) << (7 - place) for place in range(3)) for channel in range(3)
    )
    return red, green, blue
