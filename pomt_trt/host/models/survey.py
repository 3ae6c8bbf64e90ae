"""Which models of timm are accepted, with which methods, and why not: asked of each model, never listed by hand.

Models are built without memory for their weights (torch's meta device), so a giant takes no more than a tiny one.
"""

import fnmatch
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import timm
import torch
from timm.models import _registry

from pomt_trt.core.errors import InputError
from pomt_trt.core.records import SurveyedModel
from pomt_trt.host import backbones
from pomt_trt.host.reducers import METHODS
from pomt_trt.host.weights.wording import reason


def names_like(pattern: str | None) -> list[str]:
    """timm's names that match a shell pattern such as *dinov3*; all without one.

    Raises: InputError where none does.
    """
    names: list[str] = timm.list_models()
    found = [name for name in names if pattern is None or fnmatch.fnmatch(name, pattern)]
    if not found:
        raise InputError(f"timm {timm.__version__} has no model like '{pattern}'. Give one like '*dinov3*'.")
    return found


def survey(names: list[str]) -> Iterator[SurveyedModel]:
    """A record for each name."""
    for name in names:
        yield _surveyed(name)


def _surveyed(name: str) -> SurveyedModel:
    file = _file(name)
    if not _may_hold_known(file):
        known = ", ".join(kind.__name__ for kind in backbones.KINDS)
        return SurveyedModel(name, _title(file), None, f"timm's {_title(file)} builds none of {known}", (), {})
    try:
        with torch.device("meta"):
            module: Any = timm.create_model(name)
    except Exception as error:  # what timm raises where a model cannot be built has no common base
        return SurveyedModel(name, _title(file), None, f"timm cannot build it: {reason(error)}", (), {})
    kind, refused = type(module).__name__, backbones.refusal(module)
    if refused:
        return SurveyedModel(name, _title(file), kind, refused, (), {})
    backbone = backbones.of(module)
    lacks = {method: backbone.lacks(reducer) for method, reducer in METHODS.items()}
    taken = tuple(method for method, why in lacks.items() if why is None)
    return SurveyedModel(name, _title(file), kind, None, taken, {method: why for method, why in lacks.items() if why})


def _file(name: str) -> ModuleType:
    """The file of timm that builds a model."""
    return sys.modules["timm.models." + _registry._model_to_module[name]]


def _title(file: ModuleType) -> str:
    return file.__name__.rpartition(".")[2]


def _may_hold_known(file: ModuleType) -> bool:
    """Whether a file defines or imports a class that has an adapter; others are not even built."""
    return any(value in backbones.KINDS for value in vars(file).values() if isinstance(value, type))
