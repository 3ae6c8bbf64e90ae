"""Two operators of torch that its exporter does not write in a form that targets take: chunk and rms_norm."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.onnx.symbolic_helper import parse_args


@contextlib.contextmanager
def written(opset: int) -> Iterator[None]:
    """While the block runs, exports to this opset (up to 17) use the functions below."""
    onnx: Any = torch.onnx
    operators = {"prim::ConstantChunk": _chunk, "aten::rms_norm": _rms_norm}
    for name, write in operators.items():
        onnx.register_custom_op_symbolic(name, write, opset)
    try:
        yield
    finally:
        for name in operators:
            onnx.unregister_custom_op_symbolic(name, opset)


def _chunk(g: Any, x: Any, chunks: int, dim: int) -> Any:
    """A Split into constant sizes. torch's own form computes them from a Shape node."""
    size = x.type().sizes()[dim]
    part = -(-size // chunks)
    sizes = torch.tensor([min(part, size - start) for start in range(0, size, part)])
    return g.op("Split", x, g.op("Constant", value_t=sizes), axis_i=dim, outputs=len(sizes))


@parse_args("v", "is", "v", "f")
def _rms_norm(g: Any, x: Any, normalized_shape: list[int], weight: Any, eps: float | None) -> Any:
    """x / sqrt(mean(x^2) + eps) * weight, by the nodes of a LayerNorm at opset 13, which mixed precision keeps in fp32.

    ONNX's own operator needs opset 23, which no target takes.
    """
    smallest = torch.finfo(torch.float32).eps if eps is None else eps  # None: torch's default
    squares = g.op("Pow", x, g.op("Constant", value_t=torch.tensor(2.0)))
    axes = list(range(-len(normalized_shape), 0))
    mean = g.op("ReduceMean", squares, axes_i=axes, keepdims_i=1)
    root = g.op("Sqrt", g.op("Add", mean, g.op("Constant", value_t=torch.tensor(smallest))))
    normalised = g.op("Div", x, root)
    return normalised if weight.node().mustBeNone() else g.op("Mul", normalised, weight)
