"""Exports the graph set of a model and a method: one ONNX graph for each candidate, and one weights file for all.

Every graph is checked (graph_checks.py). A few, the first and the last among them, are compared with PyTorch.
"""

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from torch import nn

from pomt_trt.core.errors import UsageError
from pomt_trt.core.records import Candidate, Family, Schedule
from pomt_trt.core.storage import store
from pomt_trt.core.storage.workfolder import WEIGHTS
from pomt_trt.core.targets import Target
from pomt_trt.host import backbones, reducers
from pomt_trt.host.data.image_batches import Images
from pomt_trt.host.graphs import comparison, graph_checks, plugin_graphs
from pomt_trt.host.graphs import graph_set as graph_sets
from pomt_trt.host.graphs.trace import Trace, trace
from pomt_trt.host.models import loading, token_reduction
from pomt_trt.host.precision import mixed_precision
from pomt_trt.host.reducers.common.contract import Need, Shape, Site, Step
from pomt_trt.host.reducers.common.learned import Learned

GOLDEN_IMAGES = 64
COMPARED_CANDIDATES = 8
COMPARED_IMAGES = 4
PROBES = 3  # at least: two find a slope, the third confirms it
Progress = Callable[[str], None]  # is called with the id of each candidate


class Plan(NamedTuple):
    """What to export."""

    module: nn.Module
    method: str
    layer: int | None
    batch_size: int
    seed: int
    target: Target
    precision: str = "fp32"  # of the engines
    learned: Learned | None = None  # by ltmp or cropr for this model
    plugin: bool = False  # whether plugin nodes remove tokens

    @property
    def form(self) -> str:
        """Name of the graph format."""
        return self.target.form(self.precision, self.plugin)

    @property
    def written(self) -> str:
        """The precision that the graphs themselves are in."""
        return self.target.written(self.precision)

    def steps(self, schedule: Schedule) -> list[Step | None]:
        """What each block removes; None: nothing."""
        return reducers.find(self.method).steps(schedule, self.layer)

    def reduced(self, schedule: Schedule) -> token_reduction.ReducedViT:
        """The model with that schedule."""
        return token_reduction.with_schedule(
            self.module, self.method, schedule, layer=self.layer, seed=self.seed, learned=self.learned
        )


class Written(NamedTuple):
    """What `write` wrote."""

    graph_sha256: dict[str, str]  # by candidate
    fp32_nodes: tuple[str, ...]  # nodes that a weakly typed build keeps in fp32


def candidates(plan: Plan, tokens: int, depth: int, prefix: int, removed: Sequence[int]) -> list[Candidate]:
    """One candidate for each R, in the order given.

    Raises: UsageError if the method cannot remove that many, or no plugin computes it.
    """
    if plan.plugin:
        plugin_graphs.check(plan.method, plan.precision, backbones.of(plan.module).moves_positions)

    shape = Shape(tokens, depth, prefix)

    def schedule(r: int) -> Schedule:
        return reducers.schedule_for(plan.method, shape, r, plan.layer, plan.learned)

    for r in sorted(set(removed))[:2]:
        schedule(r)  # an error of these is about method or layer, not about how far --tokens goes
    try:
        return [Candidate(plan.method, schedule(r), plan.batch_size, plan.precision) for r in removed]
    except UsageError as error:
        raise UsageError(
            f"--tokens goes down to {tokens - max(removed)} of {tokens}: {error} Let it end higher."
        ) from error


def export(
    plan: Plan, grid: Sequence[Candidate], images: Images, work: Path, progress: Progress = lambda id: None
) -> Family:
    """Writes the graph set of `grid` under work/onnx/<format>. Returns its record.

    Raises: VerificationFailed if a graph fails its checks or disagrees with PyTorch.
    """
    folder = work / "onnx" / plan.form
    written = write(plan, grid, images, folder, progress)
    weights = folder / WEIGHTS
    return Family(
        form=plan.form,
        target=plan.target.name,
        opset=plan.target.opset,
        ir_version=plan.target.ir_version,
        weights_sha256=store.sha256_of(str(weights)),
        weights_bytes=os.path.getsize(weights),
        candidates=tuple(grid),
        graph_sha256=written.graph_sha256,
        precision=plan.precision,
        fp32_nodes=written.fp32_nodes,
        model_sha256=loading.fingerprint(plan.module),
        reads_attention=Need.ATTN_FULL in reducers.find(plan.method).needs,
    )


def extend(
    plan: Plan,
    graph_set: Family,
    more: Sequence[Candidate],
    images: Images,
    work: Path,
    progress: Progress = lambda id: None,
) -> Family:
    """Writes the graphs of more candidates of a graph set, on its weights. Returns the record of all.

    Raises: VerificationFailed, as export.
    """
    folder = work / "onnx" / graph_set.form
    located = graph_sets.located_in(folder / f"{graph_set.candidates[0].id}.onnx")
    written = write(plan, more, images, folder, progress, located)
    return graph_set._replace(
        candidates=graph_set.candidates + tuple(more),
        graph_sha256={**graph_set.graph_sha256, **written.graph_sha256},
        fp32_nodes=tuple(dict.fromkeys(graph_set.fp32_nodes + written.fp32_nodes)),
    )


