"""What an engine's layers are, as TensorRT's inspector tells it: the kernels that were picked and what was fused.

Makes counts from the inspector's JSON, on any machine. Leaves out how that was had (trt_build).
"""

import json
import re
from typing import Any, Dict, List, Optional

from pomt_trt.core.records import Engine, Schedule

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


def fusible(schedule: Schedule, reads_attention: bool) -> int:
    """How many blocks leave their attention's weights to themselves: all but those that drop tokens by them."""
    if not reads_attention:
        return schedule.depth
    merged = schedule.merged or (0,) * schedule.depth
    return sum(before - after == m for before, after, m in zip(schedule.tokens, schedule.tokens[1:], merged))


def shortfall(engine: Engine, schedule: Schedule, reads_attention: bool) -> Optional[str]:
    """What to say of an engine that runs less attention as one kernel than it could; None where there is nothing.

    Fusible blocks could, in fp16 or bf16, from compute capability 7.5 on. Source: NVIDIA/TensorRT#2981 and #4167.

    Args:
        reads_attention: of its Family.
    """
    fused = (engine.details or {}).get("fused_attention")
    capability = tuple(int(part) for part in (engine.device.compute_capability or "0").split("."))
    if fused is None or engine.precision == "fp32" or capability < (7, 5):
        return None
    possible = fusible(schedule, reads_attention)
    if fused >= possible:
        return None
    return (
        "attention runs as one fused kernel in {} of the {} blocks of {} where it could, which costs time: TensorRT "
        "before 8.6 has no such kernels for a Jetson, later ones do not know this graph's pattern".format(
            fused, possible, engine.candidate_id
        )
    )
