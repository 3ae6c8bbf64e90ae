"""Cores of the network, its layers and tensors, as a parser fills them; layers cannot be added by hand here."""

from typing import Any, Dict, List, NamedTuple, Optional

from . import layers
from .onnx_file import Model


class Source(NamedTuple):
    """The graph that a network was parsed from, and where its weights lie."""

    path: str
    blob: bytes
    model: Model


class TensorCore:
    """A tensor; only inputs and outputs of the network know their shape here."""

    def __init__(self, trt: Any, name: str, kind: str, shape: Any) -> None:
        self.name, self.shape = name, trt.Dims(tuple(shape))
        self.dtype = getattr(trt.DataType, kind, trt.DataType.FLOAT)


class LayerCore:
    """A layer, and what was set of it."""

    def __init__(self, trt: Any, record: layers.Layer, network: "NetworkCore") -> None:
        self._trt, self.record, self._network = trt, record, network
        self.name, self.num_outputs = record.name, len(record.outputs)
        self._precision: Any = None

    @property
    def precision(self) -> Any:
        return self._precision if self._precision is not None else self._trt.DataType.FLOAT

    @precision.setter
    def precision(self, kind: Any) -> None:
        if not isinstance(kind, self._trt.DataType):
            raise TypeError("precision is a DataType")
        self._precision = kind

    @property
    def precision_is_set(self) -> bool:
        return self._precision is not None

    def get_output(self, index: int) -> Any:
        return self._network.tensor(self.record.outputs[index]) if 0 <= index < self.num_outputs else None

    def set_output_type(self, index: int, dtype: Any) -> None:
        pass

    def computes_integers(self) -> bool:
        """Whether its first output is no floating point tensor."""
        return self.num_outputs > 0 and self.get_output(0).dtype.name not in ("FLOAT", "HALF", "BF16")


class NetworkCore:
    """A network; empty until a parser has filled it."""

    def __init__(self, trt: Any, builder: Any, flags: int) -> None:
        self._trt, self.builder, self.flags = trt, builder, flags
        self.source: Optional[Source] = None
        self.types: Dict[str, str] = {}
        self.layers: List[LayerCore] = []
        self._tensors: Dict[str, Any] = {}

    def has(self, flag: str) -> bool:
        """Whether the network was made with that flag; False where the release has no such flag."""
        known = getattr(self._trt.NetworkDefinitionCreationFlag, flag, None)
        return known is not None and bool(self.flags >> known.value & 1)

    @property
    def strongly_typed(self) -> bool:
        """By the flag, or always where weak typing is gone."""
        return self.has("STRONGLY_TYPED") or not hasattr(self._trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH")

    @property
    def has_implicit_batch_dimension(self) -> bool:
        must_be_set = hasattr(self._trt.IBuilderConfig, "max_workspace_size")  # 8.x; later releases ignore the flag
        return must_be_set and not self.has("EXPLICIT_BATCH")

    def fill(self, source: Source) -> None:
        """Takes a graph that the parser has accepted."""
        self.source = source
        self.types = layers.tensor_types(source.model, hasattr(self._trt.DataType, "INT64"))
        self.layers = [LayerCore(self._trt, layer, self) for layer in layers.of_model(source.model)]

    def tensor(self, name: str) -> Any:
        """The ITensor of that name."""
        if name not in self._tensors:
            assert self.source is not None
            ends = self.source.model.inputs + self.source.model.outputs
            shape = next((tensor.shape for tensor in ends if tensor.name == name), ())
            core = TensorCore(self._trt, name, self.types.get(name, "FLOAT"), shape)
            self._tensors[name] = self._trt._wrap("ITensor", core)
        return self._tensors[name]

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    @property
    def num_inputs(self) -> int:
        return len(self.source.model.inputs) if self.source else 0

    def get_layer(self, index: int) -> Any:
        return self._trt._wrap("ILayer", self.layers[index]) if 0 <= index < len(self.layers) else None

    def get_input(self, index: int) -> Any:
        known = self.source and 0 <= index < self.num_inputs
        return self.tensor(self.source.model.inputs[index].name) if known and self.source else None
