"""A labelled folder, or the bundled digits -> pictures to train on, to validate with and to calibrate on.

Makes torch datasets whose order and augmentation depend on seed, epoch and picture alone: not on workers, processes or
where a training was interrupted. On the workstation. The split is drawn once from the seed. Leaves out batches.
"""

import contextlib
import hashlib
import os
import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor
from torch.utils.data import Dataset

from pomt_trt.core import dataset
from pomt_trt.core.errors import InputError, UsageError
from pomt_trt.core.records import ModelSpec, Preprocessing
from pomt_trt.host import digits
from pomt_trt.host.data import DAMAGED, normalised

DIGITS = "digits"  # where pictures come from without --data
VALIDATION_PLACES, CALIBRATION_PLACES = 1_000_001, 1_000_002  # seeds of the digits' places that no epoch uses
Sample = tuple[Tensor, int]  # float32 (C, H, W), normalised; class


class Pictures(Dataset[Sample]):
    """Samples in an order of their own for each epoch.

    Args:
        at: (epoch, position) -> sample; of one epoch, the same every time.
        shuffled: whether an epoch has another order than that of positions.
    """

    def __init__(self, count: int, at: Callable[[int, int], Sample], seed: int, shuffled: bool = False) -> None:
        self._at, self._count, self._seed, self._shuffled = at, count, seed, shuffled
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """The epoch from which samples come now; before its batches are asked for."""
        self._epoch, self._order = epoch, list(range(self._count))
        if self._shuffled:
            random.Random(f"{self._seed} {epoch}").shuffle(self._order)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Sample:
        return self._at(self._epoch, self._order[number])


class Sets(NamedTuple):
    """All pictures of a training. None validates and trains; calibration sees training's, without augmentation."""

    training: Pictures
    validation: Pictures
    calibration: Pictures
    source: str  # a path, or digits
    sha256: str  # of names, labels and sizes of the files, or of the digits themselves


def load(data: str | None, spec: ModelSpec, *, validation: float, augment: bool, seed: int) -> Sets:
    """The pictures for a model.

    Args:
        data: labelled folder or CSV file (core/dataset); None: the digits, without those held out, at a new place in
            every epoch.
        validation: share of the pictures that validate, 0..1 without the ends.
        augment: crop, mirror and tint files at random, as ImageNet's models are trained (timm).
    Raises: UsageError for another share; InputError without labels that fit the head.
    """
    if not 0 < validation < 1:
        raise UsageError(f"--validation is {validation}; it must lie between 0 and 1.")
    if data is None:
        return _digits(spec, validation, seed)
    return _files(data, spec, validation, augment, seed)


def _files(data: str, spec: ModelSpec, validation: float, augment: bool, seed: int) -> Sets:
    found = dataset.find(data, spec.classes, spec.labels)
    if found.kind != "labelled":
        raise InputError(f"{data} has no labels, and training needs them. Put the images in a folder for each class.")
    held, rest = _split(len(found.items), validation, seed)
    plain = _transform(spec.preprocessing, training=False)
    varied = _transform(spec.preprocessing, training=True) if augment else plain

    def reader(positions: Sequence[int], transform: Callable[[Image.Image], Tensor]) -> Callable[[int, int], Sample]:
        def at(epoch: int, position: int) -> Sample:
            with _lot(f"{seed} {epoch} {positions[position]}"):
                return _opened(found.items[positions[position]], spec.preprocessing, transform)

        return at

    listed = [f"{os.path.relpath(one.path, data)} {one.label} {os.path.getsize(one.path)}" for one in found.items]
    return Sets(
        Pictures(len(rest), reader(rest, varied), seed, shuffled=True),
        Pictures(len(held), reader(held, plain), seed),
        Pictures(len(rest), reader(rest, plain), seed),
        os.path.abspath(data),
        hashlib.sha256("\n".join(listed).encode()).hexdigest(),
    )


def _opened(item: dataset.Item, preprocessing: Preprocessing, transform: Callable[[Image.Image], Tensor]) -> Sample:
    assert item.label is not None
    try:
        with Image.open(item.path) as image:
            return transform(image.convert("L" if preprocessing.channels == 1 else "RGB")), item.label
    except DAMAGED as error:
        raise InputError(f"{item.path} cannot be read: {error}. Mend or remove it.") from error


def _transform(preprocessing: Preprocessing, training: bool) -> Callable[[Image.Image], Tensor]:
    """timm's own, with its defaults: random crop of 8 to 100 %, mirroring and colour jitter in training."""
    made: Callable[[Image.Image], Tensor] = create_transform(
        input_size=(preprocessing.channels, preprocessing.height, preprocessing.width),
        is_training=training,
        color_jitter=0.4 if preprocessing.channels == 3 else None,
        interpolation="random" if training else preprocessing.interpolation,
        mean=preprocessing.mean,
        std=preprocessing.std,
        crop_pct=preprocessing.crop_pct,
        crop_mode=preprocessing.crop_mode,
    )
    return made


def _digits(spec: ModelSpec, validation: float, seed: int) -> Sets:
    shape = (spec.preprocessing.height, spec.preprocessing.channels, spec.classes)
    if shape != (digits.CANVAS_PX, 1, 10):
        raise InputError(f"{spec.name} does not fit the bundled digits. Give labelled images: --data DIR.")
    images, labels = digits.training()
    held, rest = _split(len(labels), validation, seed)
    kept: dict[int, np.ndarray] = {}  # the pictures of the epoch last asked for

    def reader(positions: Sequence[int], places: Callable[[int], int]) -> Callable[[int, int], Sample]:
        def at(epoch: int, position: int) -> Sample:
            place = places(epoch)
            if place not in kept:
                kept.clear()
                kept[place] = digits.training(place)[0]
            row = positions[position]
            return normalised(kept[place][row][None, :, :, None], spec.preprocessing)[0], int(labels[row])

        return at

    return Sets(
        Pictures(len(rest), reader(rest, lambda epoch: seed * 1000 + epoch), seed, shuffled=True),
        Pictures(len(held), reader(held, lambda epoch: VALIDATION_PLACES), seed),
        Pictures(len(rest), reader(rest, lambda epoch: CALIBRATION_PLACES), seed),
        DIGITS,
        hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest(),
    )


def _split(count: int, validation: float, seed: int) -> tuple[list[int], list[int]]:
    """Positions that validate, and the others; each at least one."""
    if count < 2:
        raise InputError(f"there is {count} picture; training and validation need one each, and better hundreds.")
    order = list(range(count))
    random.Random(seed).shuffle(order)
    held = min(max(1, round(validation * count)), count - 1)
    return sorted(order[:held]), sorted(order[held:])


@contextlib.contextmanager
def _lot(seed: str) -> Iterator[None]:
    """Random draws of `random` and torch that depend on the seed alone; what was going on goes on."""
    before = random.getstate()
    with torch.random.fork_rng(devices=[]):
        number = random.Random(seed).getrandbits(63)
        random.seed(number)
        torch.manual_seed(number)
        try:
            yield
        finally:
            random.setstate(before)
