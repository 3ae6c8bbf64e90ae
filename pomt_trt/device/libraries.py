"""The engine libraries: which there are, which to use, and what holds of all of one's engines.

On the machine that runs engines. Leaves out engines themselves (device/engine).
"""

from typing import Any

from pomt_trt.core.errors import MissingDependency, UsageError
from pomt_trt.device.jetson import identity

NAMES = ("onnxruntime", "tensorrt")
_VARYING = ("tensorrt",)


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


def varies(engine: str) -> bool:
    """Whether two builds of one graph differ, since the library picks kernels by timing them.

    Then each build has to pass the accuracy gate, and building a candidate again tells more of it.
    """
    return engine in _VARYING


def share_threads(engine: str, threads: int) -> bool:
    """Gives all engines of this process that ask for it one thread pool; False where the library cannot."""
    return bool(library(engine).share_threads(threads))


def version(engine: str) -> str:
    """Version of the installed engine library, such as 1.31.1.

    Raises: MissingDependency where it is not installed.
    """
    return str(library(engine).version())


def library(engine: str) -> Any:
    """The module that builds and opens engines of that library: build, open_file, version, share_threads.

    It is imported when it is asked for: doctor runs where numpy is not installed.

    Raises: UsageError, with the names there are.
    """
    if engine == "onnxruntime":
        from pomt_trt.device import ort

        return ort
    if engine == "tensorrt":
        from pomt_trt.device import trt

        return trt
    raise UsageError("engine '{}' is not known. Choose one of: {}.".format(engine, ", ".join(NAMES)))
