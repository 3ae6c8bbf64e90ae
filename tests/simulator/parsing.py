"""Cores of OnnxParser and ParserError: which graphs a release reads, and how it says that it does not.

Operators and opsets are those of tests/data/onnx_ops.json. A refusal is a False and a list of errors, never an
exception. A limit that is not in that table but known: TopK keeps 3840 at most (NvInfer.h, ITopKLayer).
"""

import os
from typing import Any, List, NamedTuple, Optional

from . import onnx_file, plugins
from .basics import say
from .network import Source
from .tables import MISSING

MOST_RANKED = 3840


class _Error(NamedTuple):
    """What a ParserError says."""

    code: str
    desc: str
    node: int = -1
    name: str = ""
    operator: str = ""


class ErrorCore:
    """One ParserError; its members are methods in TensorRT."""

    def __init__(self, trt: Any, error: _Error) -> None:
        self._trt, self._error = trt, error

    def code(self) -> Any:
        return getattr(self._trt.ErrorCode, self._error.code)

    def desc(self) -> str:
        return self._error.desc

    def node(self) -> int:
        return self._error.node

    def node_name(self) -> str:
        return self._error.name

    def node_operator(self) -> str:
        return self._error.operator

    def file(self) -> str:
        return "ModelImporter.cpp"

    def func(self) -> str:
        return "parseNode"

    def line(self) -> int:
        return 0

    def local_function_stack(self) -> List[str]:
        return []

    def local_function_stack_size(self) -> int:
        return 0


class ParserCore:
    """An OnnxParser on one network."""

    def __init__(self, trt: Any, wrapper: Any, network: Any, logger: Any) -> None:
        self._trt, self._network, self._logger = trt, network._core, logger
        self._limits = trt._board.parser
        self._errors: List[_Error] = []
        self.flags = 0

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        if not 0 <= index < len(self._errors):
            return None
        return self._trt._wrap("ParserError", ErrorCore(self._trt, self._errors[index]))

    def clear_errors(self) -> None:
        self._errors = []

    def set_flag(self, flag: Any) -> None:
        self.flags |= 1 << flag.value

    def clear_flag(self, flag: Any) -> None:
        self.flags &= ~(1 << flag.value)

    def get_flag(self, flag: Any) -> bool:
        return bool(self.flags >> flag.value & 1)

    def set_builder_config(self, config: Any) -> bool:
        return True

    def supports_operator(self, name: str) -> bool:
        return name in self._limits["ops"]

    def parse_from_file(self, path: str) -> bool:
        """Reads a file and its weights; False, with the reason in the logger and the list of errors."""
        if not os.path.isfile(path):
            say(self._logger, "ERROR", "Could not open file {}".format(path))
            say(self._logger, "ERROR", "Failed to parse ONNX model from file: {}!".format(path))
            return False
        with open(path, "rb") as file:
            return self._parse(file.read(), path)

    def parse(self, model: Any, path: Optional[Any] = None) -> bool:
        """Reads a model from memory; `path` says where its weights lie."""
        return self._parse(bytes(model), "" if path in (None, MISSING) else str(path))

    def _parse(self, blob: bytes, path: str) -> bool:
        try:
            model = onnx_file.read(blob)
        except onnx_file.BadModel as error:
            return self._refuse(
                [_Error("MODEL_DESERIALIZE_FAILED", "Failed to parse the ONNX model ({})".format(error))]
            )
        errors = self._network_errors() + self._opset_errors(model) + self._file_errors(model, path)
        errors += [error for number, node in enumerate(model.nodes) for error in self._node_errors(model, number, node)]
        if errors:
            return self._refuse(errors)
        wide = any(each.type == "INT64" for each in model.initialisers.values())
        if wide and not hasattr(self._trt.DataType, "INT64"):
            say(self._logger, "WARNING", "INT64 weights are not natively supported. Attempting to cast down to INT32.")
        self._network.fill(Source(path, blob, model))
        return True

    def _refuse(self, errors: List[_Error]) -> bool:
        self._errors += errors
        for error in errors:
            where = "While parsing node number {} [{} -> {}]: ".format(error.node, error.operator, error.name)
            say(self._logger, "ERROR", (where if error.node >= 0 else "") + error.desc)
        return False

    def _network_errors(self) -> List[_Error]:
        if not self._network.has_implicit_batch_dimension:
            return []
        text = "This version of the ONNX parser only supports networks with an explicit batch dimension."
        return [_Error("INVALID_VALUE", text)]

    def _opset_errors(self, model: onnx_file.Model) -> List[_Error]:
        newest = self._limits["max_opset"]
        if newest is None or model.opset <= newest:
            return []
        return [_Error("UNSUPPORTED_GRAPH", "Opset {} is newer than {}".format(model.opset, newest))]

    def _file_errors(self, model: onnx_file.Model, path: str) -> List[_Error]:
        missing = []
        for name in model.external_files:
            full = os.path.join(os.path.dirname(path), name)
            if not os.path.isfile(full):
                missing.append(_Error("INVALID_NODE", "Failed to open file: {}".format(full)))
        return missing

    def _node_errors(self, model: onnx_file.Model, number: int, node: onnx_file.Node) -> List[_Error]:
        text = ""
        if node.domain not in ("", "ai.onnx"):
            text = plugins.way(node, model, self._trt._board.table.as_new_as).reason
        elif node.operator not in self._limits["ops"]:
            text = plugins.NOT_FOUND
        elif node.operator == "TopK" and _kept(model, node) > MOST_RANKED:
            text = "TopK: K is {}, more than {}".format(_kept(model, node), MOST_RANKED)
        return [_Error("UNSUPPORTED_NODE", text, number, node.name, node.operator)] if text else []


def _kept(model: onnx_file.Model, node: onnx_file.Node) -> int:
    """K of a TopK, where it is a plain constant; else 0."""
    constants = dict(model.initialisers)
    for each in model.nodes:
        if each.operator == "Constant" and "value" in each.attributes:
            constants[each.outputs[0]] = each.attributes["value"]
    count = constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
    return count.integers[0] if count is not None and count.integers else 0
