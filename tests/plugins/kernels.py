"""libpomt_kernels' C functions on numpy arrays, and the same computed in double precision from the paper's words.

Runs with a build for processors; test_gpu.py places arrays elsewhere.
"""

import ctypes

import numpy as np

TYPES = {np.dtype(np.float32): 0, np.dtype(np.float16): 1}


class Shape(ctypes.Structure):
    """PomtShape."""

    _fields_ = [
        (name, ctypes.c_int) for name in ["batch", "heads", "tokens", "head_width", "channels", "prefix", "removed"]
    ]


class PruneCall(ctypes.Structure):
    """PomtPruneCall."""

    _fields_ = [(name, ctypes.c_void_p) for name in ["attention", "values", "x", "out", "workspace"]]
    _fields_ += [(name, ctypes.c_int) for name in ("attention_type", "values_type", "x_type")]


class TopKCall(ctypes.Structure):
    """PomtTopKCall."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("attention", "x", "out")]
    _fields_ += [(name, ctypes.c_int) for name in ("attention_type", "x_type")]


class Kernels:
    """A loaded build."""

    def __init__(self, path):
        self.library = ctypes.CDLL(path)
        self.library.pomtPruneWorkspaceBytes.restype = ctypes.c_size_t

    def prune(self, attention, values, x, prefix, removed):
        """Tokens after pomtPrune (B, N - removed, C); inputs as in its contract."""
        shape = Shape(*attention.shape[:3], values.shape[3], x.shape[2], prefix, removed)
        workspace = np.full(self.library.pomtPruneWorkspaceBytes(ctypes.byref(shape)) // 4, np.nan, np.float32)
        out = _unwritten(x, removed)
        placed = [self.placed(array) for array in (attention, values, x, out, workspace)]
        call = PruneCall(*map(self.pointer, placed), *(TYPES[array.dtype] for array in (attention, values, x)))
        self._check(self.library.pomtPrune(ctypes.byref(shape), ctypes.byref(call), None), shape)
        return self.fetched(placed[3])

    def topk(self, row, x, prefix, removed):
        """Tokens after pomtTopK (B, N - removed, C)."""
        shape = Shape(row.shape[0], row.shape[1], row.shape[3], 0, x.shape[2], prefix, removed)
        placed = [self.placed(array) for array in (row, x, _unwritten(x, removed))]
        call = TopKCall(*map(self.pointer, placed), *(TYPES[array.dtype] for array in (row, x)))
        self._check(self.library.pomtTopK(ctypes.byref(shape), ctypes.byref(call), None), shape)
        return self.fetched(placed[2])

    def placed(self, array):
        """The array where the functions can read it."""
        return np.ascontiguousarray(array)

    def pointer(self, placed):
        """The address of a placed array."""
        return placed.ctypes.data

    def fetched(self, placed):
        """A placed array that was written to, as numpy's."""
        return placed

    @staticmethod
    def _check(status, shape):
        if status:
            raise ValueError(f"status {status} for {[getattr(shape, name) for name, _ in shape._fields_]}")


def _unwritten(x, removed):
    return np.full((x.shape[0], max(x.shape[1] - removed, 0), x.shape[2]), np.nan, x.dtype)


def prune_scores(attention, values, prefix):
    """(B, N - prefix) in double precision: attention received, over the image's largest, plus softmax of strength."""
    received = attention.astype(np.float64).max(1)[:, prefix:, prefix:].sum(1)
    strength = values.astype(np.float64).max(1).sum(2)
    weight = np.exp(strength - strength.max(1, keepdims=True))
    return received / received.max(1, keepdims=True) + (weight / weight.sum(1, keepdims=True))[:, prefix:]


def topk_scores(row, prefix):
    """(B, N - prefix) in double precision: the class token's attention, mean over heads."""
    return row.astype(np.float64).mean(1)[:, 0, prefix:]


def selected(scores, x, prefix, kept, mean):
    """Prefix, kept patches by descending score (ties: lower index), and the mean of the others where asked for."""
    images = []
    for score, tokens in zip(scores, x.astype(np.float64)):
        ranked = prefix + np.argsort(-score, kind="stable")
        parts = [tokens[:prefix], tokens[ranked[:kept]]]
        images.append(np.concatenate([*parts, tokens[ranked[kept:]].mean(0, keepdims=True)] if mean else parts))
    return np.stack(images)


def pruned(attention, values, x, prefix, removed):
    """What pomtPrune should give, in double precision."""
    kept = x.shape[1] - prefix - removed - 1
    return selected(prune_scores(attention, values, prefix), x, prefix, kept, mean=True)


def topped(row, x, prefix, removed):
    """What pomtTopK should give, in double precision."""
    return selected(topk_scores(row, prefix), x, prefix, x.shape[1] - prefix - removed, mean=False)
