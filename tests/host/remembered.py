"""Traces that were made before in this process, so that tests which export one module in many ways trace it once.

Tracing takes most of an export's time, and is a function of the module and of what is asked: that twice the same is
written byte for byte is shown in test_export with nothing remembered.
"""

import hashlib
import io
import pickle

import onnx
import torch

from pomt_trt.host.graphs import export
from pomt_trt.host.graphs.trace import Trace, trace

_known: dict[bytes, tuple[bytes, dict]] = {}


class _Describing(pickle.Pickler):
    """Writes all that a module is; nothing is ever read back."""

    def reducer_override(self, thing):
        if isinstance(thing, torch.Tensor):  # torch's own way differs from call to call
            return bytes, (thing.detach().numpy().tobytes() + f"{thing.dtype} {tuple(thing.shape)}".encode(),)
        return NotImplemented


def _described(*things):
    file = io.BytesIO()
    _Describing(file).dump(things)
    return hashlib.sha256(file.getvalue()).digest()


def _remembering(module, image_shape, **asked):
    """`trace`, or a copy of what it gave for a module of the same code, structure, numbers and schedule."""
    try:
        asked_for = _described(module, image_shape, sorted(asked.items()))
    except (AttributeError, TypeError, pickle.PicklingError):  # of a class or function within a test
        return trace(module, image_shape, **asked)
    if asked_for not in _known:
        made = trace(module, image_shape, **asked)
        _known[asked_for] = made.graph.SerializeToString(), _copied(made.weights)  # some are the module's own memory
    graph, weights = _known[asked_for]
    return Trace(onnx.ModelProto.FromString(graph), _copied(weights))


def _copied(weights):
    return {name: value.copy() for name, value in weights.items()}


def install():
    """From now on exports in this process remember."""
    export.trace = _remembering


def forget():
    """The next export traces anew."""
    _known.clear()
