"""Finds the engine library to use, and its version."""

from typing import Any

from pomt_trt.core.errors import MissingDependency
from pomt_trt.device.board.jetson import identity
from pomt_trt.device.engines.traits import traits


def chosen(engine: str) -> str:
    """The engine library to use: `engine`, or for auto TensorRT if it can be used, else ONNX Runtime.

    Raises: MissingDependency on a Jetson without TensorRT. Latencies on its CPU say nothing about its GPU.
    """
    if engine != "auto":
        return engine
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
    """Creates one thread pool for all engines that are opened with shared_pool; False if the library cannot."""
    return bool(library(engine).share_threads(threads))


def installed(engine: str) -> str:
    """Version of the installed engine library, such as 1.31.1, even if its engines cannot run here.

    Raises: MissingDependency if it is not installed.
    """
    return str(library(engine).installed(engine))


def version(engine: str) -> str:
    """Version of an engine library, if its engines can run here.

    Raises: MissingDependency if it is not installed, or needs a CUDA device and there is none.
    """
    installed_version = installed(engine)
    if traits(engine).on_gpu:
        from pomt_trt.device.engines.tensorrt import cuda

        cuda.gpu()
    return installed_version


def library(engine: str) -> Any:
    """The module for a library, with the functions build, open_file, installed and share_threads.

    It is imported late, since doctor must run without numpy.

    Raises: UsageError for an unknown name.
    """
    if traits(engine).on_gpu:
        from pomt_trt.device.engines.tensorrt import backend

        return backend
    from pomt_trt.device.engines import onnxruntime

    return onnxruntime
