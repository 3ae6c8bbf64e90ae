"""Properties of each engine library that are known without importing it."""

from typing import NamedTuple

from pomt_trt.core.errors import UsageError


class Traits(NamedTuple):
    """Properties that all engines of one library share."""

    on_gpu: bool  # engines run on a GPU
    gated: bool  # the library picks kernels, so each engine must pass the golden check
    varies: bool  # a build times kernels, so two builds of one graph differ
    portable: bool  # engines run on other GPUs too, and can be built without a GPU


_LIBRARIES = {
    "onnxruntime": Traits(on_gpu=False, gated=False, varies=False, portable=False),
    "tensorrt": Traits(on_gpu=True, gated=True, varies=True, portable=False),
    # TensorRT-RTX picks kernels on the GPU when it loads an engine.
    "tensorrt-rtx": Traits(on_gpu=True, gated=True, varies=False, portable=True),
}


def traits(engine: str) -> Traits:
    """Properties of all engines of a library.

    Raises: UsageError for an unknown name.
    """
    if engine not in _LIBRARIES:
        raise UsageError("engine '{}' is not known. Choose one of: {}.".format(engine, ", ".join(sorted(_LIBRARIES))))
    return _LIBRARIES[engine]
