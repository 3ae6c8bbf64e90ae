"""Trains a whole model from labels, by the loop of host/training, and writes it in timm's local-dir format."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pomt_trt.core.records import Preprocessing
from pomt_trt.core.storage import store
from pomt_trt.host.training import checkpoint
from pomt_trt.host.training.data import Pictures
from pomt_trt.host.training.objective import Objective

ARCHITECTURE = "vit_tiny_patch16_224"  # timm's entry point of a plain ViT; model_args overrides its sizes
WEIGHT_DECAY = 0.05
WARMUP = 0.1  # share of all steps
LARGEST_GRADIENT = 1.0  # norm of all gradients together
VALIDATED_AT_ONCE = 250


class Supervised(nn.Module):
    """A ViT that learns from labels. Forward gives the loss.

    Args:
        vit: module whose outputs the objective reads.
    """

    def __init__(self, vit: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.vit, self.objective = vit, objective

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """loss, of images (B, ...) and their labels (B, ...)."""
        return {"loss": self.objective.loss(self.predict(images), labels)}

    def predict(self, images: Tensor) -> Tensor:
        """Logits (B, ...)."""
        return self.objective.logits(self.vit(images))

    def after_step(self) -> None:
        """Nothing is bounded."""


def optimizer_of(model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """AdamW that scales gradients down to LARGEST_GRADIENT before each step."""

    def clip(*_: Any) -> None:
        nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)

    optimizer = torch.optim.AdamW(param_groups_weight_decay(model, WEIGHT_DECAY), lr=learning_rate)
    optimizer.register_step_pre_hook(clip)
    return optimizer


@torch.no_grad()
def accuracy(trainee: Supervised, pictures: Pictures) -> float:
    """Of the trainee on these pictures, 0..1."""
    trainee.eval()
    device = next(trainee.parameters()).device
    tallies = [
        trainee.objective.tally(trainee.predict(images.to(device)), labels.to(device))
        for images, labels in DataLoader(pictures, VALIDATED_AT_ONCE)
    ]
    return trainee.objective.accuracy(torch.cat(tallies))


def write_model(
    folder: Path, model: nn.Module, model_args: dict[str, Any], classes: tuple[str, ...], look: Preprocessing
) -> None:
    """Writes what `timm.create_model("local-dir:FOLDER", pretrained=True)` reads, and removes the checkpoint."""
    config = {
        "architecture": ARCHITECTURE,
        "num_classes": len(classes),
        "model_args": model_args,
        "pretrained_cfg": {
            "input_size": [look.channels, look.height, look.width],
            "fixed_input_size": True,
            "num_classes": len(classes),
            "mean": look.mean,
            "std": look.std,
            "interpolation": look.interpolation,
            "crop_pct": look.crop_pct,
            "crop_mode": look.crop_mode,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
            "label_names": classes,
        },
    }
    store.write_bytes(str(folder / "config.json"), (json.dumps(config, indent=2) + "\n").encode())
    with store.replacing(str(folder / "model.safetensors")) as temporary:
        save_file({name: value.cpu() for name, value in model.state_dict().items()}, temporary, {"format": "pt"})
    os.unlink(folder / checkpoint.FILE)
