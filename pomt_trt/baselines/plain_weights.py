"""Writes plain.json: how torch alone runs the weights of a timm vision transformer (baselines/board_eager).

Every parameter is compared with what weights.bin holds. A model with more than LayerNorm, attention and a two-layer MLP
has no plain.json, and so no eager baseline on a board.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from timm.layers import Mlp
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from pomt_trt.core.errors import InputError
from pomt_trt.core.records import PlainModel, StoredTensor
from pomt_trt.core.storage import store
from pomt_trt.core.storage.workfolder import WEIGHTS
from pomt_trt.host.backbones.pooling import ClassAndMean

LOGGER = logging.getLogger(__name__)
ACTIVATIONS = {"GELU": "gelu", "GELUTanh": "gelu_tanh", "QuickGELU": "quick_gelu"}  # of torch and timm


def write(module: VisionTransformer, graph: Path, path: Path) -> None:
    """Writes `path` for a module whose R = 0 graph is `graph`, with the weights beside it; logs why if it cannot."""
    try:
        plain = plain_model(module, graph)
    except InputError as error:
        LOGGER.warning("boards will have no eager baseline of this model: %s", error)
        path.unlink(missing_ok=True)  # of an earlier export
        return
    store.write_record(str(path), plain, {"weights": plain.weights_sha256})


def plain_model(module: VisionTransformer, graph: Path) -> PlainModel:
    """The description of a module whose R = 0 graph is `graph`, with the weights beside it.

    Raises: InputError with the reason, if the module has other parts or weights.bin does not hold its parameters.
    """
    for block in module.blocks:
        if type(block.mlp) is not Mlp:
            raise InputError(f"its MLP is a {type(block.mlp).__name__}")
    return PlainModel(
        weights_sha256=store.sha256_of(str(graph.with_name(WEIGHTS))),
        norm_eps=_norm_eps(module),
        activation=_activation(module),
        pooling="token_and_avg" if isinstance(module.attn_pool, ClassAndMean) else module.global_pool,
        pools_prefix=bool(module.pool_include_prefix),
        tensors=_stored(module, graph),
    )


def _norm_eps(module: nn.Module) -> float:
    kinds = {type(part).__name__ for name, part in module.named_modules() if "norm" in name.split(".")[-1]}
    other = kinds - {"LayerNorm", "Identity"}
    eps = {part.eps for part in module.modules() if isinstance(part, nn.LayerNorm)}
    if other or len(eps) != 1:
        raise InputError(f"its norms are {', '.join(sorted(other)) or 'LayerNorms'} with eps {sorted(eps)}")
    return float(eps.pop())


def _activation(module: VisionTransformer) -> str:
    kinds = {type(block.mlp.act).__name__ for block in module.blocks}
    if len(kinds) != 1 or not kinds <= set(ACTIVATIONS):
        raise InputError(f"its activation is {', '.join(sorted(kinds))}, not one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[kinds.pop()]


def _stored(module: nn.Module, graph: Path) -> dict[str, StoredTensor]:
    """Where each parameter lies in weights.bin: looked up by name, and compared by value."""
    model = onnx.load(str(graph), load_external_data=False)
    located = {tensor.name: tensor for tensor in model.graph.initializer if tensor.external_data}
    data = np.memmap(graph.with_name(WEIGHTS), dtype=np.uint8, mode="r")
    state = module.state_dict()
    missing = sorted(set(state) - set(located))
    if missing:
        raise InputError(f"its graph names no {', '.join(missing[:3])}")
    return {name: _stored_tensor(name, value, located[name], data) for name, value in state.items()}


def _stored_tensor(name: str, value: torch.Tensor, located: onnx.TensorProto, data: Any) -> StoredTensor:
    offset = next(int(entry.value) for entry in located.external_data if entry.key == "offset")
    shape = tuple(located.dims)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(located.data_type)
    stored = data[offset : offset + dtype.itemsize * int(np.prod(shape))].view(dtype).reshape(shape)
    expected = value.detach().cpu().numpy().astype(dtype)
    transposed = not np.array_equal(stored, expected)
    if transposed and not np.array_equal(stored.T, expected):
        raise InputError(f"weights.bin holds another {name} than the model")
    return StoredTensor(offset, shape, dtype.name, transposed)
