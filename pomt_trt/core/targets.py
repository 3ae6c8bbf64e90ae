"""What each target takes: opset, IR version and operators, as a table.

Sources: NVIDIA's onnx-tensorrt operator tables and importer sources for releases 8.2 to 11.4, read 2026-11; JetPack
release notes; TensorRT-RTX 1.7.1 itself, which the tests ask. A graph is exported for the weakest parser that shall
read it, and checked against this table.
"""

from typing import Dict, FrozenSet, List, NamedTuple, Optional, Sequence

from pomt_trt.core.errors import UsageError

PRECISIONS = ("fp32", "fp16", "bf16")  # that engines may compute in
ENGINES = ("onnxruntime", "tensorrt", "tensorrt-rtx")  # engine libraries


class Target(NamedTuple):
    """A kind of machine that parses our graphs."""

    name: str
    engine: str  # one of ENGINES
    release: str  # of TensorRT or TensorRT-RTX; empty for ONNX Runtime
    opset: int
    ir_version: int
    operators: FrozenSet[str]
    strongly_typed: bool  # it computes in the types that a graph names; else the builder chooses them, as it is told
    plugin_body: bool  # graphs for its plugin carry what the plugin's node means as a function, see PLUGIN

    def form(self, precision: str, plugin: bool = False) -> str:
        """Name of the graphs this target reads for engines of a precision, such as op17-fp32.

        At opset 17 there are two kinds for fp16: mixed ones, and fp32 ones for weakly typed builders (op17-fp16w).

        Args:
            plugin: graphs in which plugins' nodes remove tokens (op17-fp32-plugin; without function bodies: -bare).
        """
        weak = not self.strongly_typed and self.opset > 13 and precision != "fp32"
        kind = PLUGIN + ("" if self.plugin_body else BARE) if plugin else ""
        return "op{}-{}{}{}".format(self.opset, precision, "w" if weak else "", kind)

    def lacks(self, precision: str) -> str:
        """Why this target has no engines of a precision; empty where it has.

        Source: BuilderFlag.BF16, absent from TensorRT 8; what ONNX Runtime 1.32 says of such graphs, tried 2026-11-26.
        """
        if precision != "bf16" or (self.engine != "onnxruntime" and self.strongly_typed):
            return ""
        if self.engine == "onnxruntime":
            return "ONNX Runtime has no arithmetic in bf16 on a CPU (no MatMul, no Add, no Softmax)"
        return "TensorRT {} has no bf16; nor have the GPUs of TX2 and Xavier".format(self.release)

    def check(self, precision: str) -> None:
        """Raises UsageError where this target has no engines of a precision."""
        if self.lacks(precision):
            raise UsageError(
                "--precision {} is not for {}: {}. Use fp16, or for Orin and Thor --target jetpack-6.1 or up.".format(
                    precision, self.name, self.lacks(precision)
                )
            )

    def written(self, precision: str) -> str:
        """The precision that is written into the graphs for engines of a precision; weak typing starts from fp32."""
        return precision if self.strongly_typed else "fp32"

    def form_among(self, forms: Sequence[str], precision: str, plugin: bool = False) -> Optional[str]:
        """Which of these forms this target runs best in a precision; None where it reads none of them.

        An fp32 graph of an older opset has more operators, but all parsers take it.
        """
        if self.lacks(precision):
            return None
        if precision != "fp32" or plugin:
            return self.form(precision, plugin) if self.form(precision, plugin) in forms else None
        older = [self._replace(opset=opset).form(precision) for opset in range(self.opset, 0, -1)]
        return next((form for form in older if form in forms), None)


# Nodes that plugins/ implements, by the score that they rank by. ONNX's local functions tell others what they mean:
# ONNX Runtime runs those; TensorRT 8 does not read them; from 9.0 to 10.6 they beat the plugin, and are left out; from
# 10.7 on the plugin is taken where it is registered (from 10.15: for a node with a plugin_namespace). IR 7 has none.
PLUGIN, BARE = "-plugin", "-bare"  # in the names of forms; BARE: without functions
PLUGIN_DOMAIN = "pomt_trt"
PLUGIN_OPERATORS = {"pomt": "PomtTokenPrune", "class": "PomtTokenTopK"}

