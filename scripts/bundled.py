"""What the training of the bundled models shares: arguments, the loop, and files in timm's local-dir format.

A run keeps the weights of its last epoch; the held-out quarter is reported on the way and chooses none.
"""

import argparse
import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.optim import param_groups_weight_decay

from pomt_trt.host.data import digits

log = logging.getLogger("train")

ZOO = Path(__file__).resolve().parent.parent / "pomt_trt" / "zoo"
ARCHITECTURE = "vit_tiny_patch16_224"  # timm's entry point of a plain ViT; MODEL_ARGS overrides its sizes
MODEL_ARGS = {
    "img_size": digits.CANVAS_PX,
    "patch_size": 2,
    "in_chans": 1,
    "embed_dim": 64,
    "depth": 12,
    "num_heads": 4,
    "mlp_ratio": 2,  # not 4: the float32 file stays under 2 MB
    "class_token": True,
}
MEAN, STD = 0.5, 0.5
WEIGHT_DECAY = 0.05
WARMUP = 0.1  # fraction of all steps

Pictures = tuple[np.ndarray, np.ndarray]  # images (n, 28, 28) uint8, and their labels


class Task(NamedTuple):
    """What tells one bundled model from another."""

    name: str  # of its folder in the zoo
    classes: tuple[str, ...]
    pooling: str  # timm's global_pool
    training: Callable[[int], Pictures]  # by seed
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # of (outputs, labels)
    report: Callable[[torch.nn.Module], None]  # logs how good a model is on the held-out quarter
    initialise: Callable[[torch.nn.Module], None]

    @property
    def model_args(self) -> dict[str, Any]:
        """Of timm's entry point."""
        return {**MODEL_ARGS, "num_classes": len(self.classes), "global_pool": self.pooling}


def parser(description: str, epilog: str, task: Task, epochs: int, learning_rate: float) -> argparse.ArgumentParser:
    """The flags of a training script, with these defaults."""
    made = argparse.ArgumentParser(
        description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--epochs", type=int, default=epochs, help=f"passes over the data, each new ({epochs})")
    made.add_argument("--seed", type=int, default=0, help="of initialisation, order and places (0)")
    made.add_argument("--batch-size", type=int, default=64, help="pictures a step (64)")
    made.add_argument(
        "--learning-rate", type=float, default=learning_rate, help=f"highest of the cosine ({learning_rate:g})"
    )
    made.add_argument("--start", type=Path, help="folder of an earlier --out, to go on from its weights")
    made.add_argument("--threads", type=int, default=2, help="CPU threads; they change the last bits (2)")
    made.add_argument(
        "--out", type=Path, default=ZOO / task.name, help="folder for config.json and model.safetensors (the bundled)"
    )
    return made


def run(task: Task, arguments: argparse.Namespace) -> None:
    """Makes, trains and writes the model; reports of what was read back."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    model = timm.create_model(ARCHITECTURE, **task.model_args)
    task.initialise(model)
    if arguments.start:
        model.load_state_dict(load_file(arguments.start / "model.safetensors"))
    _train(task, model, arguments)
    _save(task, model, arguments.out)
    log.info("wrote %s; read back from there:", arguments.out)
    task.report(timm.create_model(f"local-dir:{arguments.out.resolve()}", pretrained=True).eval())


def tensors(images: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 (n, 28, 28) -> normalised float32 (n, 1, 28, 28), as timm's transform does; labels int64."""
    return (torch.from_numpy(images)[:, None].float() / 255 - MEAN) / STD, torch.from_numpy(labels).long()


def _train(task: Task, model: torch.nn.Module, arguments: argparse.Namespace) -> None:
    steps = arguments.epochs * math.ceil(len(task.training(0)[0]) / arguments.batch_size)
    optimizer = torch.optim.AdamW(param_groups_weight_decay(model, WEIGHT_DECAY), lr=arguments.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / (WARMUP * steps), 0.5 + 0.5 * math.cos(math.pi * step / steps))
    )
    start = time.monotonic()
    for epoch in range(arguments.epochs):
        # a range of places for every --seed, so that a run that goes on from another does not repeat them
        images, labels = tensors(*task.training(arguments.seed * 100_000 + epoch))
        batches = [(images[rows], labels[rows]) for rows in torch.randperm(len(labels)).split(arguments.batch_size)]
        loss = _train_epoch(task, model, optimizer, schedule, batches)
        log.info("epoch %d of %d: loss %.3f, %.0f s", epoch + 1, arguments.epochs, loss, time.monotonic() - start)
        if (epoch + 1) % 5 == 0:
            task.report(model.eval())


def _train_epoch(task: Task, model, optimizer, schedule, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """One pass over the batches of (images, labels), the schedule advancing every step; the mean loss."""
    model.train()
    losses = []
    for images, labels in batches:
        loss = task.loss(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return float(np.mean(losses))


def _save(task: Task, model: torch.nn.Module, folder: Path) -> None:
    """Writes what `timm.create_model("local-dir:FOLDER", pretrained=True)` reads."""
    config = {
        "architecture": ARCHITECTURE,
        "num_classes": len(task.classes),
        "model_args": task.model_args,
        "pretrained_cfg": {
            "input_size": [1, digits.CANVAS_PX, digits.CANVAS_PX],
            "fixed_input_size": True,
            "num_classes": len(task.classes),
            "mean": [MEAN],
            "std": [STD],
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "first_conv": "patch_embed.proj",
            "classifier": "head",
            "label_names": list(task.classes),
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
