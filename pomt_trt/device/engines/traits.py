"""What holds of all engines of one library, known without importing it."""

from typing import NamedTuple

from pomt_trt.core.errors import UsageError


class Traits(NamedTuple):
    """What holds of all engines of one library."""

    on_gpu: bool  # they run on a GPU
    gated: bool  # what they compute depends on kernels that the library picks, so each has to pass the accuracy gate
    varies: bool  # two builds of one graph differ, since the build times kernels: building again tells more
    portable: bool  # they run on other GPUs than the one here, and can be built where there is none


_LIBRARIES = {
    "onnxruntime": Traits(on_gpu=False, gated=False, varies=False, portable=False),
    "tensorrt": Traits(on_gpu=True, gated=True, varies=True, portable=False),
    # It picks kernels when an engine is loaded, on the GPU.
    "tensorrt-rtx": Traits(on_gpu=True, gated=True, varies=False, portable=True),
}


def traits(engine: str) -> Traits:
    """What holds of all engines of a library.

    Raises: UsageError, with the names there are.
    """
    if engine not in _LIBRARIES:
        raise UsageError("engine '{}' is not known. Choose one of: {}.".format(engine, ", ".join(sorted(_LIBRARIES))))
    return _LIBRARIES[engine]
