"""What an engine's layers are, as TensorRT's inspector tells it: the kernels that were picked and what was fused.

Makes counts from the inspector's JSON, on any machine. Leaves out how that was had (trt_build).
"""

import json
import re
from typing import Any, Dict, List, Optional

# How fused attention shows in names of layers and tactics, such as _gemm_mha_v2_myl0_15 or fmha_v2_fp16_64_S_80: seen
# in engine listings of users of TensorRT 8.6 to 10.7. ONNX node names of timm's models hold 'attn', never this.
_FUSED_ATTENTION = re.compile(r"f?mha", re.IGNORECASE)
_TOLD_BY = ("Name", "TacticName", "LayerType")


def layers_of(text: str) -> List[Dict[str, Any]]:
    """The layers in an inspector's answer; those of which it tells only the name are {"Name": name}."""
    try:
        found = json.loads(text).get("Layers", [])
    except (ValueError, AttributeError):
        return []
    return [layer if isinstance(layer, dict) else {"Name": str(layer)} for layer in found]


def fused_attention(layers: List[Dict[str, Any]]) -> Optional[int]:
    """How many attention blocks run as one kernel; None where there are no layers to tell it."""
    if not layers:
        return None
    told = [" ".join(str(layer.get(key, "")) for key in _TOLD_BY) for layer in layers]
    return sum(bool(_FUSED_ATTENTION.search(text)) for text in told)
