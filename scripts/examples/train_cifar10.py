#!/usr/bin/env python3
"""Trains a ViT on CIFAR-10 within a budget of minutes, and writes it in timm's local-dir format.

Of DeiT-Ti's shape, on a GPU: the 32 x 32 pictures are enlarged to 224 px, so 196 patches and CLS. Random crops and
flips, Mixup and CutMix (timm), mimetic start, AdamW, cosine. The learning rate falls with the larger share of epochs
and minutes used, so a slow machine ends at a low rate as well. To see more pictures in that time, every step sees a
random half of the patches (PatchDropout, arXiv:2208.07220) until 60 % of the training is done, and all of them from
then on; --patch-dropout 0 trains on all throughout. 5 % of the training pictures are held out to watch it; the test
set is looked at once, at the end. The same command goes on where it was interrupted. Weights stay out of the
repository.

Without a GPU, a smaller one: --image-px 32 --patch-px 4 --dim 96 --depth 6 --mlp-ratio 2 --batch-size 64
--learning-rate 1.5e-3 --epochs 20 --mixing 0; --max-minutes bounds it.

Data: two .npz files of JPEG bytes: `jpeg` (uint8, concatenated), `offsets` (n + 1), `labels`, `classes`.
"""

import argparse
import io
import json
import logging
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from timm.data import Mixup
from timm.loss import SoftTargetCrossEntropy
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout need not be installed

from pomt_trt.core import cpus
from pomt_trt.core.records import Preprocessing
from pomt_trt.core.storage import store
from pomt_trt.host.training import checkpoint
from pomt_trt.host.training.data import Pictures, Sets
from pomt_trt.host.training.loop import Loop, Settings, State
from pomt_trt.host.training.objective import Classification
from scripts.examples import mimetic, supervised

log = logging.getLogger("train_cifar10")

PICTURE_PX, PADDING_PX = 32, 4  # as CIFAR-10 has them
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of the training pictures, rounded
HELD_OUT = 0.05
LABEL_SMOOTHING = 0.1
MIXUP, CUTMIX = 0.8, 1.0  # alphas; Source: DeiT, arXiv:2012.12877, table 9
DROPPING = 0.6  # share of the training with patch dropout
NO_SETTINGS = ("train", "test", "out", "device", "max_minutes", "threads")  # a budget may be changed on the way


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True, metavar="NPZ", help="50000 training pictures")
    parser.add_argument("--test", type=Path, required=True, metavar="NPZ", help="10000 test pictures")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model, its record and checkpoint")
    parser.add_argument(
        "--max-minutes", type=float, default=70, help="on a CPU of its own time; epochs not begun are left out (70)"
    )
    parser.add_argument("--epochs", type=int, default=100, help="at most (100)")
    parser.add_argument("--image-px", type=int, default=224, help="side of what the model sees (224)")
    parser.add_argument("--patch-px", type=int, default=16, help="side of a patch (16)")
    parser.add_argument("--dim", type=int, default=192, help="channels (192)")
    parser.add_argument("--depth", type=int, default=12, help="blocks (12)")
    parser.add_argument("--heads", type=int, default=3, help="of attention (3)")
    parser.add_argument("--mlp-ratio", type=float, default=4, help="hidden channels of the MLP over channels (4)")
    parser.add_argument("--patch-dropout", type=float, default=0.5, help="share of patches left out at first (0.5)")
    parser.add_argument("--mixing", type=float, default=0.5, help="share of steps with Mixup or CutMix (0.5)")
    parser.add_argument("--batch-size", type=int, default=512, help="pictures a step (512)")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="highest of the cosine (2e-3)")
    parser.add_argument("--seed", type=int, default=0, help="of initialisation, order, crops and flips (0)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; they change the last bits (1)")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cuda (in bfloat16, compiled) or cpu"
    )
    return parser.parse_args(argv)


