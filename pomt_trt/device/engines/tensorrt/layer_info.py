"""Reads the layers of an engine from the JSON of TensorRT's inspector, and counts fused attention."""

import json
import re
from typing import Any, Dict, List, Optional

from pomt_trt.core.records import Engine, Schedule
from pomt_trt.device.engines.tensorrt.gpu_targets import numbers

# Names of layers and tactics with fused attention contain mha, such as _gemm_mha_v2_myl0_15 or fmha_v2_fp16_64_S_80.
# Source: engine listings of users of TensorRT 8.6 to 10.7. ONNX node names of timm's models contain attn, never mha.
_FUSED_ATTENTION = re.compile(r"f?mha", re.IGNORECASE)
_KEYS = ("Name", "TacticName", "LayerType")


def parse_layers(text: str) -> List[Dict[str, Any]]:
    """The layers in the inspector's JSON; [] if it is damaged. A layer with only a name is {"Name": name}."""
    try:
        layers = json.loads(text).get("Layers", [])
    except (ValueError, AttributeError):
        return []
    return [layer if isinstance(layer, dict) else {"Name": str(layer)} for layer in layers]


def fused_attention(layers: List[Dict[str, Any]]) -> Optional[int]:
    """Number of attention blocks that run as one kernel; None without layers."""
    if not layers:
        return None
    texts = [" ".join(str(layer.get(key, "")) for key in _KEYS) for layer in layers]
    return sum(bool(_FUSED_ATTENTION.search(text)) for text in texts)


def fusible(schedule: Schedule, reads_attention: bool) -> int:
    """Number of blocks whose attention can be fused.

    A fused kernel hides the attention weights. So a block that drops tokens by these weights cannot be fused.
    """
    if not reads_attention:
        return schedule.depth
    merged = schedule.merged or (0,) * schedule.depth
    return sum(before - after == m for before, after, m in zip(schedule.tokens, schedule.tokens[1:], merged))


def shortfall(engine: Engine, schedule: Schedule, reads_attention: bool) -> Optional[str]:
    """A warning if TensorRT fused attention in fewer blocks than possible; else None.

    Fused kernels exist in fp16 and bf16, from compute capability 7.5 on. Source: NVIDIA/TensorRT#2981 and #4167.

    Args:
        reads_attention: of the Family.
    """
    fused = (engine.details or {}).get("fused_attention")
    if fused is None or engine.precision == "fp32" or numbers(engine.device.compute_capability) < (7, 5):
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
