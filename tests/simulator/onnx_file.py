"""What a parser needs of an ONNX file: opset, nodes, initialisers, inputs, outputs, functions, external files.

Leaves out weights: ONNX Runtime reads those when the graph runs.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, helper, numpy_helper

# Type -> name of TensorRT's DataType, or ONNX's own where TensorRT has none.
TYPES = {
    TensorProto.FLOAT: "FLOAT",
    TensorProto.UINT8: "UINT8",
    TensorProto.INT8: "INT8",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.BOOL: "BOOL",
    TensorProto.FLOAT16: "HALF",
    TensorProto.DOUBLE: "DOUBLE",
    TensorProto.BFLOAT16: "BF16",
}
_END_OF_GROUP = 4  # a wire type of protobuf


class BadModel(Exception):
    """Not a readable ONNX file."""


class Node(NamedTuple):
    """One operator."""

    name: str
    operator: str
    domain: str
    inputs: List[str]
    outputs: List[str]
    attributes: Dict[str, Any]


class Tensor(NamedTuple):
    """An input, output or initialiser; `integers` are the values of an INT64 initialiser in the file itself."""

    name: str
    type: str
    shape: Tuple[int, ...]
    location: str = ""
    integers: Optional[List[int]] = None
    last_byte: int = 0  # of its weights in the file at `location`, plus 1


class Model(NamedTuple):
    """A file."""

    opset: int
    nodes: List[Node]
    initialisers: Dict[str, Tensor]
    inputs: List[Tensor]
    outputs: List[Tensor]
    functions: List[str]

    @property
    def external_files(self) -> List[str]:
        """Names of the files that hold weights, relative to the model."""
        return sorted({tensor.location for tensor in self.initialisers.values() if tensor.location})


def read(blob: bytes) -> Model:
    """The model in these bytes.

    Raises: BadModel.
    """
    if blob and blob[0] & 7 == _END_OF_GROUP:  # TensorRT's protobuf reads up to there: such a file is an empty model
        blob = b""
    try:
        model = ModelProto.FromString(blob)
    except DecodeError as error:
        raise BadModel(str(error)) from error
    initialisers = {tensor.name: _tensor(tensor) for tensor in model.graph.initializer}
    return Model(
        next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0),
        list(map(_node, model.graph.node)),
        initialisers,
        [_value(value) for value in model.graph.input if value.name not in initialisers],
        list(map(_value, model.graph.output)),
        [function.name for function in model.functions],
    )


def _node(node: Any) -> Node:
    attributes = {attribute.name: _attribute(helper.get_attribute_value(attribute)) for attribute in node.attribute}
    return Node(node.name, node.op_type, node.domain, list(node.input), list(node.output), attributes)


def _attribute(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return _tensor(value) if isinstance(value, TensorProto) else value


def _tensor(tensor: Any) -> Tensor:
    external = {entry.key: entry.value for entry in tensor.external_data}
    location, last = external.get("location", ""), int(external.get("offset", 0)) + int(external.get("length", 0))
    is_small = tensor.data_type == TensorProto.INT64 and not location
    integers = numpy_helper.to_array(tensor).ravel().tolist() if is_small else None
    return Tensor(tensor.name, _type(tensor.data_type), tuple(tensor.dims), location, integers, last)


def _value(value: Any) -> Tensor:
    tensor = value.type.tensor_type
    sizes = (dimension.dim_value if dimension.HasField("dim_value") else -1 for dimension in tensor.shape.dim)
    return Tensor(value.name, _type(tensor.elem_type), tuple(sizes))


def _type(number: int) -> str:
    return TYPES.get(number, str(number))
