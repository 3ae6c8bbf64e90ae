"""What each target takes: opset, IR version and operators, as a table.

Sources: NVIDIA's onnx-tensorrt operator tables and importer sources for releases 8.2 to 11.4, read 2026-11; JetPack
release notes. A graph is exported for the weakest parser that shall read it, and checked against this table.
"""

from typing import Dict, FrozenSet, NamedTuple

from pomt_trt.core.errors import UsageError


class Target(NamedTuple):
    """A kind of machine that parses our graphs."""

    name: str
    engine: str  # onnxruntime or tensorrt
    release: str  # of TensorRT; empty for ONNX Runtime
    opset: int
    ir_version: int
    operators: FrozenSet[str]

    def form(self, precision: str) -> str:
        """Name of the graphs this target reads, such as op17-fp32."""
        return "op{}-{}".format(self.opset, precision)


# Every operator that our graphs may hold; all parsers since TensorRT 8.2 take them. Not among them, though some parsers
# list them: what makes shapes dynamic (NonZero, Loop, If), and the Scatter family, whose reduction attribute TensorRT 8
# ignores without a word.
_EVERYWHERE = frozenset(
    {"Add", "Cast", "Concat", "Conv", "Div", "Erf", "Expand", "Flatten", "Gather", "GatherElements", "Gemm", "Identity"}
    | {"MatMul", "Mul", "Neg", "Pow", "ReduceMax", "ReduceMean", "ReduceSum", "Relu", "Reshape", "Sigmoid", "Slice"}
    | {"Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "TopK", "Transpose", "Unsqueeze"}
)
# LayerNormalization is one operator from opset 17 and TensorRT 8.6 on, which keeps it in fp32 by itself.
_WITH_LAYER_NORM = _EVERYWHERE | {"LayerNormalization"}

TARGETS: Dict[str, Target] = {
    target.name: target
    for target in (
        Target("onnxruntime", "onnxruntime", "", 17, 8, _WITH_LAYER_NORM),
        Target("jetpack-4.6.1", "tensorrt", "8.2", 13, 7, _EVERYWHERE),
        Target("jetpack-5.1", "tensorrt", "8.5", 13, 7, _EVERYWHERE),
        Target("jetpack-6.0", "tensorrt", "8.6", 17, 8, _WITH_LAYER_NORM),
        Target("jetpack-6.1", "tensorrt", "10.3", 17, 8, _WITH_LAYER_NORM),
        Target("jetpack-6.2", "tensorrt", "10.3", 17, 8, _WITH_LAYER_NORM),
        Target("jetpack-7.0", "tensorrt", "10.13", 17, 8, _WITH_LAYER_NORM),
        Target("jetpack-7.2", "tensorrt", "10.16", 17, 8, _WITH_LAYER_NORM),
    )
}

# TopK takes K up to 3840 in every TensorRT release (NvInfer.h, ITopKLayer).
MOST_RANKED_TOKENS = 3840


def named(name: str) -> Target:
    """The target of that name.

    Raises: UsageError, with the names there are.
    """
    if name not in TARGETS:
        raise UsageError("target '{}' is not known. Choose one of: {}.".format(name, ", ".join(sorted(TARGETS))))
    return TARGETS[name]
