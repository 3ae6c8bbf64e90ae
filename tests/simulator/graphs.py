"""Writes small ONNX files byte by byte, for tests on Pythons that have no onnx package.

The counterpart of onnx_file, for float32 graphs with INT64 constants. Leaves out external weights; there are fixtures
of those in tests/data/quadrants.
"""

import struct
from typing import Any, Dict, List, NamedTuple, Sequence

FLOAT, INT64, HALF = 1, 7, 10


class Op(NamedTuple):
    """A node: its name is that of its first output."""

    operator: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Dict[str, Any] = {}
    domain: str = ""


def model(
    nodes: List[Op],
    shape: Sequence[int],
    integers: Dict[str, List[int]],
    opset: int = 13,
    kind: int = FLOAT,
    functions: Sequence[str] = (),
) -> bytes:
    """A graph from `x` of this shape to `y` of whatever shape; `integers` are one-dimensional INT64 constants.

    Args:
        functions: names of functions that the file holds; they are empty.
    """
    graph = b"".join(_field(1, _node(node)) for node in nodes) + _field(2, b"graph")
    for name, values in integers.items():
        raw = struct.pack("<{}q".format(len(values)), *values)
        tensor = _number(1, len(values)) + _number(2, INT64) + _field(8, name.encode()) + _field(9, raw)
        graph += _field(5, tensor)
    graph += _field(11, _value("x", kind, shape)) + _field(12, _value("y", kind, None))
    held = b"".join(_field(25, _field(1, name.encode())) for name in functions)
    return _number(1, 7) + _field(8, _number(2, opset)) + _field(7, graph) + held


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _node(node: Op) -> bytes:
    encoded = b"".join(_field(1, name.encode()) for name in node.inputs)
    encoded += b"".join(_field(2, name.encode()) for name in node.outputs)
    encoded += _field(3, node.outputs[0].encode()) + _field(4, node.operator.encode())
    encoded += _field(7, node.domain.encode()) if node.domain else b""
    for name, value in node.attributes.items():
        if isinstance(value, int):
            content = _number(3, value) + _number(20, 2)
        elif isinstance(value, str):
            content = _field(4, value.encode()) + _number(20, 3)
        else:
            content = b"".join(_number(8, each) for each in value) + _number(20, 7)
        encoded += _field(5, _field(1, name.encode()) + content)
    return encoded


def _value(name: str, kind: int, shape: Any) -> bytes:
    tensor = _number(1, kind)
    if shape is not None:
        tensor += _field(2, b"".join(_field(1, _number(1, size)) for size in shape))
    return _field(1, name.encode()) + _field(2, _field(1, tensor))


# Attention as host/graphs/export writes it: scores, softmax and mixing in a row; x is (heads, tokens, channels of a
# head).
ATTENTION = [
    Op("Transpose", ["x"], ["keys"], {"perm": [0, 2, 1]}),
    Op("MatMul", ["x", "keys"], ["scores"]),
    Op("Softmax", ["scores"], ["weights"], {"axis": 2}),
    Op("MatMul", ["weights", "x"], ["y"]),
]
MASKED_ATTENTION = [
    *ATTENTION[:2],
    Op("ReduceMax", ["x"], ["mask"], {"axes": [2]}),
    Op("Add", ["scores", "mask"], ["masked"]),
    Op("Softmax", ["masked"], ["weights"], {"axis": 2}),
    ATTENTION[3],
]
LAYER_NORM = [
    Op("ReduceMean", ["x"], ["mean"], {"axes": [2]}),
    Op("Sub", ["x", "mean"], ["centred"]),
    Op("Mul", ["centred", "centred"], ["square"]),
    Op("ReduceMean", ["square"], ["variance"], {"axes": [2]}),
    Op("Sqrt", ["variance"], ["deviation"]),
    Op("Div", ["centred", "deviation"], ["y"]),
]
