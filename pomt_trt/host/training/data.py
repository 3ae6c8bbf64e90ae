"""Pictures to train on, to validate with and to calibrate on, from a labelled folder or a bundled model's own.

Order and augmentation depend on seed, epoch and picture alone: not on workers, processes or interruptions.
"""

import contextlib
import hashlib
import os
import random
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pomt_trt.core.data import dataset
from pomt_trt.core.data.images import in_colours, open_image, open_label_map
from pomt_trt.core.errors import InputError, UsageError
from pomt_trt.core.records import SEGMENTATION, ClassOrder, ModelSpec, Preprocessing
from pomt_trt.host.data.bundled import BUNDLED
from pomt_trt.host.data.digits import CANVAS_PX
from pomt_trt.host.data.image_batches import fitting, fitting_labels, normalised

VALIDATION_PLACES, CALIBRATION_PLACES = 1_000_001, 1_000_002  # seeds of bundled pictures that no epoch uses
Sample = tuple[Tensor, int | Tensor]  # float32 (C, H, W), normalised; class, or label map uint8 (H, W)


class Pictures(Dataset[Sample]):
    """A dataset whose samples and order depend on the epoch.

    Args:
        at: (epoch, position) -> sample; a pure function.
        shuffled: each epoch has a random order; otherwise that of positions.
    """

    def __init__(self, count: int, at: Callable[[int, int], Sample], seed: int, shuffled: bool = False) -> None:
        self._at, self._count, self._seed, self._shuffled = at, count, seed, shuffled
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Begins an epoch. Call it before reading its batches."""
        self._epoch, self._order = epoch, list(range(self._count))
        if self._shuffled:
            random.Random(f"{self._seed} {epoch}").shuffle(self._order)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Sample:
        return self._at(self._epoch, self._order[number])


class Drawn:
    """Pictures that are drawn anew for each epoch.

    Args:
        draw: seed -> images (n, H, W) uint8, and their labels (n, ...).
    """

    def __init__(self, draw: Callable[[int], tuple[np.ndarray, np.ndarray]], preprocessing: Preprocessing) -> None:
        self.draw, self._preprocessing = lru_cache(maxsize=1)(draw), preprocessing

    def reader(self, positions: Sequence[int], seed_of: Callable[[int], int]) -> Callable[[int, int], Sample]:
        """(epoch, position) -> sample, of the pictures at these positions.

        Args:
            seed_of: epoch -> seed of the draw.
        """

        def at(epoch: int, position: int) -> Sample:
            image, label = (part[positions[position]] for part in self.draw(seed_of(epoch)))
            return normalised(image[None, :, :, None], self._preprocessing)[0], torch.as_tensor(label)

        return at


class Sets(NamedTuple):
    """All pictures of a training. Calibration uses the training pictures, without augmentation."""

    training: Pictures
    validation: Pictures
    calibration: Pictures
    source: str  # a path, or the name of the bundled model
    sha256: str  # of names, labels and sizes of the files, or of bundled pictures themselves
    class_order: ClassOrder | None = None  # from class names in the data to labels


def load(
    data: str | None,
    spec: ModelSpec,
    *,
    validation: float,
    augment: bool,
    seed: int,
    class_order: str | None = None,
) -> Sets:
    """Loads the pictures for a model.

    Args:
        data: labelled folder or CSV file (core/data/dataset). None: the training side of a bundled model's pictures,
            with digits at new places in every epoch.
        validation: share of the pictures that validate, between 0 and 1.
        augment: timm's training transform for files: random crop, mirroring and colour jitter.
        class_order: natural, string or a file of class names; None: chosen by the names in the data.
    Raises: UsageError for another share; InputError without labels that fit the head.
    """
    if not 0 < validation < 1:
        raise UsageError(f"--validation is {validation}; it must lie between 0 and 1.")
    if data is None:
        return _bundled(spec, validation, seed)
    return _files(data, dataset.find_for(data, spec, class_order), spec, validation, augment, seed)


def _files(data: str, files: dataset.Dataset, spec: ModelSpec, validation: float, augment: bool, seed: int) -> Sets:
    if files.kind != "labelled":
        wanted = "label maps beside images" if spec.task == SEGMENTATION else "the images in a folder for each class"
        raise InputError(f"{data} has no labels, and training needs them. Put {wanted}.")
    held, rest = _split(len(files.items), validation, seed)
    plain = _reading(spec, varied=False)
    varied = _reading(spec, varied=True) if augment else plain

    def reader(positions: Sequence[int], read: Callable[[dataset.Item, str], Sample]) -> Callable[[int, int], Sample]:
        return lambda epoch, position: read(files.items[positions[position]], f"{seed} {epoch} {positions[position]}")

    listed = [_listed(one, data) for one in files.items]
    return Sets(
        Pictures(len(rest), reader(rest, varied), seed, shuffled=True),
        Pictures(len(held), reader(held, plain), seed),
        Pictures(len(rest), reader(rest, plain), seed),
        os.path.abspath(data),
        hashlib.sha256("\n".join(listed).encode()).hexdigest(),
        files.class_order,
    )


def _listed(item: dataset.Item, data: str) -> str:
    """One file's line in the fingerprint of all."""
    label = item.label if item.label_map is None else os.path.getsize(item.label_map)
    return f"{os.path.relpath(item.path, data)} {label} {os.path.getsize(item.path)}"


