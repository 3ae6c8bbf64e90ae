"""Writes features to a .npy file row by row, whole or not at all, without holding all of them in memory.

Source of the format: numpy.lib.format, version 1.0: magic, length of the header, a header padded to 64 bytes, the data.
"""

import contextlib
import struct
from typing import Any

import numpy as np

from pomt_trt.core.errors import UsageError
from pomt_trt.core.storage import store

HEADER_BYTES = 128  # a header of any number of rows fits


class FeatureFile:
    """A float32 (rows, dimension) array that grows, as a context manager: the file appears when it ends well."""

    def __init__(self, path: str, dimension: int) -> None:
        """Raises: UsageError where the name does not end in .npy. With __enter__: WorkFolderUnusable."""
        if not path.endswith(".npy"):
            raise UsageError("--out {} is not the name of a .npy file, which features are written to.".format(path))
        self._path, self._dimension, self._rows = path, dimension, 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "FeatureFile":
        temporary = self._stack.enter_context(store.replacing(self._path))
        self._file = self._stack.enter_context(open(temporary, "wb"))
        self._file.write(self._header())
        return self

    def append(self, features: np.ndarray) -> int:
        """Writes features (dimension,); returns their row."""
        with store.explained(self._path):
            self._file.write(np.ascontiguousarray(features, "<f4").tobytes())
        self._rows += 1
        return self._rows - 1

    def __exit__(self, *exception: Any) -> None:
        """Writes the number of rows, and gives the file its name; after an exception, removes it."""
        if exception[0] is None:
            with store.explained(self._path):
                self._file.seek(0)
                self._file.write(self._header())
                self._file.flush()
        self._stack.__exit__(*exception)

    def _header(self) -> bytes:
        text = "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}".format(self._rows, self._dimension)
        begin = b"\x93NUMPY\x01\x00" + struct.pack("<H", HEADER_BYTES - 10)
        return begin + text.encode("latin1").ljust(HEADER_BYTES - 11) + b"\n"
