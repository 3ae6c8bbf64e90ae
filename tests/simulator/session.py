"""Short ways for the simulator's own tests: build, load and run as a program on any of the releases would."""

import sys
from typing import Any, List, Tuple

import numpy as np

from .board import Board
from .plan import header as plan_header


class Session:
    """The installed stand-ins of one board, with a logger that keeps what it is told."""

    def __init__(self, board: Board) -> None:
        self.trt: Any = sys.modules[board.table.package]
        self.board = board
        self.said: List[Tuple[str, str]] = []
        self.logger = self._logger()
        self.builder = self.trt.Builder(self.logger)

    def _logger(self) -> Any:
        said = self.said

        class Keeping(self.trt.ILogger):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()

            def log(self, severity: Any, msg: str) -> None:
                said.append((severity.name, msg))

        return Keeping()

    @property
    def errors(self) -> str:
        """What was logged as an error."""
        return "; ".join(text for severity, text in self.said if severity == "ERROR")

    @property
    def strong(self) -> bool:
        """Whether networks of parsed() are strongly typed."""
        return hasattr(self.trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")

    def network(self) -> Any:
        kinds, flags = self.trt.NetworkDefinitionCreationFlag, 0
        for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED"):
            if hasattr(kinds, name):
                flags |= 1 << int(getattr(kinds, name))
        return self.builder.create_network(flags)

    def parser(self, network: Any) -> Any:
        return self.trt.OnnxParser(network, self.logger)

    def parsed(self, path: str) -> Any:
        """The network of a graph that this release reads."""
        network = self.network()
        assert self.parser(network).parse_from_file(path), self.errors
        return network

    def config(self) -> Any:
        config = self.builder.create_builder_config()
        config.profiling_verbosity = self.trt.ProfilingVerbosity.DETAILED
        return config

    def built(self, path: str) -> Any:
        """The serialised engine of a graph."""
        plan = self.builder.build_serialized_network(self.parsed(path), self.config())
        assert plan is not None, self.errors
        return plan

    def header(self, path: str, config: Any) -> Any:
        """What the plan that this configuration makes of a graph says of itself."""
        return plan_header(self.builder.build_serialized_network(self.parsed(path), config))

    def engine(self, plan: Any) -> Any:
        """The engine of a plan, or None."""
        return self.trt.Runtime(self.logger).deserialize_cuda_engine(bytes(plan))

    def run(self, engine: Any, image: np.ndarray, shape: Tuple[int, ...], wait: bool = True) -> np.ndarray:
        """The output of an engine with one input and one output; without waiting, what is there too early."""
        import pycuda.driver as driver

        driver.init()
        primary = driver.Device(0).retain_primary_context()
        primary.push()
        try:
            given, result = (
                driver.pagelocked_empty(image.shape, image.dtype),
                driver.pagelocked_empty(shape, np.float32),
            )
            np.copyto(given, image)
            buffers = [driver.mem_alloc(given.nbytes), driver.mem_alloc(result.nbytes)]
            stream = driver.Stream()
            driver.memcpy_htod_async(buffers[0], given, stream)
            assert self.enqueued(engine.create_execution_context(), list(map(int, buffers)), stream.handle), self.errors
            driver.memcpy_dtoh_async(result, buffers[1], stream)
            if wait:
                stream.synchronize()
            return result.copy()
        finally:
            driver.Context.pop()
            primary.detach()

    def enqueued(self, context: Any, addresses: List[int], stream: int) -> bool:
        """What the release's way of executing returns."""
        if not hasattr(context, "set_tensor_address"):
            return bool(context.execute_async_v2(addresses, stream))
        for number, address in enumerate(addresses):
            assert context.set_tensor_address(context.engine.get_tensor_name(number), address)
        return bool(context.execute_async_v3(stream))
