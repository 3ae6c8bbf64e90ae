"""Reads files of weights into one flat dictionary: .safetensors, files of torch.save, and the index of shards of both.

Nothing in a file is executed: torch files are read with weights_only.
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from pomt_trt.core.errors import InputError
from pomt_trt.core.storage.shards import INDEX_ENDING, shards_of
from pomt_trt.host.weights.wording import few

State = dict[str, Tensor]
# Names of the weights in a folder of timm's or Hugging Face's format, the preferred one first; then endings of others.
WEIGHTS = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")
INDICES = tuple(name + INDEX_ENDING for name in WEIGHTS[:2])
ENDINGS = (".safetensors", ".pth", ".pth.tar", ".bin")


def read(path: str) -> State:
    """All tensors of a file; those of nested dictionaries with their keys joined by dots ('state_dict.head.bias').

    Args:
        path: .safetensors, a file of torch.save, or the .index.json of shards, which lie beside it.
    Raises: InputError if a file is absent, damaged, or holds anything that only code could rebuild.
    """
    if not os.path.isfile(path):
        raise InputError(f"there is no file {path}. Give a .safetensors, .pth, .pt or .bin file.")
    tensors = _of_shards(path) if path.endswith(INDEX_ENDING) else _of_file(path)
    if not tensors:
        raise InputError(f"{path} holds no weights. Save model.state_dict() there.")
    return tensors


def in_folder(folder: Path) -> str:
    """The one file of weights in a folder, or the index of its shards. Raises InputError unless there is one."""
    for name in (*WEIGHTS, *INDICES):
        if (folder / name).is_file():
            return str(folder / name)
    for ending in ENDINGS:
        paths = sorted(str(path) for path in folder.glob("*" + ending))
        if len(paths) > 1:
            raise InputError(f"{folder} holds {few(paths)}. Leave one there, or give one as --checkpoint FILE.")
        if paths:
            return paths[0]
    raise InputError(f"{folder} holds no weights. Put {WEIGHTS[0]} there, as timm.models.save_for_hf writes it.")


def _of_shards(index: str) -> State:
    """The tensors that an index names, each from the shard that it names."""
    tensors: State = {}
    for path, names in shards_of(index).items():
        shard = _of_file(path)
        absent = [name for name in names if name not in shard]
        if absent:
            raise InputError(f"{path} lacks {few(absent)}, which {index} says it holds. Fetch both again.")
        tensors.update((name, shard[name]) for name in names)
    return tensors


def _of_file(path: str) -> State:
    try:
        content = load_file(path) if path.endswith(".safetensors") else _torch_file(path)
    except Exception as error:  # a damaged file fails anywhere in torch's, pickle's, zip's or safetensors' readers
        if "unsupported global" in f"{error} {error.__cause__}".lower():  # torch's words for either file format
            raise InputError(
                f"{path} holds pickled Python objects, which could run code and are never loaded. Save the weights "
                "alone where you trust the file: torch.save(model.state_dict(), FILE)."
            ) from error
        raise InputError(_damaged(path)) from error
    if not isinstance(content, dict):
        raise InputError(_damaged(path))
    tensors = dict(_tensors(content))
    if not tensors:
        raise InputError(f"{path} holds no weights, only {few(list(content))}. Save model.state_dict() there.")
    return tensors


def _damaged(path: str) -> str:
    return (
        f"{path} is truncated, or holds no state dict. Fetch it again, or write it with "
        "torch.save(model.state_dict(), FILE)."
    )


def _torch_file(path: str) -> Any:
    with torch.serialization.safe_globals([argparse.Namespace]):  # timm, DINO and MAE save their arguments as one
        return torch.load(path, map_location="cpu", weights_only=True)


def _tensors(content: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for key, value in content.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value
        elif isinstance(value, dict):
            yield from _tensors(value, f"{prefix}{key}.")
