"""Short ways for the simulator's own tests: build and load as a program on any of the releases would."""

import sys
from typing import Any, List, Tuple

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

    def built(self, path: str) -> Any:
        """The serialised engine of a graph."""
        plan = self.builder.build_serialized_network(self.parsed(path), self.builder.create_builder_config())
        assert plan is not None, self.errors
        return plan

    def header(self, path: str) -> Any:
        """What the plan of a graph says of itself."""
        return plan_header(self.built(path))

    def engine(self, plan: Any) -> Any:
        """The engine of a plan, or None."""
        return self.trt.Runtime(self.logger).deserialize_cuda_engine(bytes(plan))
