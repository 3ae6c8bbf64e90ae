"""Asks the real plugin registry to make our plugins of real fields: `python -m tests.rtx.fields LIBRARY` prints JSON.

A process of its own, since a registry takes an operator once. The library's plugins never meet the parser here: without
a GPU that ends the process.
"""

import ctypes
import json
import sys
from typing import Any

import numpy as np

RIGHT = {"R": 3, "prefix": 1}
SCORES = {"PomtTokenPrune": "pomt", "PomtTokenTopK": "class"}
# What is changed of the right fields -> None: the field is left out.
WRONG: list[dict[str, Any]] = [
    {"R": None},
    {"R": 0},
    {"prefix": None},
    {"prefix": -1},
    {"score": None},
    {"score": "other"},
]


def made(trt: Any, name: str, **changes: Any) -> bool:
    """Whether the registry's creator of that name makes a plugin of these fields."""
    given = {key: value for key, value in {**RIGHT, "score": SCORES[name], **changes}.items() if value is not None}
    kinds = trt.PluginFieldType
    fields = [
        trt.PluginField(key, np.frombuffer(value.encode() + b"\0", np.int8).copy(), kinds.CHAR)
        if isinstance(value, str)
        else trt.PluginField(key, np.array([value], np.int32), kinds.INT32)
        for key, value in given.items()
    ]
    creator = trt.get_plugin_registry().get_creator(name, "1", "")
    try:
        plugin = creator.create_plugin(name, trt.PluginFieldCollection(fields), trt.TensorRTPhase.BUILD)
    except RuntimeError:  # how the bindings report a null pointer
        return False
    return plugin is not None


def answers(trt: Any) -> dict[str, Any]:
    """What is made of right and of wrong fields, by operator."""
    return {name: {"right": made(trt, name), "wrong": [made(trt, name, **each) for each in WRONG]} for name in SCORES}


if __name__ == "__main__":
    import tensorrt_rtx

    library = ctypes.CDLL(sys.argv[1], mode=ctypes.RTLD_GLOBAL)
    print(json.dumps(answers(tensorrt_rtx)))
