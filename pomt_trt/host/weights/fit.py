"""Holds tensors against a model: every name and shape must be its own, and every value a number."""

import inspect
import re
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from pomt_trt.core.errors import InputError
from pomt_trt.host.weights.files import State
from pomt_trt.host.weights.wording import few, reason, reshaped, whole

HEADS = ("head.", "head_dist.")
ADVICE = "Name the architecture that the checkpoint was made for."


def filtered(module: nn.Module, state: State, path: str) -> State:
    """The tensors as timm's own filter for the model's class makes them: official layouts, and the module's image size.

    Raises: InputError where the filter fails.
    """
    own_filter: Any = sys.modules[type(module).__module__].checkpoint_filter_fn  # type: ignore[attr-defined]
    # adapt_layer_scale: official DeiT III names gamma_1 what timm names ls1.gamma
    knows = "adapt_layer_scale" in inspect.signature(own_filter).parameters
    try:
        made = own_filter(dict(state), module, **({"adapt_layer_scale": True} if knows else {}))
    except Exception as error:
        raise InputError(f"{path} does not fit the model: {reason(error)}. {ADVICE}") from error
    return {key: value for key, value in made.items() if isinstance(value, torch.Tensor)}


def fill(module: nn.Module, state: State, path: str, advice: str) -> None:
    """Loads tensors whose names and shapes must be the module's. Raises InputError with all misfits."""
    check_fit(module, state, path, advice)
    check_finite(state, path)
    module.load_state_dict(state)


def check_fit(module: Any, state: State, path: str, advice: str) -> None:
    """Raises InputError with all misfits. `advice`: what to do where most names fit."""
    own = module.state_dict()
    missing, unexpected = [key for key in own if key not in state], [key for key in state if key not in own]
    _check_one_head(unexpected, path)
    misfits = [f"missing {whole(missing)}"] if missing else []
    misfits += [f"unexpected {whole(unexpected)}"] if unexpected else []
    shapes = [(key, state[key].shape, own[key].shape) for key in own if key in state]
    misfits += reshaped([one for one in shapes if one[1] != one[2]])
    if not misfits:
        return
    if len(misfits) == 1 and missing and all(key.startswith(HEADS) for key in missing):
        raise InputError(
            f"{path} has no classifier: {few(missing)} missing, the model expects {module.num_classes} classes. Give "
            "the linear head as --head FILE, a checkpoint with a head, or --task features."
        )
    if missing:
        advice = f"{len(own) - len(missing)} of the model's {len(own)} names are there. {advice}"
    if 2 * len(missing) > len(own):
        advice += " If it is this one, rename the tensors as timm does (model.state_dict())."
    raise InputError(f"{path} does not fit the model: {'; '.join(misfits)}. {advice}")


def _check_one_head(unexpected: Sequence[str], path: str) -> None:
    """Raises InputError where names are of several heads, of a model for several tasks."""
    found = (
        re.match(r"((?:heads|classifiers)\.\w+|(?:head|classifier)_\w+)\.(?:weight|bias)$", key) for key in unexpected
    )
    heads = sorted({match.group(1) for match in found if match})
    if len(heads) > 1:
        raise InputError(
            f"{path} has several heads ({', '.join(heads)}), and a compiled model has one. Save the one that you want "
            "under the names head.weight and head.bias, or leave all out and take --task features."
        )


def check_finite(state: State, path: str) -> None:
    """Raises InputError where a value is NaN or infinite."""
    broken = [key for key, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        raise InputError(f"{path} holds NaN or infinity ({few(broken)}). Fetch it again, or train it anew.")
