"""The engine libraries: which there are, and which to use.

On the machine that runs engines. Leaves out engines themselves (device/engines/engine).
"""

from typing import Any

from pomt_trt.core.errors import MissingDependency
from pomt_trt.device.board.jetson import identity
from pomt_trt.device.engines.traits import traits


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
        from pomt_trt.device.engines.tensorrt import cuda

        cuda.gpu()
    return found


def library(engine: str) -> Any:
    """The module that builds and opens engines of that library: build, open_file, installed, share_threads.

    It is imported when it is asked for: doctor runs where numpy is not installed.

    Raises: UsageError, with the names there are.
    """
    if traits(engine).on_gpu:
        from pomt_trt.device.engines.tensorrt import backend

        return backend
    from pomt_trt.device.engines import onnxruntime

    return onnxruntime
