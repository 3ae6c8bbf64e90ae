"""The training loop: epochs, validation and checkpoints, on one or many devices.

Hugging Face accelerate distributes it and does mixed precision: `accelerate launch -m pomt_trt train` uses many GPUs.
"""

import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pomt_trt.core.errors import MissingDependency, TrainingDiverged, UsageError
from pomt_trt.core.progress import Progress, Silent
from pomt_trt.core.records import TrainingEpoch
from pomt_trt.core.storage import store
from pomt_trt.host.training import checkpoint
from pomt_trt.host.training.data import Pictures, Sets
from pomt_trt.host.training.objective import Objective

try:
    from accelerate import Accelerator
except ImportError as error:
    raise MissingDependency(
        f"training needs Hugging Face accelerate: {error}. Install it on the workstation: "
        "pip install 'pomt-trt[host,cluster]'"
    ) from error

AUTOCAST = ("no", "fp16", "bf16")


class Settings(NamedTuple):
    """Settings of a training that do not depend on the method."""

    epochs: int
    batch_size: int  # pictures in a step and process
    warmup: float  # share of all steps in which learning rates rise
    cosine: bool  # learning rates fall to zero; otherwise they stay
    seed: int
    rate_batch: int | None = None  # pictures in a step for which learning rates are meant; None: any number
    mixed_precision: str = "no"
    workers: int = 0  # reading processes for each training process
    checkpoint_every_s: float = 60.0


class State(NamedTuple):
    """The state of a training. The checkpoint holds all of it."""

    identity: dict[str, Any]  # what is trained how; only the same training goes on from a checkpoint
    unreduced: float  # validation accuracy of the model with all its tokens
    before: float  # the same of the trainee at its start
    epoch: int = 0
    step: int = 0  # in this epoch
    sums: dict[str, float] = {}  # of the loss and its terms over the steps of this epoch
    epochs: tuple[TrainingEpoch, ...] = ()
    seconds: float = 0.0

    def stepped(self, terms: dict[str, float]) -> "State":
        """After one more step."""
        sums = {name: self.sums.get(name, 0.0) + value for name, value in terms.items()}
        return self._replace(step=self.step + 1, sums=sums)

    def finished(self, accuracy: float) -> "State":
        """After the last step of an epoch."""
        means = {name: total / self.step for name, total in self.sums.items()}
        return self._replace(
            epoch=self.epoch + 1, step=0, sums={}, epochs=(*self.epochs, TrainingEpoch(means, accuracy))
        )


