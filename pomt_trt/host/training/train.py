"""`pomt-trt train`: trains a learned method, and writes a folder that `pomt-trt compile` reads.

The folder is in timm's local-dir format: config.json and model.safetensors hold the model as trained.
METHOD.safetensors holds the learned parameters, METHOD.json the record of the training.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from timm.layers import Attention
from timm.models import save_for_hf
from timm.models.vision_transformer import Block
from timm.optim import param_groups_weight_decay
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from pomt_trt.core.data.class_order import CLASS_ORDER_WITHOUT_DATA, say_classes
from pomt_trt.core.errors import InputError, UsageError, VerificationFailed
from pomt_trt.core.progress import Progress
from pomt_trt.core.records import CLASSIFICATION, SEGMENTATION, Training
from pomt_trt.core.storage import store, workfolder
from pomt_trt.host.data.bundled import BUNDLED
from pomt_trt.host.models import loading
from pomt_trt.host.threads import limit_torch
from pomt_trt.host.training import checkpoint, data
from pomt_trt.host.training.calibration import calibrate
from pomt_trt.host.training.cropr import Cropr
from pomt_trt.host.training.loop import AUTOCAST, Loop, Settings, State
from pomt_trt.host.training.ltmp import Ltmp

CALIBRATED_AT_ONCE = 16
RATE_BATCH = 256  # pictures in a step for which Cropr's learning rate is meant; Source: the paper's recipe
VERSIONS = ("torch", "timm", "accelerate", "safetensors")
Learned = tuple[dict[str, Tensor], dict[str, str]]  # tensors of METHOD.safetensors, and its metadata


class Task(NamedTuple):
    """The flags that both methods have."""

    model: str
    work: str
    data: str | None
    checkpoint: str | None
    pretrained: bool
    image_size: tuple[int, int] | None  # height, width
    labels: str | None
    validation: float
    augment: bool
    class_order: str | None  # of the data: natural, string, a file of names; None: chosen by the names
    threads: int | None  # of the CPU; None: torch chooses
    settings: Settings


class LtmpSettings(NamedTuple):
    """LTMP's own flags."""

    target: float
    tau: float
    merge_rate: float
    prune_rate: float
    first_merge: float
    first_prune: float
    calibration_images: int


class CroprSettings(NamedTuple):
    """Cropr's own flags."""

    removed: int
    llf: bool
    freeze_backbone: bool
    learning_rate: float
    weight_decay: float


def ltmp(task: Task, own: LtmpSettings) -> Training | None:
    """Trains LTMP's thresholds on a frozen model. Returns the record in the first process, None in others.

    Raises: UsageError for impossible values; InputError for a model or data that do not fit; TrainingDiverged.
    """
    _check(0 < own.target <= 1, f"--reduction-target is {own.target}; it must be above 0, and 1 at most.")
    _check(own.tau > 0, f"--tau is {own.tau}; it must be more than 0.")
    _check(own.calibration_images >= 1, f"--calibration-images is {own.calibration_images}; it must be 1 or more.")
    for flag, value in (("--first-merge", own.first_merge), ("--first-prune", own.first_prune)):
        _check(0 <= value <= 1, f"{flag} is {value}; thresholds lie between 0 and 1.")
    loaded = _loaded(task)
    trainee = Ltmp(loaded.module, own.target, own.tau, (own.first_merge, own.first_prune))
    groups = [{"params": [trainee.merge], "lr": own.merge_rate}, {"params": [trainee.prune], "lr": own.prune_rate}]
    return _train(
        task,
        loaded,
        trainee,
        torch.optim.SGD(groups, lr=own.merge_rate),
        own._asdict(),
        lambda sets: (_thresholds(trainee, sets.calibration, own.calibration_images), {}),
    )


def cropr(task: Task, own: CroprSettings) -> Training | None:
    """Trains Cropr's scorers, and the model too unless it is frozen.

    Returns, Raises: as `ltmp`.
    """
    loaded = _loaded(task)
    torch.manual_seed(task.settings.seed)
    trainee = Cropr(loaded.module, own.removed, llf=own.llf, freeze_backbone=own.freeze_backbone)
    return _train(
        task._replace(settings=task.settings._replace(rate_batch=RATE_BATCH)),
        loaded,
        trainee,
        torch.optim.AdamW(param_groups_weight_decay(trainee, own.weight_decay), lr=own.learning_rate),
        own._asdict(),
        lambda sets: ({"scorers": trainee.folded()}, {"llf": str(int(own.llf))}),
    )