# Every operator that our graphs may hold; all parsers since TensorRT 8.2 take them. Not among them, though some parsers
# list them: what makes shapes dynamic (NonZero, Loop, If), and the Scatter family, whose reduction attribute TensorRT 8
# ignores without a word.
_EVERYWHERE = frozenset(
    {"Add", "ArgMax", "Cast", "Concat", "Conv", "Div", "Equal", "Erf", "Expand", "Flatten", "Gather", "GatherElements"}
    | {"Gemm", "Identity", "Log", "MatMul", "Mul", "Neg", "Pow", "ReduceMax", "ReduceMean", "ReduceSum", "Relu"}
    | {"Reshape", "Sigmoid", "Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "TopK", "Transpose"}
    | {"Unsqueeze"}
)
# LayerNormalization is one operator from opset 17 and TensorRT 8.6 on.
_WITH_LAYER_NORM = _EVERYWHERE | {"LayerNormalization"}
# What functions of plugins' nodes may hold besides: all parsers that read functions take it, and so does ONNX Runtime.
IN_FUNCTIONS = frozenset({"CastLike", "Constant", "Shape"})

TARGETS: Dict[str, Target] = {
    target.name: target
    for target in (
        Target("onnxruntime", "onnxruntime", "", 17, 8, _WITH_LAYER_NORM, True, True),
        Target("jetpack-4.6.1", "tensorrt", "8.2", 13, 7, _EVERYWHERE, False, False),
        Target("jetpack-5.1", "tensorrt", "8.5", 13, 7, _EVERYWHERE, False, False),
        Target("jetpack-6.0", "tensorrt", "8.6", 17, 8, _WITH_LAYER_NORM, False, True),
        Target("jetpack-6.1", "tensorrt", "10.3", 17, 8, _WITH_LAYER_NORM, True, False),
        Target("jetpack-6.2", "tensorrt", "10.3", 17, 8, _WITH_LAYER_NORM, True, False),
        Target("jetpack-7.0", "tensorrt", "10.13", 17, 8, _WITH_LAYER_NORM, True, True),
        Target("jetpack-7.2", "tensorrt", "10.16", 17, 8, _WITH_LAYER_NORM, True, True),
        Target("jetpack-7.2.2", "tensorrt", "11.4", 17, 8, _WITH_LAYER_NORM, True, True),
        Target("tensorrt-rtx", "tensorrt-rtx", "1.7", 17, 8, _WITH_LAYER_NORM, True, True),
    )
}

# TopK takes K up to 3840 in every TensorRT release (NvInfer.h, ITopKLayer).
MOST_RANKED_TOKENS = 3840


def of_engine(engine: str, version: str) -> Target:
    """The target that an engine library of this version is, such as tensorrt 10.3.0: the newest that is no newer.

    Raises: UsageError where it is older than all.
    """
    found = [
        target
        for target in TARGETS.values()
        if target.engine == engine and _numbers(target.release) <= _numbers(version)
    ]
    if not found:
        raise UsageError(
            "{} {} is older than what graphs are made for. Update it, or choose another --engine.".format(
                engine, version
            )
        )
    return max(found, key=lambda target: _numbers(target.release))


def _numbers(release: str) -> List[int]:
    """'10.3.0' -> [10, 3, 0]; '' -> []."""
    return [int(part) for part in release.split(".") if part.isdigit()]


def has_plugin(form: str) -> bool:
    """Whether plugins' nodes remove tokens in the graphs of a form."""
    return PLUGIN in form


def is_bare(form: str) -> bool:
    """Whether the graphs of a form have nodes of plugins that they do not explain, so that only TensorRT runs them."""
    return form.endswith(PLUGIN + BARE)


def named(name: str) -> Target:
    """The target of that name.

    Raises: UsageError, with the names there are.
    """
    if name not in TARGETS:
        raise UsageError("target '{}' is not known. Choose one of: {}.".format(name, ", ".join(sorted(TARGETS))))
    return TARGETS[name]
