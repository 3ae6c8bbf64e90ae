"""Cores of the network, its layers and tensors, as a parser fills them; layers cannot be added by hand here."""

from typing import Any, Dict, List, NamedTuple, Optional

from . import layers
from .basics import dims
from .onnx_file import Model


class Source(NamedTuple):
    """The graph that a network was parsed from, and where its weights lie."""

    path: str
    blob: bytes
    model: Model


class TensorCore:
    """A tensor; only inputs and outputs of the network know their shape here."""

    def __init__(self, trt: Any, name: str, kind: str, shape: Any) -> None:
        self.name, self.shape = name, dims(trt, shape)
        self.dtype = getattr(trt.DataType, kind, trt.DataType.FLOAT)


class LayerCore:
    """A layer, and what was set of it."""

    def __init__(self, trt: Any, layer: layers.Layer, network: "NetworkCore") -> None:
        self._trt, self._layer, self._network = trt, layer, network
        self.name, self.type = layer.name, getattr(trt.LayerType, layer.kind)
        self.metadata = "[ONNX Layer: {}]".format(layer.name)
        self.num_inputs, self.num_outputs = len(layer.inputs), len(layer.outputs)
        self._precision: Any = None
        self._output_types: Dict[int, Any] = {}

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

    def get_input(self, index: int) -> Any:
        return self._network.tensor(self._layer.inputs[index]) if 0 <= index < self.num_inputs else None

    def get_output(self, index: int) -> Any:
        return self._network.tensor(self._layer.outputs[index]) if 0 <= index < self.num_outputs else None

    def set_output_type(self, index: int, dtype: Any) -> None:
        self._output_types[index] = dtype

    @property
    def record(self) -> layers.Layer:
        """What the parser made it of."""
        return self._layer

    def computes_integers(self) -> bool:
        """Whether its first output is no floating point tensor."""
        return self.num_outputs > 0 and self.get_output(0).dtype.name not in ("FLOAT", "HALF", "BF16")


class NetworkCore:
    """A network; empty until a parser has filled it."""

    def __init__(self, trt: Any, builder: Any, flags: int) -> None:
        self._trt, self.builder = trt, builder
        self.name, self.flags = "Unnamed Network 0", flags
        self.source: Optional[Source] = None
        self.types: Dict[str, str] = {}
        self._layers: List[Any] = []
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
        kinds = self._trt.LayerType.__members__
        for layer in layers.of_model(source.model, kinds):
            core = LayerCore(self._trt, layer, self)
            name = "ILayer" if self._layer_class(layer.kind) is None else self._layer_class(layer.kind)
            self._layers.append(self._trt._wrap(name, core))

    def _layer_class(self, kind: str) -> Optional[str]:
        name = "I{}Layer".format("".join(part.capitalize() for part in kind.split("_")))
        special = {
            "ISoftmaxLayer": "ISoftMaxLayer",
            "IElementwiseLayer": "IElementWiseLayer",
            "ITopkLayer": "ITopKLayer",
        }
        name = special.get(name, name)
        return name if hasattr(self._trt, name) else None

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
        return len(self._layers)

    @property
    def num_inputs(self) -> int:
        return len(self.source.model.inputs) if self.source else 0

    @property
    def num_outputs(self) -> int:
        return len(self.source.model.outputs) if self.source else 0

    def get_layer(self, index: int) -> Any:
        return self._layers[index] if 0 <= index < len(self._layers) else None

    def get_input(self, index: int) -> Any:
        return (
            self.tensor(self.source.model.inputs[index].name) if self.source and 0 <= index < self.num_inputs else None
        )

    def get_output(self, index: int) -> Any:
        known = self.source and 0 <= index < self.num_outputs
        return self.tensor(self.source.model.outputs[index].name) if known and self.source else None

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, index: int) -> Any:
        return self._layers[index]