def write(
    plan: Plan,
    grid: Sequence[Candidate],
    images: Images,
    folder: Path,
    progress: Progress = lambda id: None,
    located: Sequence[onnx.TensorProto] = (),
) -> Written:
    """Writes the graphs of `grid`, checks each, and compares some with PyTorch.

    Args:
        located: the tensors of an existing weights.bin. Empty: it is written too.
    """
    hashes: dict[str, str] = {}
    pinned: dict[str, None] = {}  # a set that keeps its order
    for group in _groups(plan, grid):
        probes = _probes(plan, group)
        traces, names = _in_precision(plan, [_traced(plan, schedule, images) for schedule in probes])
        pinned.update(dict.fromkeys(names))
        located = located or graph_sets.write_weights(folder / WEIGHTS, traces[0].weights)
        own = set(_constants(plan, probes[0]))
        template = graph_sets.template(traces, [_counts(plan, schedule) for schedule in probes], located, own)
        for candidate in group:
            counts, constants = _counts(plan, candidate.schedule), _constants(plan, candidate.schedule)
            graph = graph_sets.instantiate(template, counts, constants)
            if plan.plugin:
                graph = plugin_graphs.with_plugin(graph, candidate.schedule.prefix_tokens, plan.target.plugin_body)
            graph_sets.share_integers(graph)
            path = folder / f"{candidate.id}.onnx"
            store.write_bytes(str(path), graph.SerializeToString(deterministic=True))
            graph_checks.check(str(path), plan.target, tokens_by_block(plan, candidate.schedule))
            hashes[candidate.id] = store.sha256_of(str(path))
            progress(candidate.id)
    _compare_some(plan, grid, images, folder)
    return Written(hashes, tuple(pinned))


def tokens_by_block(plan: Plan, schedule: Schedule) -> tuple[int, ...]:
    """Tokens entering each block, then leaving the last. What is removed before a block does not enter it."""
    entering = list(schedule.tokens)
    for step in plan.steps(schedule):
        if step is not None and step.site is Site.INPUT:
            entering[step.layer] = step.tokens_out
    return tuple(entering)


def write_golden(plan: Plan, tokens: Schedule, images: Images, path: Path) -> None:
    """Writes golden.npz: `pixels` (n, H, W, C) uint8 of up to 64 images, and `logits` (n, ...) of R = 0 on them."""
    batch = next(images.batches(GOLDEN_IMAGES))
    logits, _ = comparison.logits_and_margins(plan.reduced(tokens), batch, plan.batch_size)
    save_arrays(path, pixels=images.stored[:GOLDEN_IMAGES], logits=logits)


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Writes a .npz file, whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    store.write_bytes(str(path), buffer.getvalue())


def _groups(plan: Plan, grid: Sequence[Candidate]) -> list[list[Candidate]]:
    """Candidates by the structure of their graphs: in each block, they do the same."""
    groups: dict[tuple[object, ...], list[Candidate]] = {}
    for candidate in grid:
        structure = tuple(step and step.structure for step in plan.steps(candidate.schedule))
        groups.setdefault(structure, []).append(candidate)
    return list(groups.values())


def _counts(plan: Plan, schedule: Schedule) -> tuple[int, ...]:
    """All integers of a schedule that may stand in its graph, in one order within a group."""
    own = tuple(count for step in plan.steps(schedule) if step is not None for count in step.counts)
    return graph_sets.counts(schedule) + own


def _probes(plan: Plan, group: Sequence[Candidate]) -> list[Schedule]:
    """The schedules of a group to trace; see graph_set.telling."""
    own = [candidate.schedule for candidate in group]
    if len(own) <= PROBES:
        return own
    chosen = graph_sets.telling(np.array([_counts(plan, schedule) for schedule in own]))
    return [own[position] for position in chosen]


def _constants(plan: Plan, schedule: Schedule) -> dict[str, np.ndarray]:
    """The candidate's own constants, by their name in ReducedViT's state dict."""
    acting = reducers.made(plan.method, plan.steps(schedule), plan.seed, plan.learned)
    return {f"reducers.{name}": value.numpy() for name, value in acting.named_buffers()}


def _traced(plan: Plan, schedule: Schedule, images: Images) -> Trace:
    """One trace. The candidate's own constants become initializers instead of shared weights."""
    look = images.preprocessing
    shape = (plan.batch_size, look.channels, look.height, look.width)
    opset, ir_version = plan.target.opset, plan.target.ir_version
    traced = trace(plan.reduced(schedule), shape, opset=opset, ir_version=ir_version, prefix="vit.")
    for name in _constants(plan, schedule):
        value = traced.weights.pop(name)
        traced.graph.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    return traced


def _in_precision(plan: Plan, traces: list[Trace]) -> tuple[list[Trace], tuple[str, ...]]:
    """The traces in the plan's precision, and the names of the nodes that a weakly typed build keeps in fp32."""
    if plan.precision == "fp32":
        return traces, ()
    if plan.written == plan.precision:
        return [mixed_precision.mixed(traced, plan.precision) for traced in traces], ()
    renamed = [mixed_precision.pinned(traced) for traced in traces]
    return [traced for traced, _ in renamed], renamed[0][1]


def _compare_some(plan: Plan, grid: Sequence[Candidate], images: Images, folder: Path) -> None:
    """Compares candidates spread over the grid, its ends included, with PyTorch on real images."""
    batch = next(images.batches(COMPARED_IMAGES))
    chosen = sorted({round(i) for i in np.linspace(0, len(grid) - 1, COMPARED_CANDIDATES)})
    for candidate in (grid[i] for i in chosen):
        logits, margins = comparison.logits_and_margins(plan.reduced(candidate.schedule), batch, plan.batch_size)
        comparison.compare(folder / f"{candidate.id}.onnx", batch, logits, margins, plan.batch_size, plan.written)
