"""Loads files of weights into a timm VisionTransformer: whole checkpoints, and DINOv2's separate linear heads.

Nothing in a file is executed: files are .safetensors, or torch files read with weights_only.
"""

import collections
import logging
import os
import sys
import textwrap
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import torch
from timm.models import load_state_dict
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from pomt_trt.core.errors import InputError
from pomt_trt.host.backbones.pooling import ClassAndMean

LOGGER = logging.getLogger(__name__)
State = dict[str, Tensor]
HEADS = ("head.", "head_dist.")
# Names of the weights in a folder of timm's format, the preferred one first; then endings, for other names.
WEIGHTS = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")
ENDINGS = (".safetensors", ".pth", ".pth.tar", ".bin")
AVERAGED = ("ema", "teacher")  # in a prefix: the averaged weights, which are the ones to deploy
MOST_SHAPES, MOST_LETTERS = 8, 2000  # in a message
ADVICE = "Name the architecture that the checkpoint was made for."


def load_checkpoint(module: VisionTransformer, path: str, *, separate_head: bool = False) -> None:
    """Loads a checkpoint's weights into the module, in place. timm's key filter reads official layouts too.

    The position embedding is resampled to the module's size. A fine-tuned checkpoint keeps its number of
    classes: the module's head is replaced.

    Args:
        path: .safetensors, or written by torch.save. Wrappers such as {'model': ...}, and a prefix that all names
            share, are removed.
        separate_head: the classifier comes from another file; the checkpoint's is ignored.
    Raises:
        InputError: the file is absent, damaged, holds code, or does not fit; with the offending keys and shapes.
    """
    state = _filtered(module, path)
    if separate_head:
        module.reset_classifier(0)
        state = {key: value for key, value in state.items() if not key.startswith(HEADS)}
    else:
        _match_head(module, state)
    _fill(module, state, path, ADVICE)


def load_folder(module: VisionTransformer, folder: Path) -> None:
    """Loads the weights of a folder into a module that was made from its config.json, in place.

    Raises: InputError as load_checkpoint, and where the number of classes is not config.json's.
    """
    path = _weights_in(folder)
    _fill(module, _filtered(module, path), path, "config.json beside it describes another model: correct it.")


def _weights_in(folder: Path) -> str:
    """The one file of weights in a folder."""
    for name in WEIGHTS:
        if (folder / name).is_file():
            return str(folder / name)
    for ending in ENDINGS:
        paths = sorted(str(path) for path in folder.glob("*" + ending))
        if len(paths) > 1:
            raise InputError(f"{folder} holds {_few(paths)}. Leave one there, or give one as --checkpoint FILE.")
        if paths:
            return paths[0]
    raise InputError(f"{folder} holds no weights. Put {WEIGHTS[0]} there, as timm.models.save_for_hf writes it.")


def attach_linear_head(module: VisionTransformer, path: str) -> None:
    """Gives a backbone DINOv2's linear head, in place: logits = Linear([class token, mean of patch tokens]).

    Args:
        path: a state dict with weight (classes, 2 * channels) and bias (classes,), with or without a `linear.` or
            `head.` before the names.
    Raises:
        InputError: the file is not such a head, has another width, or the model pools in another way.
    """
    state = {key.split(".")[-1]: value for key, value in read_state(path).items() if isinstance(value, Tensor)}
    if (
        set(state) != {"weight", "bias"}
        or state["weight"].ndim != 2
        or state["bias"].shape != state["weight"].shape[:1]
    ):
        raise InputError(
            f"{path} is no linear head: it holds {_few(sorted(state))}, not weight (classes, 2 * channels) and bias "
            "(classes,). Give --head the file of a DINOv2 linear head, or a whole model as --checkpoint."
        )
    classes, width = state["weight"].shape
    _check_head_fits(module, width, path)
    _check_finite(state, path)
    module.attn_pool = ClassAndMean(module.num_prefix_tokens)
    module.pool_include_prefix = True  # else timm cuts the class token off before attn_pool
    module.head = nn.Linear(width, classes)
    module.head.load_state_dict(state)
    module.num_classes = classes


def _check_head_fits(module: VisionTransformer, width: int, path: str) -> None:
    if width != 2 * module.embed_dim:
        raise InputError(
            f"{path} takes {width} features, the model gives {2 * module.embed_dim} (class token and mean of patch "
            f"tokens, {module.embed_dim} each). Take the one-layer linear head of this very architecture."
        )
    distilled = hasattr(module, "head_dist")
    if not module.has_class_token or distilled or not isinstance(module.fc_norm, nn.Identity):
        reason = "it has two heads" if distilled else "it has no normalised class token"
        raise InputError(
            f"a linear head does not fit this model: {reason}. Leave --head out, or choose a DINOv2 model."
        )


def read_state(path: str) -> State:
    """The tensors in a file of weights, without wrappers and `module.` prefixes.

    Raises: InputError if the file is absent, damaged, or holds anything that only code could rebuild.
    """
    if not os.path.isfile(path):
        raise InputError(f"there is no file {path}. Give a .safetensors, .pth, .pt or .bin file.")
    try:
        state = load_state_dict(path, use_ema=True, weights_only=True)
    except Exception as error:  # a damaged file fails anywhere in torch's, pickle's, zip's or safetensors' readers
        if "unsupported global" in f"{error} {error.__cause__}".lower():  # torch's words for either file format
            raise InputError(
                f"{path} holds pickled Python objects, which could run code and are never loaded. Save the weights "
                "alone where you trust the file: torch.save(model.state_dict(), FILE)."
            ) from error
        raise InputError(
            f"{path} is truncated, or holds no state dict. Fetch it again, or write it with "
            "torch.save(model.state_dict(), FILE)."
        ) from error
    tensors = dict(_tensors(state))
    if not tensors:
        raise InputError(f"{path} holds no weights, only {_few(list(state))}. Save model.state_dict() there.")
    return tensors


