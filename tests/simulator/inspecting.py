"""Core of the EngineInspector: layers as JSON. How many there are and what they fuse is made up but for attention."""

import json
from typing import Any, Dict, List

from .layers import CONSTANT


class InspectorCore:
    """An EngineInspector of one engine, built with ProfilingVerbosity.DETAILED."""

    def __init__(self, header: Dict[str, Any]) -> None:
        self._header = header

    def get_engine_information(self, format: Any) -> str:
        assert self._header["verbosity"] == "DETAILED" and format.name == "JSON", "others are not acted out"
        return json.dumps({"Layers": self._layers()})

    def _layers(self) -> List[Dict[str, str]]:
        """The layers of the network without constants, fused attention as one."""
        last = {block[-1] for block in self._header["fused"]}
        inside = {name for block in self._header["fused"] for name in block}
        shown: List[Dict[str, str]] = []
        for layer in self._header["layers"]:
            if layer["node"] in last:
                name = "_gemm_mha_v2_myl0_{}".format(len(shown))
                shown.append({"Name": name, "LayerType": "kgen", "TacticName": name})
            elif layer["operator"] != CONSTANT and layer["node"] not in inside:
                shown.append({"Name": layer["name"], "LayerType": layer["operator"], "TacticName": "simulated"})
        return shown
