"""The targets: opset, IR version and operators that each parser reads, as a table.

A graph is exported for the oldest parser that is to read it, and checked against this table.
Sources: NVIDIA's onnx-tensorrt operator tables and importer sources for releases 8.2 to 11.4, read 2026-11; JetPack
release notes; TensorRT-RTX 1.7.1 itself, which the tests run.
"""

from typing import Dict, FrozenSet, List, NamedTuple, Optional, Sequence

from pomt_trt.core.errors import UsageError

PRECISIONS = ("fp32", "fp16", "bf16")  # of engines
ENGINES = ("onnxruntime", "tensorrt", "tensorrt-rtx")  # engine libraries


class Target(NamedTuple):
    """A parser of graphs, and the machines that have it."""

    name: str
    engine: str  # one of ENGINES
    release: str  # of TensorRT or TensorRT-RTX; empty for ONNX Runtime
    opset: int
    ir_version: int
    operators: FrozenSet[str]
    strongly_typed: bool  # the graph says in which types to compute; otherwise the builder chooses among allowed ones
    plugin_body: bool  # plugin graphs also define the plugin's node as a function, see PLUGIN

    def form(self, precision: str, plugin: bool = False) -> str:
        """Name of the graph format for this target and precision, such as op17-fp32.

        At opset 17, fp16 has two formats: mixed graphs, and fp32 graphs for weakly typed builders (op17-fp16w).

        Args:
            plugin: plugins' nodes remove tokens (op17-fp32-plugin; without function bodies: -bare).
        """
        weak = not self.strongly_typed and self.opset > 13 and precision != "fp32"
        kind = PLUGIN + ("" if self.plugin_body else BARE) if plugin else ""
        return "op{}-{}{}{}".format(self.opset, precision, "w" if weak else "", kind)

    def lacks(self, precision: str) -> str:
        """Why this target has no engines of a precision; empty where it has them.

        Source: BuilderFlag.BF16, absent from TensorRT 8; ONNX Runtime 1.32's errors on such graphs, tried 2026-11-26.
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
        """The precision of the graph itself; a weakly typed builder starts from fp32."""
        return precision if self.strongly_typed else "fp32"

    def form_among(self, forms: Sequence[str], precision: str, plugin: bool = False) -> Optional[str]:
        """The one of these forms that this target runs best in a precision; None where it reads none of them.

        An fp32 graph of an older opset has more operators, but every parser reads it.
        """
        if self.lacks(precision):
            return None
        if precision != "fp32" or plugin:
            return self.form(precision, plugin) if self.form(precision, plugin) in forms else None
        older = [self._replace(opset=opset).form(precision) for opset in range(self.opset, 0, -1)]
        return next((form for form in older if form in forms), None)


# Nodes that plugins/ implements, by the score that they rank by. A local function of ONNX (IR 8 and later) defines the
# node for other engines. ONNX Runtime runs the function. TensorRT 8 does not read it. TensorRT 9.0 to 10.6 prefers the
# function to the plugin, so it is left out. From 10.7 on, a registered plugin is preferred (from 10.15 on, for a node
# with a plugin_namespace).
PLUGIN, BARE = "-plugin", "-bare"  # in the names of forms; BARE: without functions
PLUGIN_DOMAIN = "pomt_trt"
PLUGIN_OPERATORS = {"pomt": "PomtTokenPrune", "class": "PomtTokenTopK"}

# The operators that our graphs may hold; every parser since TensorRT 8.2 reads them. Left out, though some parsers list
# them: operators that make shapes dynamic (NonZero, Loop, If), and Scatter operators, whose reduction attribute
# TensorRT 8 silently ignores.
_EVERYWHERE = frozenset(
    {"Add", "ArgMax", "Cast", "Concat", "Conv", "Div", "Equal", "Erf", "Expand", "Flatten", "Gather", "GatherElements"}
    | {"Gemm", "Identity", "Log", "MatMul", "Mul", "Neg", "Pow", "ReduceMax", "ReduceMean", "ReduceSum", "Relu"}
    | {"Reshape", "Sigmoid", "Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "TopK", "Transpose"}
    | {"Unsqueeze"}
)
# LayerNormalization is one operator from opset 17 and TensorRT 8.6 on.
_WITH_LAYER_NORM = _EVERYWHERE | {"LayerNormalization"}
# Further operators in functions of plugins' nodes: every parser that reads functions, and ONNX Runtime, reads them.
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
    """The newest target that is not newer than this version of an engine library, such as tensorrt 10.3.0.

    Raises: UsageError where the library is older than all targets.
    """
    known = [
        target
        for target in TARGETS.values()
        if target.engine == engine and _numbers(target.release) <= _numbers(version)
    ]
    if not known:
        raise UsageError(
            "{} {} is older than what graphs are made for. Update it, or choose another --engine.".format(
                engine, version
            )
        )
    return max(known, key=lambda target: _numbers(target.release))


def _numbers(release: str) -> List[int]:
    """'10.3.0' -> [10, 3, 0]; '' -> []."""
    return [int(part) for part in release.split(".") if part.isdigit()]


def has_plugin(form: str) -> bool:
    """Whether plugins' nodes remove tokens in graphs of this form."""
    return PLUGIN in form


def is_bare(form: str) -> bool:
    """Whether graphs of this form have plugins' nodes without functions, so that only TensorRT runs them."""
    return form.endswith(PLUGIN + BARE)


def named(name: str) -> Target:
    """The target of that name.

    Raises: UsageError that lists the names.
    """
    if name not in TARGETS:
        raise UsageError("target '{}' is not known. Choose one of: {}.".format(name, ", ".join(sorted(TARGETS))))
    return TARGETS[name]
