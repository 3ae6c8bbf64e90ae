"""A pairwise cover of the graphs of host/graphs/export: any two values of two properties meet in one of the cases.

Makes cases, their graphs, and what TensorRT-RTX's parser and builder say of them. On a workstation with TensorRT-RTX.
"""

import contextlib
import itertools
import logging
import logging.handlers
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer

from pomt_trt.core.errors import PomtError
from pomt_trt.core.targets import named
from pomt_trt.device.engines import ahead, contract, engine
from pomt_trt.host.data import image_batches
from pomt_trt.host.graphs import export
from pomt_trt.host.models import loading
from tests.host import tiny

ENGINE = "tensorrt-rtx"
PROPERTIES = {
    "method": ["pomt", "pomt-shift", "topk", "tome", "ltmp", "cropr", "cropr without fusion", "random", "none"],
    "task": ["classes", "pixels"],
    "precision": ["fp32", "fp16", "bf16"],
    "batch": [1, 4],
    "model": ["plain", "registers", "distilled", "DINOv2"],
    "removed": ["none", "few", "many"],
}
DENSE = ("tome", "cropr", "none")  # that fit models which label pixels
MOST_CASES = 80
# The size of models: of DeiT-Tiny with a third of its blocks, and one that builds in no time.
WHOLE = {"img_size": 224, "patch_size": 16, "embed_dim": 192, "num_heads": 3, "num_classes": 10, "depth": 4}
SMALL = tiny.SMALL


class Case(NamedTuple):
    """One graph."""

    method: str
    task: str
    precision: str
    batch: int
    model: str
    removed: str

    @property
    def name(self) -> str:
        """All values in words."""
        return "-".join(str(value).replace(" ", "_") for value in self)


class Found(NamedTuple):
    """What became of a case."""

    case: Case
    tokens: str  # before and after
    build_s: float
    plan_bytes: int
    warnings: tuple[str, ...]
    refused: str  # why; empty where there is an engine


def possible(case: Case) -> bool:
    """Whether there is such a graph."""
    if case.method == "none" and case.removed != "none":
        return False
    if case.task == "pixels":
        return case.method in DENSE and case.model != "distilled"  # whose head reads a class token
    return True


def cases() -> list[Case]:
    """The cover, the same each time: greedily, the case that brings most pairs that were not met yet."""
    every = [case for case in map(Case._make, itertools.product(*PROPERTIES.values())) if possible(case)]
    missing = set().union(*map(_pairs, every))
    chosen: list[Case] = []
    while missing:
        best = max(every, key=lambda case: len(_pairs(case) & missing))
        chosen.append(best)
        missing -= _pairs(best)
    return chosen


def _pairs(case: Case) -> set[Any]:
    return set(itertools.combinations(enumerate(case), 2))


def few(count: int) -> list[Case]:
    """So many cases of the cover, all over it."""
    found = cases()
    return [found[(2 * number + 1) * len(found) // (2 * count)] for number in range(count)]


def tried(case: Case, size: dict[str, Any], folder: Path) -> Found:
    """Exports a case's graph with a model of that size, and builds it ahead of time as the command does."""
    plan, candidate, images = _planned(case, size, folder)
    family = export.export(plan, candidate, images, folder)
    one = family.candidates[-1]
    graph = folder / "onnx" / family.form / f"{one.id}.onnx"
    options = contract.BuildOptions(precision=case.precision, gpu=ahead.PORTABLE)
    counts = f"{one.schedule.tokens_before} to {one.schedule.tokens_after}"
    started = time.perf_counter()
    with _logged() as records:
        try:
            device = ahead.device(ENGINE, ahead.PORTABLE)
            made = engine.build(str(graph), str(folder / f"{one.id}.engine"), device, one.id, options)
            plan_bytes, refused = made.bytes, ""
        except PomtError as error:
            plan_bytes, refused = 0, str(error)
    warnings = tuple(" ".join(record.getMessage().split()) for record in records)
    return Found(case, counts, time.perf_counter() - started, plan_bytes, warnings, refused)


def _planned(case: Case, size: dict[str, Any], folder: Path) -> Any:
    method, llf = case.method.split()[0], case.method != "cropr without fusion"
    module, spec = loading.load(_model(case, size, folder), **_head(case, size, folder))
    learned = tiny.learned(method, spec.depth, spec.width, llf)
    plan = export.Plan(module, method, None, case.batch, 0, named(ENGINE), case.precision, learned)
    patches = spec.patch_tokens
    removed = {"none": 0, "few": max(1, patches // 16), "many": patches // 2}[case.removed]
    return plan, tiny.grid(plan, spec, sorted({0, removed})), image_batches.load(None, spec, 2, 0)


def _model(case: Case, size: dict[str, Any], folder: Path) -> Any:
    kinds = {"registers": {"reg_tokens": 4}, "DINOv2": {"init_values": 0.1}}
    size = dict(size, **kinds.get(case.model, {}))
    if case.model == "DINOv2":
        size["patch_size"] -= 2  # 14 where others have 16
        size["num_classes"] = size["num_classes"] if case.task == "pixels" else 0
    if case.task == "pixels":
        size["global_pool"] = ""
    torch.manual_seed(0)
    kind = VisionTransformerDistilled if case.model == "distilled" else VisionTransformer
    model = kind(**size, qkv_bias=True).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    return model


def _head(case: Case, size: dict[str, Any], folder: Path) -> dict[str, Any]:
    """DINOv2's classes come from a linear head beside the model."""
    if case.model != "DINOv2" or case.task == "pixels":
        return {}
    path = str(folder / "linear.pth")
    weight = torch.randn(5, 2 * size["embed_dim"], generator=torch.Generator().manual_seed(1))
    torch.save({"weight": weight, "bias": torch.ones(5)}, path)
    return {"head": path}


@contextlib.contextmanager
def _logged() -> Iterator[list[logging.LogRecord]]:
    """What TensorRT warns of within the block; our log passes its warnings on as information."""
    log = logging.getLogger("pomt_trt.device.engines.tensorrt.bindings")
    level, handler = log.level, logging.handlers.BufferingHandler(sys.maxsize)
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        yield handler.buffer
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
