"""TensorRT-RTX itself, where it is installed; it parses and builds without a GPU."""

import pytest


@pytest.fixture(scope="session")
def trt():
    """The package."""
    return pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed here: pip install 'pomt-trt[rtx]'")
