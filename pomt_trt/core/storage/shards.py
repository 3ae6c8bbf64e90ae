"""Weights in several files: the index that names the shard of each tensor, as Hugging Face's libraries write it.

The index is JSON: {"weight_map": {tensor: file beside the index}}.
"""

import hashlib
import json
import os
from typing import Dict, List

from pomt_trt.core.errors import InputError
from pomt_trt.core.storage import store

INDEX_ENDING = ".index.json"


def shards_of(index: str) -> Dict[str, List[str]]:
    """path of each shard -> names of its tensors.

    Raises: InputError where the file is no index, names a file outside its folder, or a shard is absent.
    """
    files = {}  # type: Dict[str, List[str]]
    for name, file in _weight_map(index).items():
        if os.path.basename(file) != file or file in ("", ".", ".."):
            raise InputError("{} names the shard '{}'. A shard lies beside its index.".format(index, file))
        files.setdefault(file, []).append(name)
    folder = os.path.dirname(index)
    absent = sorted(file for file in files if not os.path.isfile(os.path.join(folder, file)))
    if absent:
        raise InputError(
            "{} of the {} shards that {} names are not there: {}. Fetch them into its folder.".format(
                len(absent), len(files), index, ", ".join(absent)
            )
        )
    return {os.path.join(folder, file): names for file, names in files.items()}


def sha256_of_weights(path: str) -> str:
    """The SHA-256 of a file of weights; of an index, of its text and of all its shards."""
    if not path.endswith(INDEX_ENDING):
        return store.sha256_of(path)
    parts = [path] + sorted(shards_of(path))
    return hashlib.sha256(" ".join(store.sha256_of(part) for part in parts).encode()).hexdigest()


def _weight_map(index: str) -> Dict[str, str]:
    try:
        with open(index, encoding="utf-8") as file:
            names = json.load(file)["weight_map"]
        if names and all(isinstance(value, str) for value in names.values()):
            return dict(names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(_no_index(index)) from error
    raise InputError(_no_index(index))


def _no_index(index: str) -> str:
    return "{} is no index of shards: it must hold {{'weight_map': {{tensor: file}}}}. Fetch it again.".format(index)
