"""Token reduction methods, one file each, under one contract (contract.py), and the table of their names.

Makes schedules and steps from a method's name and plain integers. Leaves out the model: see surgery.
"""

from collections.abc import Sequence

from torch import nn

from pomt_trt.core import schedule as schedules
from pomt_trt.core.errors import UsageError
from pomt_trt.core.records import Schedule
from pomt_trt.host.reducers.contract import Need, Reducer, Signals, Site, Step, Tokens
from pomt_trt.host.reducers.none import NoReduction
from pomt_trt.host.reducers.pomt import Pomt
from pomt_trt.host.reducers.random import Random
from pomt_trt.host.reducers.topk import TopK

__all__ = ["METHODS", "Need", "Reducer", "Signals", "Site", "Step", "Tokens", "find", "made", "plan", "schedule_for"]

METHODS: dict[str, type[Reducer]] = {reducer.method: reducer for reducer in (NoReduction, Random, TopK, Pomt)}


def find(method: str) -> type[Reducer]:
    """The reducer of that name; raises UsageError, with the names there are."""
    if method not in METHODS:
        raise UsageError(f"there is no method '{method}'. Choose one of {', '.join(METHODS)}.")
    return METHODS[method]


def schedule_for(
    method: str, tokens: int, depth: int, prefix_tokens: int, removed: int, layer: int | None = None
) -> Schedule:
    """How the method turns one number R into counts per block.

    In every block: spread evenly. In one place: all at `layer`, or the method's default layer. What is removed from the
    embedded sequence (random without a layer) reads as if block 0 had done it: a schedule has no entry before block 0.

    Args: tokens: entering block 0, prefix included; removed: R, net, over the whole model.
    Raises: UsageError if the layer does not exist or the method cannot remove that many.
    """
    reducer = find(method)
    if reducer.every_block:
        schedule = schedules.even(tokens, depth, prefix_tokens, removed)
    else:
        place = reducer.default_layer if layer is None else layer
        schedule = schedules.single_layer(tokens, depth, prefix_tokens, place or 0, removed)
    plan(method, schedule, layer)
    return schedule


def plan(method: str, schedule: Schedule, layer: int | None = None) -> list[Step | None]:
    """One step a block, None where the block stays as it is.

    Raises: UsageError if the method cannot follow the schedule, or the schedule acts elsewhere than at `layer`.
    """
    reducer, counts = find(method), schedule.tokens
    site = reducer.site(layer)
    acting = [block for block in range(schedule.depth) if counts[block] != counts[block + 1]]
    place = 0 if site is Site.INPUT else layer
    if place is not None and acting not in ([], [place]):
        raise UsageError(
            f"the schedule of {method} removes tokens in blocks {acting}, but the layer asked for is {layer}. "
            "Give the layer where the schedule acts, and none to a method that acts in every block."
        )
    return [
        reducer.plan(site, block, counts[block], counts[block + 1], schedule.prefix_tokens)
        for block in range(schedule.depth)
    ]


def made(method: str, steps: Sequence[Step | None], seed: int) -> nn.ModuleDict:
    """The reducers at work, by the number of their block; their buffers are a candidate's own constants."""
    reducer = find(method)
    return nn.ModuleDict({str(step.layer): reducer(step, seed) for step in steps if step is not None})
