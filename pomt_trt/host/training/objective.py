"""Losses and accuracies of the two tasks: a class for each image, or a class for each pixel."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from pomt_trt.core.metrics import segmentation
from pomt_trt.core.records import MIOU, TOP1
from pomt_trt.host.models import loading

LABEL_SMOOTHING = 0.1  # of the classes of images


class Classification:
    """Loss and accuracy of a class for each image: labels (B,), logits (B, classes)."""

    kind = TOP1  # of accuracy, see core/metrics/accuracy
    queries = 1  # rows of logits that an auxiliary head gives

    def logits(self, outputs: Tensor) -> Tensor:
        """Logits (B, ...) from the outputs of the model's head, in the image's order."""
        return outputs

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy."""
        return functional.cross_entropy(logits, labels, label_smoothing=LABEL_SMOOTHING)

    def auxiliary_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of an auxiliary head's logits (B, queries, classes)."""
        return self.loss(logits[:, 0], labels)

    def tally(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Whether each image is right (B,)."""
        return logits.argmax(1) == labels

    def accuracy(self, tallies: Tensor) -> float:
        """0..1, from the tallies (n, ...) of all images."""
        return float(tallies.float().mean())


class Segmentation(NamedTuple):
    """As Classification, for each pixel: labels (B, H, W), 255: ignored; logits (B, classes, rows, columns) of patches.

    Source: Token Cropr's recipe for semantic segmentation (see cropr.py): one query and label for each patch.
    """

    classes: int
    grid: tuple[int, int]  # rows and columns of patches
    prefix_tokens: int

    @property
    def kind(self) -> str:
        return MIOU

    @property
    def queries(self) -> int:
        return self.grid[0] * self.grid[1]

    def logits(self, outputs: Tensor) -> Tensor:
        patches = outputs[:, self.prefix_tokens :].transpose(1, 2)  # (B, classes, patches)
        return patches.reshape(*patches.shape[:2], *self.grid)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return _of_labelled(_of_pixels(logits, labels), labels)

    def auxiliary_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """A patch's label is that of the pixel nearest to its centre."""
        nearest = functional.interpolate(labels[:, None].float(), size=self.grid, mode="nearest-exact")
        return _of_labelled(logits.transpose(1, 2), nearest.flatten(1))

    def tally(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Pixels of each class, see core/metrics/segmentation.counts."""
        guessed = _of_pixels(logits, labels).argmax(1).byte()
        counted = segmentation.counts(guessed.cpu().numpy(), labels.cpu().numpy(), self.classes)
        return torch.from_numpy(counted).to(logits.device, torch.long)

    def accuracy(self, tallies: Tensor) -> float:
        return segmentation.mean_iou(tallies.cpu().numpy())


Objective = Classification | Segmentation


def objective_of(vit: Any) -> Objective:
    """The objective of a model, by its head."""
    if loading.is_dense(vit):
        return Segmentation(vit.num_classes, tuple(vit.patch_embed.grid_size), vit.num_prefix_tokens)
    return Classification()


def _of_pixels(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits of pixels (B, classes, H, W) from those of patches (B, classes, rows, columns)."""
    return functional.interpolate(logits.float(), size=labels.shape[1:], mode="bilinear", align_corners=False)


def _of_labelled(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the labels that are not ignored; 0 without any. Logits (B, classes, ...), labels (B, ...)."""
    total = functional.cross_entropy(logits, labels.long(), ignore_index=segmentation.IGNORED, reduction="sum")
    return total / (labels != segmentation.IGNORED).sum().clamp(min=1)
