"""Cores of OnnxParser and ParserError: which graphs a release reads, and how it says that it does not.

Operators and opsets are those of tests/data/onnx_ops.json. A refusal is a False and a list of errors, never an
exception. Stages and codes are those that TensorRT-RTX 1.7.1 was seen to give (tests/rtx), and for older parsers
those of onnx-tensorrt's sources, where they differ.
"""

import os
from typing import Any, List, NamedTuple, Tuple

from . import layers, onnx_file, plugins, shapes
from .basics import say
from .network import Source
from .tables import RTX


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


class ParserCore:
    """An OnnxParser on one network."""

    def __init__(self, trt: Any, wrapper: Any, network: Any, logger: Any) -> None:
        self._trt, self._network, self._logger = trt, network._core, logger
        self._limits = trt._board.parser
        self._errors: List[_Error] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        return self._trt._wrap("ParserError", ErrorCore(self._trt, self._errors[index]))

    def supports_operator(self, name: str) -> bool:
        return name in self._limits["ops"]

    def parse_from_file(self, path: str) -> bool:
        """Reads a file and its weights; False, with the reason in the logger and the list of errors."""
        if not os.path.isfile(path):
            if self._since(11):
                return self._refuse([_Error("INVALID_VALUE", "Input file cannot be found: {}".format(path))])
            say(self._logger, "ERROR", "Could not open file {}".format(path))
            say(self._logger, "ERROR", "Failed to parse ONNX model from file: {}!".format(path))
            return False
        with open(path, "rb") as file:
            blob = file.read()
        try:
            model = onnx_file.read(blob)
        except onnx_file.BadModel as error:
            text = "Failed to parse the ONNX model ({})".format(error)
            return self._refuse([_Error("MODEL_DESERIALIZE_FAILED", text)])
        errors = self._network_errors() or self._opset_errors(model) or self._input_errors(model)
        errors = errors or self._file_errors(model, os.path.dirname(path)) or self._order_errors(model)
        errors = errors or self._nodes_errors(model) or self._fit_errors(model) or self._output_errors(model)
        if errors:
            return self._refuse(errors)
        self._network.fill(Source(path, blob, model))
        return True

    def _since(self, *release: int) -> bool:
        """Whether this parser is as new as that of a TensorRT."""
        return bool(self._trt._board.table.as_new_as >= release)

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

    def _input_errors(self, model: onnx_file.Model) -> List[_Error]:
        known = set(onnx_file.TYPES.values())
        odd = [tensor for tensor in model.inputs if tensor.type not in known]
        text = "Failed to convert ONNX data type of {}"
        return [_Error("UNSUPPORTED_NODE", text.format(tensor.name)) for tensor in odd[:1]]

    def _file_errors(self, model: onnx_file.Model, folder: str) -> List[_Error]:
        """Of weights that are missing or cut short, or of a type that the release takes none of."""
        for tensor in model.initialisers.values():
            reason = ""
            full = os.path.join(folder, tensor.location)
            if tensor.location and not os.path.isfile(full):
                reason = "Failed to open file: {}".format(full)
            elif tensor.location and os.path.getsize(full) < tensor.last_byte:
                reason = "Failed to read weights from external file: {}".format(full)
            elif tensor.type == "INT8" and not self._since(10):
                reason = "invalid weights type of Int8"
            if reason:
                code = "INVALID_GRAPH" if self._since(11) else "UNSUPPORTED_NODE"
                return [_Error(code, "Failed to import initializer: {}: {}".format(tensor.name, reason))]
        return []

    def _order_errors(self, model: onnx_file.Model) -> List[_Error]:
        if shapes.in_order(model) is None:
            return [_Error("INVALID_GRAPH", "Failed to sort the model topologically.")]
        return []

    def _nodes_errors(self, model: onnx_file.Model) -> List[_Error]:
        return [error for number, node in enumerate(model.nodes) for error in self._node_errors(model, number, node)]

    def _fit_errors(self, model: onnx_file.Model) -> List[_Error]:
        """Of nodes that read what nothing makes, or inputs that do not fit each other."""
        unknown = shapes.unknown_input(model)
        if unknown:
            return [_Error("INVALID_GRAPH", "Node input was not registered: {}".format(unknown))]
        types = layers.tensor_types(model, hasattr(self._trt.DataType, "INT64"))
        misfit = shapes.misfit(model, types, self._network.strongly_typed)
        return [_at(model, misfit[0], "INVALID_NODE", "Invalid Node - " + misfit[1])] if misfit else []

    def _output_errors(self, model: onnx_file.Model) -> List[_Error]:
        made = {name for node in model.nodes for name in node.outputs} | {tensor.name for tensor in model.inputs}
        if all(tensor.name in made for tensor in model.outputs):
            return []
        return [_Error("INTERNAL_ERROR", "Trying to access weights or a null tensor!")]

    def _node_errors(self, model: onnx_file.Model, number: int, node: onnx_file.Node) -> List[_Error]:
        text, code = "", "UNSUPPORTED_NODE"
        if node.domain not in ("", "ai.onnx"):
            text = plugins.way(node, model, self._trt._board.table.as_new_as).reason
        elif node.operator not in self._limits["ops"]:
            text = plugins.NOT_FOUND
        elif self._trt._board.table.release == RTX:
            text, code = _lacking(node)
        if text == plugins.NOT_FOUND and self._since(10):
            code = "INVALID_NODE"
        return [_at(model, number, code, text)] if text else []


def _at(model: onnx_file.Model, number: int, code: str, text: str) -> _Error:
    node = model.nodes[number]
    return _Error(code, text, number, node.name, node.operator)


def _lacking(node: onnx_file.Node) -> Tuple[str, str]:
    """Why a node is refused that the parser makes a plugin of NVIDIA's own library, which TensorRT-RTX has not."""
    if node.operator == "NonZero":
        return "NonZero plugin creator version 1 was not found in plugin registry", "UNSUPPORTED_NODE"
    if node.operator == "ScatterElements" and node.attributes.get("reduction", "none") != "none":
        return "Unsupported reduction type", "UNSUPPORTED_NODE_ATTR"
    return "", ""