def pictures(path: Path) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """uint8 (n, 3, 32, 32), labels (n,) and the names of the classes."""
    with np.load(path) as data:
        jpeg, offsets = data["jpeg"], data["offsets"]
        labels = torch.from_numpy(data["labels"].astype(np.int64))
        classes = [str(name) for name in data["classes"]]
    images = np.empty((len(labels), PICTURE_PX, PICTURE_PX, 3), np.uint8)
    for row, (start, end) in enumerate(zip(offsets[:-1], offsets[1:], strict=True)):
        images[row] = np.asarray(Image.open(io.BytesIO(jpeg[start:end].tobytes())).convert("RGB"))
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), labels, classes


class Enlarged(nn.Module):
    """uint8 (B, 3, 32, 32) -> normalised float32 (B, 3, side, side), as timm's transform does."""

    def __init__(self, side_px: int) -> None:
        super().__init__()
        self._side_px = side_px
        for name, values in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        values, side_px = images.float(), self._side_px
        if side_px != PICTURE_PX:
            values = functional.interpolate(values, (side_px, side_px), mode="bicubic", antialias=True)
            values = values.round().clamp(0, 255)
        return (values / 255 - self.mean) / self.std


class Trainee(supervised.Supervised):
    """A ViT that learns from pictures which are mixed two by two."""

    def __init__(self, vit: nn.Module, side_px: int, mixing: float) -> None:
        super().__init__(nn.Sequential(Enlarged(side_px), vit), Classification())
        self._mixing = Mixup(MIXUP, CUTMIX, prob=mixing, label_smoothing=LABEL_SMOOTHING, num_classes=10)

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        enlarge, vit = self.vit
        mixed, targets = self._mixing(enlarge(images), labels)
        return {"loss": SoftTargetCrossEntropy()(vit(mixed).float(), targets.to(mixed.device))}


