"""The parameters that LTMP or Cropr learned for one model, from METHOD.safetensors beside it."""

from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pomt_trt.core.errors import InputError, StaleArtifact, UsageError
from pomt_trt.core.records import ModelSpec, Request
from pomt_trt.core.storage import learned, store

FORMAT = {"format": "pomt-trt", "version": "1"}  # in a file's metadata, beside "method"
ADVICE = "Train it for this model: pomt-trt train {} MODEL --data DIR --work T."


class Thresholds(NamedTuple):
    """LTMP's thresholds, and how many tokens of an image they merge and prune; one entry for each block."""

    merge: tuple[float, ...]
    prune: tuple[float, ...]
    merged_mean: tuple[float, ...]
    pruned_mean: tuple[float, ...]
    merged_std: tuple[float, ...]
    pruned_std: tuple[float, ...]


class Scorers(NamedTuple):
    """Cropr's vectors, one for each block after which it removes tokens. The score of a token x is x . vector."""

    vectors: Tensor  # (modules, C) fp32
    llf: bool  # last layer fusion: removed tokens come back before the last block


Learned = Thresholds | Scorers


def asked_for(request: Request, spec: ModelSpec) -> Learned | None:
    """The parameters of the requested method; None where it learns nothing.

    Raises: StaleArtifact if the file is not the one that the experiment began with; as `read`.
    """
    path = learned.file_of(request.model, request.method)
    if path is None:
        return None
    if store.sha256_of(path) != request.learned_sha256:
        raise StaleArtifact(f"{path} is another file than the experiment began with. Use another --work.")
    return read(request.method, path, spec.depth, spec.width)


def read(method: str, path: str, depth: int, width: int) -> Learned:
    """The parameters in `path`, for a model of `depth` blocks and `width` channels.

    Raises: InputError for a file that is damaged, of another method or model, or with impossible values.
    """
    metadata, tensors = _read(path)
    stored = metadata.get("method")
    if {key: metadata.get(key) for key in FORMAT} != FORMAT or stored != method:
        raise InputError(
            f"{path} holds parameters of {stored or 'an unknown method'} (format {metadata.get('format')}, version "
            f"{metadata.get('version')}), not of {method} (pomt-trt, 1). {ADVICE.format(method)}"
        )
    if method == "cropr":
        vectors = _named(tensors, ("scorers",), path)[0].float()
        if metadata.get("llf") not in ("0", "1"):
            raise InputError(f"{path} says llf {metadata.get('llf')}, not 0 or 1. {ADVICE.format(method)}")
        return checked_scorers(Scorers(vectors, metadata["llf"] == "1"), depth, width, path)
    return _thresholds(_named(tensors, Thresholds._fields, path), depth, path)


def checked_scorers(scorers: Scorers, depth: int, width: int, where: str) -> Scorers:
    """The scorers. Raises InputError unless their number and width fit the model and they are finite."""
    expected, shape = (modules(depth, scorers.llf), width), tuple(scorers.vectors.shape)
    if shape != expected:
        raise InputError(
            f"{where} holds scorers of shape {shape}, the model needs {expected}: one for each block but the last "
            f"{2 if scorers.llf else 1}, as wide as its tokens. {ADVICE.format('cropr')}"
        )
    if not torch.isfinite(scorers.vectors).all():
        raise InputError(f"{where} holds scorers that are not finite. {ADVICE.format('cropr')}")
    return scorers


def modules(depth: int, llf: bool) -> int:
    """After how many blocks Cropr removes tokens: depth - 2 with last layer fusion, else depth - 1.

    Raises: UsageError for a model that is too shallow.
    """
    count = depth - 2 if llf else depth - 1
    if count < 1:
        raise UsageError(f"cropr removes tokens after blocks that others follow, and the model has {depth}. Use pomt.")
    return count


def _read(path: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}. Fetch or train it again.") from error


def _named(tensors: dict[str, Tensor], names: tuple[str, ...], path: str) -> list[Tensor]:
    missing = [name for name in names if name not in tensors]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}. Fetch or train it again.")
    return [tensors[name] for name in names]


def _thresholds(values: list[Tensor], depth: int, path: str) -> Thresholds:
    for name, value in zip(Thresholds._fields, values, strict=True):
        most: Any = 1.0 if name in ("merge", "prune") else torch.inf
        if tuple(value.shape) != (depth,):
            raise InputError(
                f"{path} is of another model: {name} has shape {tuple(value.shape)}, the model {depth} blocks. "
                + ADVICE.format("ltmp")
            )
        if not torch.isfinite(value).all() or value.min() < 0 or value.max() > most:
            raise InputError(
                f"{path} holds {name} from {value.min():.3g} to {value.max():.3g}; finite values from 0 "
                f"{'to 1' if most == 1 else 'on'} were expected. {ADVICE.format('ltmp')}"
            )
    return Thresholds(*(tuple(value.double().tolist()) for value in values))
