"""The checkpoint of a training: parameters, optimiser and state in one file, written whole or not at all.

It is a .safetensors file with tensors `model.NAME` and `optimizer.NUMBER.NAME`, and the state as JSON in its metadata.
Nothing in it is executed.
"""

import json
import os
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pomt_trt.core.errors import CorruptArtifact
from pomt_trt.core.storage import store

FILE = "checkpoint.safetensors"


def save(path: str, module: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Replaces the file by the trained parameters, the optimiser's tensors and the state.

    Args: state: must be JSON.
    """
    tensors = {f"model.{name}": value.detach() for name, value in _trained(module).items()}
    for number, memory in optimizer.state_dict()["state"].items():
        remembered = {name: value for name, value in memory.items() if isinstance(value, Tensor)}
        tensors.update({f"optimizer.{number}.{name}": value for name, value in remembered.items()})
    about = {"format": "pomt-trt", "state": json.dumps(state)}
    with store.replacing(path) as temporary:
        save_file({name: value.contiguous().cpu() for name, value in tensors.items()}, temporary, about)


def load(path: str) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """State and tensors; None: there is no file. Raises: CorruptArtifact for a damaged file."""
    if not os.path.exists(path):
        return None
    try:
        with safe_open(path, "pt") as file:
            state = json.loads(file.metadata()["state"])
            return state, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise CorruptArtifact(
            f"{path} is damaged: {error}. Delete it and run the same command again to begin anew."
        ) from error


def restore(tensors: dict[str, Tensor], module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Loads the tensors into module and optimiser."""
    with torch.no_grad():
        for name, parameter in _trained(module).items():
            parameter.copy_(tensors[f"model.{name}"])
    remembered = optimizer.state_dict()
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, number, key = name.split(".", 2)
            remembered["state"].setdefault(int(number), {})[key] = value
    optimizer.load_state_dict(remembered)


def _trained(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