def _loaded(task: Task) -> loading.Loaded:
    """Checks the settings and loads the model."""
    settings = task.settings
    _check(settings.epochs >= 1, f"--epochs is {settings.epochs}; it must be 1 or more.")
    _check(settings.batch_size >= 1, f"--batch is {settings.batch_size}; it must be 1 or more.")
    _check(settings.mixed_precision in AUTOCAST, f"--mixed-precision is one of {', '.join(AUTOCAST)}.")
    _check(task.data is not None or task.class_order is None, CLASS_ORDER_WITHOUT_DATA)
    if task.threads is not None:
        _check(task.threads >= 1, f"--threads is {task.threads}; it must be 1 or more.")
        torch.set_num_threads(task.threads)
    else:
        limit_torch()
    given = {"checkpoint": task.checkpoint, "image_size": task.image_size, "labels": task.labels}
    loaded = loading.load(task.model, pretrained=task.pretrained, seed=settings.seed, **given)  # type: ignore[arg-type]
    if any(type(block) is not Block or type(block.attn) is not Attention for block in loaded.module.blocks):
        raise InputError(
            f"{task.model} is built of other blocks than timm's Block, and those are not trained here. Use --method "
            "pomt or tome, which learn nothing."
        )
    if loaded.spec.task not in (CLASSIFICATION, SEGMENTATION):
        raise InputError(
            f"{task.model} is for {loaded.spec.task}, and a method is trained with classes of images or of pixels. "
            "Take a method that learns nothing, such as pomt, topk or tome."
        )
    if task.data is None and loaded.spec.name not in BUNDLED:
        raise InputError(f"there are no images to train {task.model} with. Give labelled ones: --data DIR.")
    return loaded


def _train(
    task: Task,
    loaded: loading.Loaded,
    trainee: Any,
    optimizer: torch.optim.Optimizer,
    own: dict[str, Any],
    learned: Callable[[data.Sets], Learned],
) -> Training | None:
    """Trains. Then the first process writes all files and returns the record."""
    sets = data.load(
        task.data,
        loaded.spec,
        validation=task.validation,
        augment=task.augment,
        seed=task.settings.seed,
        class_order=task.class_order,
    )
    identity = _identity(task, loaded, trainee.method, sets, own)
    loop = Loop(trainee, optimizer, sets, task.settings, os.path.join(task.work, checkpoint.FILE))
    first = loop.accelerator.is_main_process
    if first:
        say_classes(sets.class_order, loaded.spec.labels)
    with workfolder.locked(task.work) if first else contextlib.nullcontext():
        state = loop.fit(identity)
        if not first:
            return None
        record = _record(loaded.spec.name, loop, sets, state, {**task.settings._asdict(), **own})
        name = os.path.join(task.work, trainee.method)
        _write_learned(name + ".safetensors", trainee.method, learned(sets))
        _write_model(loaded.module, task.work)
        store.write_record(name + ".json", record)
        return record


def _record(model: str, loop: Loop, sets: data.Sets, state: State, settings: dict[str, Any]) -> Training:
    """The record of a finished training."""
    return Training(
        method=loop.trainee.method,
        model=model,
        model_sha256=state.identity["model_sha256"],
        data=sets.source,
        data_sha256=sets.sha256,
        images=len(sets.training),
        validation_images=len(sets.validation),
        seed=settings["seed"],
        settings=settings,
        processes=loop.accelerator.num_processes,
        epochs=state.epochs,
        unreduced_accuracy=state.unreduced,
        accuracy_before=state.before,
        accuracy_after=state.epochs[-1].accuracy,
        accuracy_kind=loop.trainee.objective.kind,
        seconds=state.seconds,
        class_order=sets.class_order,
        versions={name: metadata.version(name) for name in VERSIONS},
    )


def _identity(task: Task, loaded: loading.Loaded, method: str, sets: data.Sets, own: dict[str, Any]) -> dict[str, Any]:
    """What is trained how. Workers and precision do not count: they may change when a training goes on."""
    shared = {name: getattr(task.settings, name) for name in ("epochs", "batch_size", "warmup", "cosine", "seed")}
    about = {"model_sha256": loading.fingerprint(loaded.module), "data_sha256": sets.sha256}
    return {"method": method, **about, "validation": task.validation, "augment": task.augment, **shared, **own}


def _thresholds(trainee: Ltmp, pictures: data.Pictures, count: int) -> dict[str, Tensor]:
    """Thresholds, and the counts that they give on the first `count` pictures."""
    batches = DataLoader(Subset(pictures, range(min(count, len(pictures)))), CALIBRATED_AT_ONCE)
    device = trainee.merge.device
    with Progress("calibrate", len(trainee.vit.blocks)) as progress:
        calibrated = calibrate(trainee.vit, trainee.thresholds(), (x.to(device) for x, _ in batches), progress.step)
    counts = {name: torch.tensor(value) for name, value in calibrated._asdict().items() if name != "static"}
    return {"merge": trainee.merge.detach(), "prune": trainee.prune.detach(), **counts}


def _write_learned(path: str, method: str, learned: Learned) -> None:
    tensors, about = learned
    stored = {name: value.float().cpu().contiguous() for name, value in tensors.items()}
    with store.replacing(path) as temporary:
        save_file(stored, temporary, {"format": "pomt-trt", "method": method, "version": "1", **about})


def _write_model(module: Any, folder: str) -> None:
    """Writes a model that `timm.create_model("local-dir:FOLDER", pretrained=True)` reads. It is read back first."""
    module = module.cpu().eval()
    with tempfile.TemporaryDirectory(prefix=".part-", dir=folder) as temporary:
        save_for_hf(module, temporary, safe_serialization=True)
        if loading.fingerprint(loading.load(f"local-dir:{temporary}").module) != loading.fingerprint(module):
            raise VerificationFailed(
                f"timm {metadata.version('timm')} does not read back the model that it wrote. Install a newer timm."
            )
        for name in ("model.safetensors", "config.json"):
            store.write_bytes(os.path.join(folder, name), (Path(temporary) / name).read_bytes())


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise UsageError(message)