class Loop:
    """One training in one folder.

    Args:
        trainee: a module of a method, such as cropr.Cropr: forward gives the loss and its terms.
    """

    clock = staticmethod(time.monotonic)  # seconds

    def __init__(
        self, trainee: Any, optimizer: torch.optim.Optimizer, sets: Sets, settings: Settings, path: str
    ) -> None:
        self.accelerator = Accelerator(mixed_precision=settings.mixed_precision)
        self.trainee, self._settings, self._path, self._training = trainee, settings, path, sets.training
        self._optimizer = optimizer
        scale = settings.batch_size * self.accelerator.num_processes / settings.rate_batch if settings.rate_batch else 1
        self._rates = [group["lr"] * scale for group in optimizer.param_groups]
        loaders = (self._loader(sets.training), self._loader(sets.validation))
        self._loaders = self.accelerator.prepare(*loaders)
        self._steps = len(self._loaders[0])  # an epoch
        self.total_steps = settings.epochs * self._steps

    def fit(self, identity: dict[str, Any]) -> State:
        """Trains to the end, from the checkpoint where there is one.

        Args: identity: what is trained how. A checkpoint of another identity is refused.
        Raises: UsageError for such a checkpoint; TrainingDiverged where the loss is not finite.
        """
        self._begun = self.clock()
        state = self._resumed(identity)
        with self._progress() as progress:
            self._shown = progress
            while state.step or self.steps_done(state) < self.total_steps:  # an epoch that has begun is finished
                state = self._epoch(state)
        return state

    def steps_done(self, state: State) -> float:
        """0..total_steps. Learning rates depend on it, and training ends at total_steps."""
        return state.epoch * self._steps + state.step

    def elapsed_s(self) -> float:
        """Seconds of training, including those before an interruption."""
        return self.clock() - self._begun

    def _resumed(self, identity: dict[str, Any]) -> State:
        """The state to go on from. Restores trainee and optimiser."""
        stored = checkpoint.load(self._path)
        if stored is not None:
            state: State = store.from_json(State, stored[0])
            _check_same(state.identity, store.to_json(identity), self._path)
            checkpoint.restore(stored[1], self.trainee, self._optimizer)
        prepared = self.accelerator.prepare(self.trainee, self._optimizer)
        self._model, self._optimizer = prepared
        if stored is None:
            unreduced = self._accuracy(lambda images: self.trainee.objective.logits(self.trainee.vit(images)))
            state = State(store.to_json(identity), unreduced, self._accuracy(self.trainee.predict))
            self._save(state)
        self._begun -= state.seconds
        return state

    def _epoch(self, state: State) -> State:
        self._training.begin(state.epoch)
        self._model.train()
        saved = time.monotonic()
        for images, labels in self._batches(state.step):
            state = state.stepped(self.step(state, images, labels))
            self._shown.at(state.epoch * self._steps + state.step, f"loss {state.sums['loss'] / state.step:.3f}")
            if time.monotonic() - saved >= self._settings.checkpoint_every_s:
                self._save(self._timed(state))
                saved = time.monotonic()
        state = self._timed(state.finished(self._accuracy(self.trainee.predict)))
        self._save(state)
        return state

    def _timed(self, state: State) -> State:
        return state._replace(seconds=self.elapsed_s())

    def _batches(self, done: int) -> Iterator[Any]:
        loader = self._loaders[0]
        return iter(self.accelerator.skip_first_batches(loader, done) if done else loader)

    def step(self, state: State, images: Tensor, labels: Tensor) -> dict[str, float]:
        """One step of the optimiser. Returns the loss and its terms, means over all processes."""
        share = rate_share(self.steps_done(state), self.total_steps, self._settings)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * share
        terms = self._model(images, labels)
        names = sorted(terms)
        values = self.accelerator.reduce(torch.stack([terms[name].detach().float() for name in names]), "mean")
        losses = dict(zip(names, values.tolist(), strict=True))
        if not math.isfinite(losses["loss"]):
            raise self._diverged(state, f"the loss is {losses['loss']}")
        self._optimizer.zero_grad()
        self.accelerator.backward(terms["loss"])
        self._optimizer.step()
        self.trainee.after_step()
        return losses

    @torch.no_grad()
    def _accuracy(self, predict: Any) -> float:
        """Accuracy on the validation pictures."""
        self.trainee.eval()
        objective: Objective = self.trainee.objective
        tallies = []
        for images, labels in self._loaders[1]:
            with self.accelerator.autocast():
                tally = objective.tally(predict(images), labels)
            tallies.append(self.accelerator.gather_for_metrics(tally))
        return objective.accuracy(torch.cat(tallies))

    def _save(self, state: State) -> None:
        if any(not bool(parameter.isfinite().all()) for parameter in self.trainee.parameters()):
            raise self._diverged(state, "a parameter is no longer a number")
        if self.accelerator.is_main_process:
            checkpoint.save(self._path, self.trainee, self._optimizer, store.to_json(state))

    def _diverged(self, state: State, what: str) -> TrainingDiverged:
        return TrainingDiverged(
            f"{what} at step {state.step + 1} of epoch {state.epoch + 1}. The last good state is {self._path}; lower "
            "the learning rate and train into another folder, or delete the checkpoint."
        )

    def _loader(self, pictures: Pictures) -> DataLoader[Any]:
        return DataLoader(pictures, self._settings.batch_size, num_workers=self._settings.workers)

    def _progress(self) -> Progress:
        if not self.accelerator.is_main_process:
            return Silent()
        return Progress("train", self.total_steps)


def rate_share(step: float, steps: int, settings: Settings) -> float:
    """Learning rate / highest: linear during warm-up, then 1, or half a cosine down to 0."""
    warm = settings.warmup * steps
    if step < warm:
        return (step + 1) / warm
    return 0.5 + 0.5 * math.cos(math.pi * (step - warm) / max(steps - warm, 1)) if settings.cosine else 1.0


def _check_same(stored: dict[str, Any], given: dict[str, Any], path: str) -> None:
    other = [name for name in sorted({*stored, *given}) if stored.get(name) != given.get(name)]
    if other:
        what = ", ".join(f"{name} {stored.get(name)} (now {given.get(name)})" for name in other[:3])
        raise UsageError(
            f"{path} is of another training: {what}. Give the same flags to go on with it, or another --work folder."
        )
