"""A stand-in for libcudart, which would not know the streams of the stand-in pycuda."""

import pytest

from pomt_trt.device.engines.tensorrt import cuda


@pytest.fixture
def libcudart(monkeypatch):
    """libcudart(library) takes the place of the real one; None: there is none."""

    def install(library):
        def load():
            if library is None:
                raise cuda.GraphUnavailable("libcudart is not found")
            return library

        monkeypatch.setattr(cuda, "load_cudart", load)

    return install


@pytest.fixture
def no_libcudart(libcudart):
    libcudart(None)