def _reading(spec: ModelSpec, *, varied: bool) -> Callable[[dataset.Item, str], Sample]:
    """(file, seed) -> sample. Equal seeds vary the image and its label map equally."""
    look = spec.preprocessing
    fit = fitting(look._replace(interpolation="random") if varied else look, varied=varied)
    fit_labels = fitting_labels(look, varied=varied)

    def read(item: dataset.Item, drawn_by: str) -> Sample:
        image = in_colours(open_image(item.path, turned=look.exif), look.channels)
        with _seeded(drawn_by):
            pixels = normalised(fit(image)[None], look)[0]
        if item.label_map is None:
            assert item.label is not None
            return pixels, item.label
        labels = open_label_map(item.label_map, image.size, spec.classes)
        with _seeded(drawn_by):
            return pixels, torch.from_numpy(fit_labels(labels))

    return read


def _bundled(spec: ModelSpec, validation: float, seed: int) -> Sets:
    side_px = spec.preprocessing.height
    if side_px != CANVAS_PX:
        raise InputError(f"{spec.name} has pictures of {CANVAS_PX} pixels, not {side_px}. Give --data DIR.")
    drawn = Drawn(partial(BUNDLED[spec.name], held_out=False), spec.preprocessing)
    images, labels = drawn.draw(0)
    held, rest = _split(len(labels), validation, seed)
    return Sets(
        Pictures(len(rest), drawn.reader(rest, lambda epoch: seed * 1000 + epoch), seed, shuffled=True),
        Pictures(len(held), drawn.reader(held, lambda epoch: VALIDATION_PLACES), seed),
        Pictures(len(rest), drawn.reader(rest, lambda epoch: CALIBRATION_PLACES), seed),
        spec.name,
        hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest(),
    )


def _split(count: int, validation: float, seed: int) -> tuple[list[int], list[int]]:
    """Positions that validate, and the others; at least one each."""
    if count < 2:
        raise InputError(f"there is {count} picture; training and validation need one each, and better hundreds.")
    order = list(range(count))
    random.Random(seed).shuffle(order)
    held = min(max(1, round(validation * count)), count - 1)
    return sorted(order[:held]), sorted(order[held:])


@contextlib.contextmanager
def _seeded(seed: str) -> Iterator[None]:
    """Seeds `random` and torch while the block runs. Their states are restored afterwards."""
    before = random.getstate()
    with torch.random.fork_rng(devices=[]):
        number = random.Random(seed).getrandbits(63)
        random.seed(number)
        torch.manual_seed(number)
        try:
            yield
        finally:
            random.setstate(before)
