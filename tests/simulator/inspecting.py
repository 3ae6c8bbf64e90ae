"""Core of the EngineInspector: layers as JSON in the release's form.

Up to TensorRT 10 a tensor has "Format/Datatype" and an engine "Bindings" by name; from 11 on both parts of a type stand
apart and "I/O Tensors" are objects. How many layers there are and what they fuse is made up but for attention.
"""

import json
from typing import Any, Dict, List

_TYPES = {"FLOAT": "FP32", "HALF": "FP16"}


class InspectorCore:
    """An EngineInspector of one engine."""

    def __init__(self, trt: Any, header: Dict[str, Any]) -> None:
        self._trt, self._header = trt, header
        self._split = trt._board.table.as_new_as >= (11, 0)

    def get_engine_information(self, format: Any) -> str:
        layers = list(map(self._shown, self.layers()))
        if format != self._trt.LayerInformationFormat.JSON:
            return "\n".join(layer if isinstance(layer, str) else layer["Name"] for layer in layers)
        names = [name for name, _, _, _ in self._header["io"]]
        tensors = {"I/O Tensors": list(map(self._tensor, names))} if self._split else {"Bindings": names}
        return json.dumps(dict({"Layers": layers}, **tensors))

    def layers(self) -> List[Dict[str, Any]]:
        """The engine's layers: those of the network without constants, fused attention as one."""
        if self._header["verbosity"] == "NONE":
            return []
        last = {block[-1]: block for block in self._header["fused"]}
        inside = {name for block in self._header["fused"] for name in block}
        shown = []
        for layer in self._header["layers"]:
            if layer["nodes"] and layer["nodes"][0] in last:
                name = "_gemm_mha_v2_myl0_{}".format(len(shown))
                shown.append(dict(layer, name=name, kind="kgen", nodes=last[layer["nodes"][0]]))
            elif layer["kind"] != "CONSTANT" and not set(layer["nodes"]) & inside:
                shown.append(layer)
        return shown

    def _shown(self, layer: Dict[str, Any]) -> Any:
        if self._header["verbosity"] != "DETAILED":
            return layer["name"]
        return {
            "Name": layer["name"],
            "LayerType": layer["kind"],
            "Inputs": list(map(self._tensor, layer["inputs"])),
            "Outputs": list(map(self._tensor, layer["outputs"])),
            "TacticName": layer["name"] if layer["kind"] == "kgen" else "simulated",
            "StreamId": 0,
            "Metadata": "\x1e".join("[ONNX Layer: {}]".format(node) for node in layer["nodes"]),
        }

    def _tensor(self, name: str) -> Dict[str, Any]:
        shapes = {each: shape for each, _, _, shape in self._header["io"]}
        inputs = {each: kind for each, _, kind, _ in self._header["io"]}
        kind = self._header["tensors"].get(name, inputs.get(name, "FLOAT"))
        kind, layout = _TYPES.get(kind, kind), "Row major linear"
        described = {"Format": layout, "Datatype": kind} if self._split else {"Format/Datatype": layout + " " + kind}
        return dict(described, Name=name, Location="Device", Dimensions=shapes.get(name, []))
