"""The engine libraries: which there are, which to use, and what holds of all of one's engines.

On the machine that runs engines. Leaves out engines themselves (device/engine).
"""

from typing import Any, NamedTuple

from pomt_trt.core.errors import MissingDependency, UsageError
from pomt_trt.device.jetson import identity


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


def chosen(asked: str) -> str:
    """The engine library to use: `asked`, or for auto TensorRT where it can be used, else ONNX Runtime.

    Raises: MissingDependency on a Jetson without TensorRT: what ONNX Runtime's CPU kernels take says nothing of it.
    """
    if asked != "auto":
        return asked
    try:
        version("tensorrt")
        return "tensorrt"
    except MissingDependency as error:
        if identity() is None:
            return "onnxruntime"
        raise MissingDependency(
            "this is a Jetson, where engines belong on TensorRT: {} (--engine onnxruntime would use its CPU.)".format(
                error
            )
        ) from error


def traits(engine: str) -> Traits:
    """What holds of all engines of a library.

    Raises: UsageError, with the names there are.
    """
    if engine not in _LIBRARIES:
        raise UsageError("engine '{}' is not known. Choose one of: {}.".format(engine, ", ".join(sorted(_LIBRARIES))))
    return _LIBRARIES[engine]


def share_threads(engine: str, threads: int) -> bool:
    """Gives all engines of this process that ask for it one thread pool; False where the library cannot."""
    return bool(library(engine).share_threads(threads))


def installed(engine: str) -> str:
    """Version of the installed engine library, such as 1.31.1, whether its engines can run here or not.

    Raises: MissingDependency where it is not installed.
    """
    return str(library(engine).installed(engine))


def version(engine: str) -> str:
    """Version of an engine library whose engines can run here.

    Raises: MissingDependency where it is not installed, or needs a CUDA device and there is none.
    """
    found = installed(engine)
    if traits(engine).on_gpu:
        from pomt_trt.device import cuda  # numpy, which doctor must do without

        cuda.gpu()
    return found


def library(engine: str) -> Any:
    """The module that builds and opens engines of that library: build, open_file, installed, share_threads.

    It is imported when it is asked for: doctor runs where numpy is not installed.

    Raises: UsageError, with the names there are.
    """
    if traits(engine).on_gpu:
        from pomt_trt.device import trt

        return trt
    from pomt_trt.device import ort

    return ort
