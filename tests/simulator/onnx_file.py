"""Reads what a parser needs of an ONNX file: opset, nodes, initialisers, inputs, outputs, functions, external files.

Reads the protobuf wire format itself, since there is no onnx package for every Python 3.6. Field numbers are those of
onnx.proto. Leaves out weights: ONNX Runtime reads those when the graph runs.
"""

import struct
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

# ONNX's TensorProto.DataType -> name of TensorRT's DataType, or ONNX's own where TensorRT has none.
TYPES = {1: "FLOAT", 2: "UINT8", 3: "INT8", 6: "INT32", 7: "INT64", 9: "BOOL", 10: "HALF", 11: "DOUBLE", 16: "BF16"}


class BadModel(Exception):
    """Not a readable ONNX file."""


class Node(NamedTuple):
    """One operator; attributes hold integers and strings only."""

    name: str
    operator: str
    domain: str
    inputs: List[str]
    outputs: List[str]
    attributes: Dict[str, Any]


class Tensor(NamedTuple):
    """An input, output or initialiser; `integers` are the values of a small INT64 initialiser."""

    name: str
    type: str
    shape: Tuple[int, ...]
    location: str = ""
    integers: Optional[List[int]] = None
    last_byte: int = 0  # of its weights in the file at `location`, plus 1


class Model(NamedTuple):
    """A file."""

    ir_version: int
    opset: int
    nodes: List[Node]
    initialisers: Dict[str, Tensor]
    inputs: List[Tensor]
    outputs: List[Tensor]
    functions: List[str] = []

    @property
    def external_files(self) -> List[str]:
        """Names of the files that hold weights, relative to the model."""
        return sorted({tensor.location for tensor in self.initialisers.values() if tensor.location})


def read(blob: bytes) -> Model:
    """The model in these bytes.

    Raises: BadModel.
    """
    try:
        return _model(blob)
    except (IndexError, struct.error, UnicodeDecodeError, TypeError, AttributeError) as error:
        raise BadModel("{}: {}".format(type(error).__name__, error)) from error


def _model(blob: bytes) -> Model:
    ir_version, opset, graph = 0, 0, None
    functions = []
    for field, value in _fields(blob):
        if field == 1:
            ir_version = value
        elif field == 8:
            imported = dict(_fields(value))
            if imported.get(1, b"") in (b"", b"ai.onnx"):
                opset = imported.get(2, 0)
        elif field == 7:
            graph = value
        elif field == 25:
            functions.append(dict(_fields(value))[1].decode())
    if graph is None:  # protobuf takes any bytes up to one that ends a group: such a file is an empty model
        return Model(ir_version, opset, [], {}, [], [])
    parts: Dict[int, List[Any]] = {}
    for field, value in _fields(graph):
        parts.setdefault(field, []).append(value)
    initialisers = {tensor.name: tensor for tensor in map(_tensor, parts.get(5, []))}
    inputs = [value for value in map(_value_info, parts.get(11, [])) if value.name not in initialisers]
    outputs = list(map(_value_info, parts.get(12, [])))
    return Model(ir_version, opset, list(map(_node, parts.get(1, []))), initialisers, inputs, outputs, functions)


def _fields(blob: bytes) -> Iterator[Tuple[int, Any]]:
    """Each field's number and value: an integer for a varint, bytes for everything else."""
    position = 0
    while position < len(blob):
        key, position = _varint(blob, position)
        wire = key & 7
        if wire == 4:
            return
        if wire == 0:
            value, position = _varint(blob, position)
            yield key >> 3, value
            continue
        if wire == 2:
            size, position = _varint(blob, position)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise BadModel("no protobuf: wire type {}".format(wire))
        if position + size > len(blob):
            raise BadModel("cut short")
        yield key >> 3, blob[position : position + size]
        position += size


def _varint(blob: bytes, position: int) -> Tuple[int, int]:
    value = shift = 0
    while True:
        byte = blob[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return (value - (1 << 64) if value >> 63 else value), position


def _integers(value: Any) -> List[int]:
    """Of a repeated integer field: one varint, or many packed together."""
    if isinstance(value, int):
        return [value]
    numbers, position = [], 0
    while position < len(value):
        number, position = _varint(value, position)
        numbers.append(number)
    return numbers


def _node(blob: bytes) -> Node:
    inputs, outputs, attributes = [], [], {}
    texts = {3: "", 4: "", 7: ""}
    for field, value in _fields(blob):
        if field == 1:
            inputs.append(value.decode())
        elif field == 2:
            outputs.append(value.decode())
        elif field == 5:
            name, content = _attribute(value)
            attributes[name] = content
        elif field in texts:
            texts[field] = value.decode()
    return Node(texts[3], texts[4], texts[7], inputs, outputs, attributes)


def _attribute(blob: bytes) -> Tuple[str, Any]:
    name, content, many = "", None, []  # type: Tuple[str, Any, List[int]]
    for field, value in _fields(blob):
        if field == 1:
            name = value.decode()
        elif field == 3:
            content = value
        elif field == 4:
            content = value.decode(errors="replace")
        elif field == 5:
            content = _tensor(value)
        elif field == 8:
            many += _integers(value)
    return name, many or content


def _tensor(blob: bytes) -> Tensor:
    name, kind = "", 0
    external: Dict[str, str] = {}
    shape: List[int] = []
    integers: List[int] = []
    for field, value in _fields(blob):
        if field == 1:
            shape += _integers(value)
        elif field == 2:
            kind = value
        elif field == 7:
            integers += _integers(value)
        elif field == 8:
            name = value.decode()
        elif field == 9 and kind == 7:
            integers += struct.unpack("<{}q".format(len(value) // 8), value)
        elif field == 13:
            entry = {key: text.decode() for key, text in _fields(value)}
            external[entry.get(1, "")] = entry.get(2, "")
    last = int(external.get("offset") or 0) + int(external.get("length") or 0)
    values = integers if kind == 7 else None
    return Tensor(name, TYPES.get(kind, str(kind)), tuple(shape), external.get("location", ""), values, last)


def _value_info(blob: bytes) -> Tensor:
    fields = dict(_fields(blob))
    tensor_type = dict(_fields(dict(_fields(fields[2])).get(1, b""))) if 2 in fields else {}
    shape = []
    for _, dimension in _fields(tensor_type.get(2, b"")):
        shape.append(dict(_fields(dimension)).get(1, -1))
    kind = tensor_type.get(1, 0)
    return Tensor(fields[1].decode(), TYPES.get(kind, str(kind)), tuple(shape))
