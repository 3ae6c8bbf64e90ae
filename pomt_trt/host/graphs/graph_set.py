"""The graphs of all candidates of a method, from a few traces: one template, its slots, and one weights file.

A trace takes seconds, so only a few schedules, the probes, are traced. Their graphs differ in integers alone: ends of
slices, sizes of reshapes. Each such integer is a slot: value = offset + slope x counts[source], where counts are the
tokens entering each block, the tokens that each block removes, and what else the method counts. Source, slope and
offset are fitted to the probes. An integer that no count explains is an error.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from pomt_trt.core.errors import VerificationFailed
from pomt_trt.core.records import Schedule
from pomt_trt.core.storage.store import write_bytes
from pomt_trt.core.storage.workfolder import WEIGHTS
from pomt_trt.host.graphs import editing
from pomt_trt.host.graphs.trace import Trace, Weights

ALIGNMENT_BYTES = 64  # a cache line, so that a mapped tensor can be read in place


class Slot(NamedTuple):
    """An integer of the graph that depends on the candidate: offset + slope x counts[source]."""

    initializer: str
    position: int  # in the flattened initializer
    source: int
    slope: int
    offset: int


class Template(NamedTuple):
    """A serialised graph whose weights are in weights.bin, and its slots."""

    graph: bytes
    slots: tuple[Slot, ...]


def counts(schedule: Schedule) -> tuple[int, ...]:
    """Tokens entering each block and leaving the last, then the tokens that each block removes."""
    tokens = schedule.tokens
    return tokens + tuple(before - after for before, after in zip(tokens, tokens[1:]))


def template(
    traces: list[Trace], probes: list[tuple[int, ...]], located: Sequence[TensorProto], own: set[str]
) -> Template:
    """The template that the probes share.

    Args:
        traces: one for each probe, of the same structure.
        probes: the counts of each, see `counts`.
        located: the weights as external tensors, see `write_weights`.
        own: names of initializers that differ freely between candidates, such as random's kept indices.
    Raises:
        VerificationFailed: if the graphs differ in more than slots.
    """
    graphs = [trace.graph for trace in traces]
    if len({_structure(graph) for graph in graphs}) != 1:
        raise VerificationFailed("the probes' graphs differ in structure, so they cannot be one graph set: report it.")
    graph = editing.copied(graphs[0])
    used = {name for node in graph.graph.node for name in node.input}
    graph.graph.initializer.extend(tensor for tensor in located if tensor.name in used)
    return Template(graph.SerializeToString(), tuple(_slots(graphs, probes, own)))


def instantiate(base: Template, values: tuple[int, ...], own: dict[str, np.ndarray]) -> onnx.ModelProto:
    """The graph of one candidate.

    Args:
        values: the candidate's counts.
        own: values of its own initializers, by name.
    """
    model = onnx.ModelProto.FromString(base.graph)
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    changed: dict[str, np.ndarray] = {}
    for slot in base.slots:
        if slot.initializer not in changed:
            changed[slot.initializer] = numpy_helper.to_array(initializers[slot.initializer]).copy()
        changed[slot.initializer].reshape(-1)[slot.position] = slot.offset + slot.slope * values[slot.source]
    for name, value in {**changed, **own}.items():
        kind = onnx.helper.tensor_dtype_to_np_dtype(initializers[name].data_type)  # of this graph's precision
        initializers[name].CopyFrom(numpy_helper.from_array(value.astype(kind), name))
    return model


def share_integers(model: onnx.ModelProto) -> None:
    """Merges equal integer constants: axes and shapes, which each block repeats.

    Floating-point constants stay apart: a TensorRT build that picks precisions may need one of them in two types.
    """
    first: dict[tuple[tuple[int, ...], bytes], str] = {}
    renamed, kept = {}, []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.INT64 and not tensor.external_data:
            key = (tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes())
            if first.setdefault(key, tensor.name) != tensor.name:
                renamed[tensor.name] = first[key]
                continue
        kept.append(onnx.TensorProto.FromString(tensor.SerializeToString()))
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    editing.rename_inputs(model.graph, renamed)


def write_weights(path: Path, weights: Weights) -> list[TensorProto]:
    """Writes all weights into one file. Returns external tensors that point into it."""
    data, located = bytearray(), []
    for name, value in sorted(weights.items()):
        data.extend(bytes(-len(data) % ALIGNMENT_BYTES))
        raw = np.ascontiguousarray(value).tobytes()
        located.append(_external(name, value, len(data), len(raw)))
        data.extend(raw)
    write_bytes(str(path), bytes(data))
    return located


def located_in(graph: Path) -> list[TensorProto]:
    """The external tensors of an existing graph."""
    model = onnx.load(str(graph), load_external_data=False)
    return [tensor for tensor in model.graph.initializer if tensor.data_location == TensorProto.EXTERNAL]


def _external(name: str, value: np.ndarray, offset: int, length: int) -> TensorProto:
    tensor = TensorProto(name=name, dims=value.shape, data_location=TensorProto.EXTERNAL)
    tensor.data_type = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
    for key, text in (("location", WEIGHTS), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=text)
    return tensor


def _structure(model: onnx.ModelProto) -> bytes:
    """Bytes that are equal for graphs that differ in the values of initializers alone."""
    bare = editing.copied(model)
    del bare.graph.initializer[:]
    names = sorted(tensor.name for tensor in model.graph.initializer)
    return bytes(bare.SerializeToString(deterministic=True)) + "\n".join(names).encode()


def _slots(graphs: list[onnx.ModelProto], probes: list[tuple[int, ...]], own: set[str]) -> list[Slot]:
    tables = [{t.name: numpy_helper.to_array(t) for t in graph.graph.initializer} for graph in graphs]
    explained = np.array(probes)  # (probes, counts)
    slots = []
    for name in tables[0]:
        values = [table[name] for table in tables]
        if name in own or all(np.array_equal(values[0], value) for value in values):
            continue
        if len({value.shape for value in values}) != 1 or not np.issubdtype(values[0].dtype, np.integer):
            raise VerificationFailed(
                f"constant {name} differs between probes and is no integer of fixed shape: report it."
            )
        stacked = np.stack([value.reshape(-1) for value in values])  # (probes, elements)
        for position in np.flatnonzero((stacked != stacked[0]).any(axis=0)):
            slots.append(_slot(name, int(position), stacked[:, position], explained))
    return slots


def _slot(name: str, position: int, values: np.ndarray, explained: np.ndarray) -> Slot:
    """The slot that gives `values` (probes,) exactly, with an integer slope: of all counts, that of least |slope|."""
    fitting = []
    for source in range(explained.shape[1]):
        entries = explained[:, source]
        change = np.flatnonzero(entries != entries[0])
        if not len(change):
            continue
        slope, rest = divmod(int(values[change[0]] - values[0]), int(entries[change[0]] - entries[0]))
        offset = int(values[0]) - slope * int(entries[0])
        if rest == 0 and slope and np.array_equal(offset + slope * entries, values):
            fitting.append(Slot(name, position, source, slope, offset))
    if not fitting:
        raise VerificationFailed(f"constant {name} differs between probes, and no count explains it: report it.")
    return min(fitting, key=lambda slot: abs(slot.slope))


def telling(counts: np.ndarray) -> list[int]:
    """Which schedules to trace, three or more, so that slots fitted to them hold for all.

    Two columns move alike if one is offset + slope x the other. Columns that move alike in the chosen rows do so in all
    rows. The ends and the middle are chosen first, then, one by one, the row that tells most columns apart.

    Args:
        counts: (schedules, counts).
    """
    chosen = [0, len(counts) // 2, len(counts) - 1]
    while _told_apart(counts[chosen]) < _told_apart(counts):
        chosen.append(max(range(len(counts)), key=lambda more: _told_apart(counts[[*chosen, more]])))
    return sorted(chosen)


def _told_apart(counts: np.ndarray) -> int:
    """How many columns of (schedules, counts) are not constant, plus in how many ways these move."""
    moves = (counts[1:] - counts[0]).T  # (counts, schedules - 1)
    moving = moves[moves.any(axis=1)]
    if not len(moving):
        return 0
    lowest = moving // np.gcd.reduce(moving, axis=1, keepdims=True)
    leading = lowest[np.arange(len(lowest)), (lowest != 0).argmax(axis=1)]
    return len(moving) + len(np.unique(lowest * np.sign(leading)[:, None], axis=0))