class Budgeted(Loop):
    """Ends with its minutes as well as with its epochs: rates follow the larger share that is used up.

    On a CPU, minutes are of its own time: a busy or halted machine costs none.
    """

    def __init__(self, vit: nn.Module, max_minutes: float, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._vit, self._max_minutes = vit, max_minutes
        self.clock = time.process_time if self.accelerator.device.type == "cpu" else time.monotonic

    def steps_done(self, state: State) -> float:
        used = self.elapsed_s() / 60 / self._max_minutes
        return max(super().steps_done(state), min(1.0, used) * self.total_steps)

    def step(self, state: State, images: Tensor, labels: Tensor) -> dict[str, float]:
        if self.steps_done(state) >= DROPPING * self.total_steps:
            self._vit.patch_drop = nn.Identity()
        np.random.seed([self._settings.seed, state.epoch, state.step])  # Mixup draws from it
        torch.manual_seed(hash((self._settings.seed, state.epoch, state.step)))
        return super().step(state, images, labels)


def augmented(image: Tensor, lot: random.Random) -> Tensor:
    """The picture (3, 32, 32) shifted by up to 4 px, black coming in, and every second one mirrored."""
    top, left = lot.randint(0, 2 * PADDING_PX), lot.randint(0, 2 * PADDING_PX)
    padded = functional.pad(image, (PADDING_PX,) * 4)
    shifted = padded[:, top : top + PICTURE_PX, left : left + PICTURE_PX]
    return shifted.flip(2) if lot.random() < 0.5 else shifted


def sets(images: Tensor, labels: Tensor, arguments: argparse.Namespace) -> Sets:
    """Pictures to train on, in whole batches since Mixup wants pairs, and pictures to validate with."""
    seed, batch = arguments.seed, arguments.batch_size
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    held, rest = order.split([round(HELD_OUT * len(labels)), len(labels) - round(HELD_OUT * len(labels))])
    rest = rest[: len(rest) // batch * batch]

    def varied(epoch: int, position: int) -> tuple[Tensor, Tensor]:
        row = rest[position]
        return augmented(images[row], random.Random(f"{seed} {epoch} {position}")), labels[row]

    training, validation = Pictures(len(rest), varied, seed, shuffled=True), plain(images[held], labels[held])
    return Sets(training, validation, validation, str(arguments.train), "")


def plain(images: Tensor, labels: Tensor) -> Pictures:
    """The pictures as they are, in their order."""
    return Pictures(len(labels), lambda epoch, position: (images[position], labels[position]), 0)


def model_args(arguments: argparse.Namespace) -> dict:
    return {
        "img_size": arguments.image_px,
        "patch_size": arguments.patch_px,
        "num_classes": 10,
        "embed_dim": arguments.dim,
        "depth": arguments.depth,
        "num_heads": arguments.heads,
        "mlp_ratio": arguments.mlp_ratio,
    }


def look(side_px: int) -> Preprocessing:
    """What the model sees."""
    return Preprocessing(side_px, side_px, 3, MEAN, STD, "bicubic", 1.0, "center")


def trained(vit: nn.Module, arguments: argparse.Namespace, chosen: dict[str, Any], on_gpu: bool) -> State:
    """Trains the model, from the checkpoint where there is one."""
    settings = Settings(
        arguments.epochs,
        arguments.batch_size,
        supervised.WARMUP,
        cosine=True,
        seed=arguments.seed,
        mixed_precision="bf16" if on_gpu else "no",
        workers=min(7, max(cpus.usable().threads - 1, 1)) if on_gpu else 0,
    )
    images, labels, _ = pictures(arguments.train)
    trainee = Trainee(vit, arguments.image_px, arguments.mixing)
    optimizer = supervised.optimizer_of(vit, arguments.learning_rate)
    path = str(arguments.out / checkpoint.FILE)
    given = (trainee, optimizer, sets(images, labels, arguments), settings, path)
    return Budgeted(vit, arguments.max_minutes, *given).fit(chosen)


def about(arguments: argparse.Namespace, chosen: dict[str, Any], state: State) -> dict[str, Any]:
    """What training.json says of a training."""
    on_gpu = arguments.device != "cpu"
    return {
        "settings": chosen,
        "epochs": [{"loss": one.losses["loss"], "validation_accuracy": one.accuracy} for one in state.epochs],
        "minutes": state.seconds / 60,
        "device": torch.cuda.get_device_name() if on_gpu else f"{arguments.threads} CPU threads",
        "max_minutes": arguments.max_minutes,
        "versions": {"torch": torch.__version__, "timm": timm.__version__},
    }


def main(argv: list[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    on_gpu = arguments.device != "cpu"
    if not on_gpu:
        os.environ["ACCELERATE_USE_CPU"] = "true"
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    vit = timm.create_model(supervised.ARCHITECTURE, patch_drop_rate=arguments.patch_dropout, **model_args(arguments))
    mimetic.initialise(vit)
    if on_gpu:
        vit.compile(dynamic=False)
    chosen = {name: value for name, value in vars(arguments).items() if name not in NO_SETTINGS}
    state = trained(vit, arguments, chosen, on_gpu)
    images, labels, classes = pictures(arguments.test)
    supervised.write_model(arguments.out, vit, model_args(arguments), tuple(classes), look(arguments.image_px))
    read_back = timm.create_model(f"local-dir:{arguments.out.resolve()}", pretrained=True)
    again = Trainee(read_back, arguments.image_px, 0.0).to(arguments.device)
    test_accuracy = supervised.accuracy(again, plain(images, labels))
    for number, epoch in enumerate(state.epochs, start=1):
        log.info("epoch %d: loss %.3f, validation %.4f", number, epoch.losses["loss"], epoch.accuracy)
    log.info("test: %.4f of %d", test_accuracy, len(labels))
    record = about(arguments, chosen, state)
    record["test_accuracy"] = test_accuracy
    store.write_bytes(str(arguments.out / "training.json"), (json.dumps(record, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
