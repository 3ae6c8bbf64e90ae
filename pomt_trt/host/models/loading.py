"""Loads a vision transformer of timm by name, folder or module, with its ModelSpec.

Weights are random, downloaded by timm, or a file's (checkpoints.py). Models that host/backbones has
no adapter for are refused with the reason.
"""

import copy
import difflib
import hashlib
import logging
import math
from pathlib import Path
from typing import Any, NamedTuple

from pomt_trt.core.errors import InputError, MissingDependency, UsageError
from pomt_trt.core.records import FEATURES, ModelSpec, Preprocessing, Request
from pomt_trt.core.storage import learned

try:
    import timm
    import torch
    from timm.data import resolve_model_data_config
    from torch import nn

    from pomt_trt.host import backbones
    from pomt_trt.host.models import heads, transformers_folder
    from pomt_trt.host.models.checkpoints import attach_linear_head, load_checkpoint, load_folder, remove_head
    from pomt_trt.host.models.input_size import resize
    from pomt_trt.host.weights.prefixes import EMA_AUTO
    from pomt_trt.host.weights.wording import reason
except ImportError as error:
    raise MissingDependency(
        f"models are read on the workstation, with torch and timm: {error}. Install there: pip install 'pomt-trt[host]'"
    ) from error

LOGGER = logging.getLogger(__name__)
SOURCES = ("local-dir", "hf-hub")  # timm's formats that carry weights: local-dir:PATH, hf-hub:NAME
ALIASES = {"hf_hub": "hf-hub"}  # of a source, as timm has them


class Loaded(NamedTuple):
    """A model ready for use: fp32, in eval mode, on the CPU."""

    module: Any
    spec: ModelSpec


def asked_for(request: Request, module: nn.Module | None = None) -> Loaded:
    """The model of an experiment. `module`: the model itself, where the request has only its name."""
    return load(
        request.model if module is None else module,
        checkpoint=request.checkpoint,
        pretrained=request.pretrained,
        head=request.head,
        image_size=request.image_size and (request.image_size, request.image_width or request.image_size),
        labels=request.labels,
        seed=request.seed,
        ema=request.ema,
        task=request.task,
        exif=request.exif,
    )


def load(
    name: str | nn.Module,
    *,
    checkpoint: str | None = None,
    pretrained: bool = False,
    head: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    labels: str | None = None,
    seed: int = 0,
    ema: str = EMA_AUTO,
    task: str = heads.AUTO,
    exif: bool = False,
) -> Loaded:
    """Loads a model with its weights.

    Args:
        name: a timm architecture, with or without .tag; local-dir:PATH (a folder of timm's format, or of Hugging Face
            transformers) or hf-hub:NAME (timm's format); digits or scenes; or a timm VisionTransformer: it is copied.
        checkpoint: file of weights: .safetensors, written by torch.save, or the .index.json of shards.
        pretrained: let timm download the weights.
        head: file of a DINOv2 linear head, in place of the model's own.
        image_size: side of the square input in pixels, or (height, width). The position embedding is resampled.
        labels: file of class names, one a line.
        seed: of random weights, where none of these gives others.
        ema: auto, on or off: whether to read averaged weights where a checkpoint has both.
        task: what the outputs mean (core/flags/table.TASKS). features: a classifier is taken off.
        exif: turn pictures by their EXIF orientation.
    Raises:
        UsageError: arguments that exclude each other, or a size that is not whole patches.
        InputError: unknown or unsupported model, outputs that fit no task, or a file that does not fit the model.
    """
    if checkpoint and pretrained:
        raise UsageError("--checkpoint and --pretrained are both given: leave one out.")
    with torch.random.fork_rng(devices=[]):  # new layers are drawn too; the caller's random state stays
        torch.manual_seed(seed)
        problem = None if head else heads.problem_of(_configuration(name))
        module, weights = _module(name, pretrained, seed, loads=checkpoint is None)
        check_taken(module, _title(name))
        if image_size is not None:
            resize(module, (image_size, image_size) if isinstance(image_size, int) else image_size)
        if checkpoint:
            load_checkpoint(module, checkpoint, separate_head=head is not None or task == FEATURES, ema=ema)
            weights = "checkpoint"
        if head:
            attach_linear_head(module, head)
        elif task == FEATURES:
            remove_head(module)
    outputs = heads.Outputs(module.num_classes, is_dense(module), problem)
    spec = _spec(module, _title(name), weights, head, labels)
    look = spec.preprocessing._replace(exif=exif)
    spec = spec._replace(task=heads.task_of(spec.name, outputs, task), preprocessing=look)
    if spec.random_weights:
        LOGGER.warning("%s has %s weights: give --checkpoint FILE or --pretrained", spec.name, spec.weights)
    return Loaded(module.float().cpu().eval(), spec)


def is_dense(module: nn.Module) -> bool:
    """Whether the head gives logits for every patch instead of the image."""
    return backbones.of(module).is_dense