def _tensors(state: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors of a nested state dict, such as {'teacher': ...}, their names joined by dots."""
    for key, value in state.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value
        elif isinstance(value, dict):
            yield from _tensors(value, f"{prefix}{key}.")


def _filtered(module: VisionTransformer, path: str) -> State:
    """The checkpoint in timm's names and at the module's image size. Raises InputError where timm's filter fails."""
    state = _without_prefix(read_state(path), set(module.state_dict()), path)
    of_class: Any = sys.modules[type(module).__module__]
    # adapt_layer_scale: official DeiT III names gamma_1 what timm names ls1.gamma
    own = {"adapt_layer_scale": True} if isinstance(module, VisionTransformer) else {}
    try:
        filtered = of_class.checkpoint_filter_fn(state, module, **own)
    except Exception as error:
        raise InputError(f"{path} does not fit the model: {reason(error)}. {ADVICE}") from error
    return {key: value for key, value in filtered.items() if isinstance(value, Tensor)}


def _without_prefix(state: State, own: Set[str], path: str) -> State:
    """The tensors under the prefix that most of the model's names have, without it; a warning names the prefix.

    Of a student and its averaged teacher, that is the teacher.
    """
    counts = collections.Counter(prefix for key in state for prefix in _prefixes(key, own))

    def rank(prefix: str) -> tuple[int, bool, bool, int]:
        return counts[prefix], not prefix, any(word in prefix for word in AVERAGED), -len(prefix)

    best = max(counts, key=rank, default="")
    if not best or 2 * counts[best] < len(own):
        return state
    kept = {key.removeprefix(best): value for key, value in state.items() if key.startswith(best)}
    others = sorted(prefix for prefix in counts if prefix != best and counts[prefix] == counts[best])
    beside = f"; the same names with {_few(others)} are not read" if others else ""
    LOGGER.warning("%s: read %d of %d tensors, prefix '%s' removed%s", path, len(kept), len(state), best, beside)
    return kept


def _prefixes(key: str, own: Set[str]) -> Iterator[str]:
    """The parts of a key before a name of the model: '', or parts that end in a dot."""
    starts = [0] + [position + 1 for position, letter in enumerate(key) if letter == "."]
    return (key[:start] for start in starts if key[start:] in own)


def _match_head(module: VisionTransformer, state: State) -> None:
    """Gives the module as many classes as the checkpoint's head has."""
    weight = state.get("head.weight")
    if weight is not None and weight.ndim == 2 and weight.shape[0] != module.num_classes:
        given = weight.shape[0], module.num_classes
        LOGGER.warning("the checkpoint has %d classes, the model %d: those of the checkpoint are taken", *given)
        module.reset_classifier(weight.shape[0])


def _fill(module: VisionTransformer, state: State, path: str, advice: str) -> None:
    """Loads tensors whose names and shapes must be the module's."""
    _check_fit(module, state, path, advice)
    _check_finite(state, path)
    module.load_state_dict(state)


def _check_fit(module: VisionTransformer, state: State, path: str, advice: str) -> None:
    """Raises InputError with all misfits. `advice`: what to do where most names fit."""
    own = module.state_dict()
    missing, unexpected = [key for key in own if key not in state], [key for key in state if key not in own]
    misfits = [f"missing {_few(missing)}"] if missing else []
    misfits += [f"unexpected {_few(unexpected)}"] if unexpected else []
    misfits += _reshaped(own, state)
    if not misfits:
        return
    if len(misfits) == 1 and missing and all(key.startswith(HEADS) for key in missing):
        raise InputError(
            f"{path} has no classifier: {_few(missing)} missing, the model expects {module.num_classes} classes. Give "
            "the linear head as --head FILE, or a checkpoint with a head."
        )
    if 2 * len(missing) > len(own):
        advice = (
            f"{len(own) - len(missing)} of the model's {len(own)} names are there: rename the tensors as timm does "
            "(model.state_dict()), or name another architecture."
        )
    raise InputError(f"{path} does not fit the model: {'; '.join(misfits)}. {advice}")


def _reshaped(own: State, state: State) -> list[str]:
    """The tensors whose shapes are not the model's, with both shapes."""
    misfits = [
        f"{key} is {tuple(state[key].shape)}, the model has {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    more = [f"{len(misfits) - MOST_SHAPES} more shapes differ"] if misfits[MOST_SHAPES:] else []
    return misfits[:MOST_SHAPES] + more


def _check_finite(state: State, path: str) -> None:
    broken = [key for key, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        raise InputError(f"{path} holds NaN or infinity ({_few(broken)}). Fetch it again, or train it anew.")


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def reason(error: Exception) -> str:
    """The text of an error of timm, torch or a hub client, in one line, without the full stop."""
    return textwrap.shorten(str(error), MOST_LETTERS, placeholder=" ...").rstrip(".") or type(error).__name__
