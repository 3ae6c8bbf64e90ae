"""Cores of the small things: Logger, Dims, IHostMemory, and the functions of the module.

TensorRT gives its reasons through the logger only; `say` is how every other core does it.
"""

import sys
from typing import Any, List

import numpy as np

_NUMPY = {"FLOAT": "float32", "HALF": "float16", "INT8": "int8", "INT32": "int32", "INT64": "int64", "BOOL": "bool_"}


def say(logger: Any, severity: str, message: str) -> None:
    """One message through an ILogger of whoever uses the simulator."""
    logger.log(getattr(logger.Severity, severity), message)


class LoggerCore:
    """trt.Logger: prints to stderr what is severe enough."""

    def __init__(self, trt: Any, wrapper: Any, min_severity: Any = None) -> None:
        self.min_severity = trt.ILogger.Severity.WARNING if min_severity is None else min_severity

    def log(self, severity: Any, message: str) -> None:
        if severity.value <= self.min_severity.value:
            print("[TRT] [{}] {}".format(severity.name[0], message), file=sys.stderr)


class DimsCore:
    """A shape: an index and a length, and no comparison with tuples."""

    def __init__(self, trt: Any, wrapper: Any, shape: Any = ()) -> None:
        self.shape = tuple(shape)

    def __len__(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> Any:
        return self.shape[index]

    def __iter__(self) -> Any:
        return iter(self.shape)


def host_memory_class(trt: Any, members: List[str]) -> type:
    """IHostMemory: a buffer, which only a subclass of bytes can be on old Pythons; what bytes has besides is hidden."""
    shown = set(members) | {"_bytes"}

    def refuse(self: Any, *args: Any) -> Any:
        raise TypeError("tensorrt.IHostMemory is a buffer, nothing else: write it, or take bytes() of it")

    class IHostMemory(bytes):
        def __getattribute__(self, name: str) -> Any:
            if not name.startswith("__") and name not in shown:
                raise AttributeError("'tensorrt.IHostMemory' object has no attribute '{}'".format(name))
            return object.__getattribute__(self, name)

        @property
        def nbytes(self) -> int:
            return bytes.__len__(self)

        @property
        def dtype(self) -> Any:
            return trt.DataType.INT8

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *exception: Any) -> None:
            pass

        def __bool__(self) -> bool:
            return True

        def __dir__(self) -> List[str]:
            return members

        __hash__ = object.__hash__
        __len__ = __getitem__ = __iter__ = __contains__ = __add__ = refuse  # type: ignore[assignment]

        def __eq__(self, other: Any) -> bool:
            return self is other

    IHostMemory.__module__ = "tensorrt"
    return IHostMemory


def nptype(kind: Any) -> Any:
    """NumPy's type for a trt.DataType."""
    return getattr(np, _NUMPY[kind.name])