def fingerprint(module: nn.Module) -> str:
    """Hex digest of a module's structure and weights."""
    digest = hashlib.sha256(repr(module).encode())
    for name, value in module.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_taken(module: nn.Module, name: str) -> None:
    """Raises InputError, with the reason, unless the model's blocks can run on any constant number of tokens."""
    reason = backbones.refusal(module)
    if reason:
        raise InputError(
            f"{name} is not supported: {reason}. Choose a plain vision transformer, such as deit_small_patch16_224 or "
            "vit_small_patch14_dinov2; pomt-trt models lists all."
        )


def _title(name: str | nn.Module) -> str:
    return name if isinstance(name, str) else str(_config(name).get("architecture") or type(name).__name__)


def _config(module: nn.Module) -> dict[str, Any]:
    return dict(getattr(module, "pretrained_cfg", None) or {})


def _configuration(name: str | nn.Module) -> dict[str, Any]:
    """timm's configuration of a model: a local folder's config.json, or the module's own; {} for other names."""
    if isinstance(name, nn.Module):
        return _config(name)
    source, _, folder = _source(name).partition(":")
    return heads.configuration_in(Path(folder)) if source == "local-dir" else {}


def _source(name: str) -> str:
    """The name for timm. A bundled model's is its folder."""
    if name in learned.BUNDLED:
        return f"local-dir:{Path(learned.ZOO, name)}"
    origin, colon, place = name.partition(":")
    return ALIASES.get(origin, origin) + colon + place


def _module(name: str | nn.Module, pretrained: bool, seed: int, *, loads: bool) -> tuple[Any, str]:
    """The module and where its weights come from.

    Args: loads: load the weights that belong to the name; otherwise a checkpoint brings them.
    """
    if isinstance(name, nn.Module):
        return copy.deepcopy(name), "module"
    source = _source(name)
    origin, _, place = source.partition(":")
    if origin == "hf-hub" and loads:
        return _create(source, pretrained=True), origin
    module = _create(source, pretrained=False)
    if origin == "local-dir" and loads:
        check_taken(module, name)
        load_folder(module, Path(place))
        return module, origin
    if not pretrained:
        return module, f"random (seed {seed})"
    check_taken(module, name)  # before a useless download
    return _create(source, pretrained=True), "pretrained"


def _create(name: str, *, pretrained: bool) -> Any:
    _check_known(name)
    configuration = _configuration(name)
    if transformers_folder.is_of_transformers(configuration):
        return transformers_folder.made(configuration, Path(name.partition(":")[2]))
    try:
        return timm.create_model(name, pretrained=pretrained)
    except Exception as error:  # timm, its hub client and the readers of weights have no common base
        raise InputError(f"{name} cannot be loaded: {reason(error)}. {_advice(name, pretrained)}") from error


def _advice(name: str, pretrained: bool) -> str:
    if name.startswith("local-dir:"):
        return "The folder must hold timm's config.json and the weights, as timm.models.save_for_hf writes them."
    if pretrained or ":" in name:
        return "Where there is no network, download the weights on another machine and give them as --checkpoint FILE."
    return f"timm.list_pretrained('{name.split('.')[0]}.*') lists the tags that exist."


def _check_known(name: str) -> None:
    architecture = name.split(".")[0]
    if name.partition(":")[0] in SOURCES or timm.is_model(architecture):
        return
    close = difflib.get_close_matches(architecture, timm.list_models(), n=3)
    hint = f"Did you mean {', '.join(close)}?" if close else "timm.list_models() lists the names."
    raise InputError(f"there is no model '{name}'. {hint} A folder in timm's format is local-dir:PATH.")


def _spec(module: Any, name: str, weights: str, head: str | None, labels: str | None) -> ModelSpec:
    classes = module.num_classes or module.num_features
    return ModelSpec(
        name=name,
        architecture=str(_config(module).get("architecture") or type(module).__name__),
        weights=weights,
        depth=len(module.blocks),
        width=module.embed_dim,
        heads=backbones.of(module).heads,
        patch_tokens=math.prod(backbones.of(module).grid),
        prefix_tokens=module.num_prefix_tokens,
        classes=classes,
        preprocessing=_preprocessing(module, name),
        head=head,
        labels=heads.labels_of(_config(module), module.num_classes, labels),
    )


def _preprocessing(module: Any, name: str) -> Preprocessing:
    """timm's preprocessing, at the size and channels that the module has now."""
    config = resolve_model_data_config(module)
    height, width = backbones.of(module).image_px
    channels = module.in_chans
    mean, std = (tuple(float(value) for value in config[key]) for key in ("mean", "std"))
    if channels not in (1, 3) or len(mean) != channels or len(std) != channels:
        raise InputError(
            f"{name} takes {channels} channels, its mean and std have {len(mean)} and {len(std)} values: images have 1 "
            "or 3, each with its own. Set mean and std in module.pretrained_cfg."
        )
    how = {key: config[key] for key in ("interpolation", "crop_pct", "crop_mode")}
    return Preprocessing(height=height, width=width, channels=channels, mean=mean, std=std, **how)
