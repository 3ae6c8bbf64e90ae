"""What train_digits.py and train_scenes.py share.

A run keeps the weights of its last epoch. The held-out quarter is reported on the way and chooses none.
"""

import argparse
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from safetensors.torch import load_file

from pomt_trt.core.records import Preprocessing
from pomt_trt.core.storage.learned import ZOO
from pomt_trt.host.data import digits
from pomt_trt.host.data.bundled import BUNDLED
from pomt_trt.host.models import loading
from pomt_trt.host.training import checkpoint
from pomt_trt.host.training.data import Drawn, Pictures, Sets
from pomt_trt.host.training.loop import Loop, Settings
from pomt_trt.host.training.objective import objective_of
from scripts.examples import supervised

log = logging.getLogger("train")

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
LOOK = Preprocessing(digits.CANVAS_PX, digits.CANVAS_PX, 1, (0.5,), (0.5,), "bicubic", 1.0, "center")


class Task(NamedTuple):
    """What tells one bundled model from another."""

    name: str  # of its pictures, and of its folder in the zoo
    classes: tuple[str, ...]
    pooling: str  # timm's global_pool
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
        "--out",
        type=Path,
        default=Path(ZOO, task.name),
        help="folder for config.json and model.safetensors (the bundled)",
    )
    return made


def run(task: Task, arguments: argparse.Namespace) -> None:
    """Makes, trains and writes the model. The same command goes on where it was interrupted."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    vit = timm.create_model(supervised.ARCHITECTURE, **task.model_args)
    task.initialise(vit)
    if arguments.start:
        vit.load_state_dict(load_file(arguments.start / "model.safetensors"))
    sets = pictures(task, arguments.seed)
    trainee = supervised.Supervised(vit, objective_of(vit))
    optimizer = supervised.optimizer_of(vit, arguments.learning_rate)
    settings = Settings(arguments.epochs, arguments.batch_size, supervised.WARMUP, cosine=True, seed=arguments.seed)
    identity = {"model": loading.fingerprint(vit), "learning_rate": arguments.learning_rate, **settings._asdict()}
    arguments.out.mkdir(parents=True, exist_ok=True)
    state = Loop(trainee, optimizer, sets, settings, str(arguments.out / checkpoint.FILE)).fit(identity)
    for number, epoch in enumerate(state.epochs, start=1):
        log.info("epoch %d: loss %.3f, held-out quarter %.4f", number, epoch.losses["loss"], epoch.accuracy)
    supervised.write_model(arguments.out, vit, task.model_args, task.classes, LOOK)
    read_back = timm.create_model(f"local-dir:{arguments.out.resolve()}", pretrained=True)
    again = supervised.Supervised(read_back, trainee.objective)
    log.info("wrote %s; read back: held-out quarter %.4f", arguments.out, supervised.accuracy(again, sets.validation))


def pictures(task: Task, seed: int) -> Sets:
    """New pictures in each epoch; those that are held out are always the same."""
    source = BUNDLED[task.name]
    drawn, held = (Drawn(partial(source, held_out=side), LOOK) for side in (False, True))
    count, held_count = (len(one.draw(0)[0]) for one in (drawn, held))
    # A range of draws for every --seed, so that a run which goes on from another does not repeat them.
    training = Pictures(count, drawn.reader(range(count), lambda epoch: seed * 100_000 + epoch), seed, shuffled=True)
    validation = Pictures(held_count, held.reader(range(held_count), lambda epoch: 0), seed)
    return Sets(training, validation, validation, task.name, "")
