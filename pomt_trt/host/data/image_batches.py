"""Images for a model, in batches: of a folder, bundled, or random.

Files go through timm's evaluation transform. They are kept as uint8, so that golden.npz and accuracy estimates use the
same pixels. Label maps are resized and cropped with their images, to the nearest pixel.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pomt_trt.core.data import dataset
from pomt_trt.core.data.images import in_colours, open_image, open_label_map
from pomt_trt.core.errors import InputError, MissingDependency, UsageError
from pomt_trt.core.metrics.segmentation import IGNORED
from pomt_trt.core.records import ClassOrder, ModelSpec, Preprocessing
from pomt_trt.host.data.bundled import BUNDLED

try:
    import torch
    from PIL import Image
    from timm.data import create_transform
except ImportError as error:
    raise MissingDependency(
        f"images are read on the workstation, with torch and timm: {error}. Install there: pip install 'pomt-trt[host]'"
    ) from error

LOGGER = logging.getLogger(__name__)
Pixels = NDArray[np.uint8]
Progress = Callable[[int, int], None]
COARSE_PX = 8  # resolution of random pictures; in white noise all patches would be alike


@dataclass(frozen=True)
class Images:
    """Images in a stable order, cropped to the model's size."""

    kind: str  # labelled, unlabelled, random
    labels: torch.Tensor | None  # (n,) int64, in segmentation (n, H, W) uint8; None unless labelled
    stored: Pixels  # (n, H, W, C), not yet normalised
    preprocessing: Preprocessing
    class_order: ClassOrder | None = None  # from class names in the data to labels

    def __len__(self) -> int:
        return len(self.stored)

    def batches(self, size: int) -> Iterator[torch.Tensor]:
        """All images, normalised: float32 (size, C, H, W). The last batch may be smaller."""
        for start in range(0, len(self), size):
            yield normalised(self.stored[start : start + size], self.preprocessing)


def normalised(pixels: Pixels, preprocessing: Preprocessing) -> torch.Tensor:
    """(pixels / 255 - mean) / std, to the bit as timm: uint8 (n, H, W, C) to float32 (n, C, H, W)."""
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()  # (n, C, H, W)
    return batch.float().div_(255).sub_(mean).div_(std)


def load(
    data: str | None,
    spec: ModelSpec,
    samples: int,
    seed: int,
    progress: Progress | None = None,
    class_order: str | None = None,
) -> Images:
    """Loads images for a model, all at once: samples * height * width * channels bytes of memory.

    Args:
        data: folder or CSV file (core/data/dataset). None: the held-out pictures of a bundled model, else random ones,
            which can only show whether two models agree.
        samples: how many at most; files are drawn without replacement.
        seed: of that draw, or of the random images.
        progress: called with (done, total) after every file.
        class_order: natural, string or a file of class names; None: chosen by the names in the data.
    Raises:
        UsageError: samples is less than 1.
        InputError: there is no image, none can be read, or the labels do not match the head.
    """
    if samples < 1:
        raise UsageError(f"{samples} samples were asked for: ask for 1 or more.")
    if data is not None:
        return _from_files(dataset.sample(dataset.find_for(data, spec, class_order), samples, seed), spec, progress)
    if spec.name in BUNDLED:
        return _held_out(spec, samples)
    stored = _random_pictures(spec.preprocessing, samples, seed)
    return Images("random", None, stored, spec.preprocessing)


def _from_files(chosen: dataset.Dataset, spec: ModelSpec, progress: Progress | None) -> Images:
    fit, fit_labels = fitting(spec.preprocessing), fitting_labels(spec.preprocessing)
    stored = np.empty((len(chosen.items), *_shape(spec.preprocessing)), np.uint8)
    labels: list[int | Pixels | None] = []  # of the readable files
    for done, item in enumerate(chosen.items, start=1):
        image = _decoded(item.path, spec.preprocessing)
        if image is not None:
            stored[len(labels)] = fit(image)
            maps = item.label_map
            labels.append(item.label if maps is None else fit_labels(open_label_map(maps, image.size, spec.classes)))
        if progress is not None:
            progress(done, len(chosen.items))
    if not labels:
        raise InputError(
            f"none of {len(chosen.items)} images can be read, among them {chosen.items[0].path}. Open one in an image "
            "viewer to see whether the files are damaged."
        )
    tensor = torch.from_numpy(np.array(labels)) if chosen.kind == "labelled" else None
    return Images(chosen.kind, tensor, stored[: len(labels)], spec.preprocessing, chosen.class_order)


def _decoded(path: str, preprocessing: Preprocessing) -> Image.Image | None:
    """The image in the model's colours. None, with a warning, where it cannot be read."""
    try:
        return in_colours(open_image(path, turned=preprocessing.exif), preprocessing.channels)
    except InputError as error:
        LOGGER.warning("skipped: %s", error)
        return None


def fitting_labels(preprocessing: Preprocessing, *, varied: bool = False) -> Callable[[Pixels], Pixels]:
    """The transform of `fitting` for label maps (height, width) -> (H, W): nearest pixels, IGNORED where it pads."""
    nearest = preprocessing._replace(interpolation="nearest", channels=1, mean=(0.0,), std=(1.0,))
    fit = fitting(nearest, varied=varied)  # it pads with 0, which is IGNORED in labels counted down from IGNORED
    return lambda labels: IGNORED - fit(Image.fromarray(IGNORED - labels))[:, :, 0]


def fitting(preprocessing: Preprocessing, *, varied: bool = False) -> Callable[[Image.Image], Pixels]:
    """timm's evaluation transform without normalisation: image -> uint8 (H, W, C).

    Args:
        varied: timm's training transform instead: random crop of 8 to 100 %, mirroring and colour jitter. The same
            random state crops an image and its label map alike.
    """
    height, width, channels = _shape(preprocessing)
    transform = create_transform(
        input_size=(channels, height, width),
        is_training=varied,
        color_jitter=0.4 if channels == 3 else None,
        interpolation=preprocessing.interpolation,
        mean=preprocessing.mean,
        std=preprocessing.std,
        crop_pct=preprocessing.crop_pct,
        crop_mode=preprocessing.crop_mode,
        normalize=False,
    )
    return lambda image: transform(image).permute(1, 2, 0).numpy()  # (C, H, W) -> (H, W, C)


def _held_out(spec: ModelSpec, samples: int) -> Images:
    pictures, labels = BUNDLED[spec.name](held_out=True)
    fit, channels = fitting(spec.preprocessing), spec.preprocessing.channels
    stored = np.stack([fit(in_colours(Image.fromarray(picture), channels)) for picture in pictures[:samples]])
    return Images("labelled", torch.from_numpy(labels[:samples]), stored, spec.preprocessing)


def _random_pictures(preprocessing: Preprocessing, samples: int, seed: int) -> Pixels:
    height, width, channels = _shape(preprocessing)
    coarse = np.random.RandomState(seed).randint(256, size=(samples, COARSE_PX, COARSE_PX, channels), dtype=np.uint8)
    resized = [
        Image.fromarray(picture.squeeze(2) if channels == 1 else picture).resize((width, height)) for picture in coarse
    ]
    return np.stack([np.asarray(image).reshape(height, width, channels) for image in resized])


def _shape(preprocessing: Preprocessing) -> tuple[int, int, int]:
    return preprocessing.height, preprocessing.width, preprocessing.channels
