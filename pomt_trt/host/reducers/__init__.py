"""Token reduction methods, one file each, and the table of their names. common/contract.py is their contract."""

from collections.abc import Sequence

from torch import Tensor, nn

from pomt_trt.core.errors import UsageError
from pomt_trt.core.records import Schedule
from pomt_trt.host.reducers.common.contract import Reducer, Shape, Signals, Site, Step, Tokens  # noqa: F401
from pomt_trt.host.reducers.common.learned import Learned, Scorers
from pomt_trt.host.reducers.common.matching import unmerged
from pomt_trt.host.reducers.cropr import Cropr, in_place
from pomt_trt.host.reducers.ltmp import Ltmp
from pomt_trt.host.reducers.none import NoReduction
from pomt_trt.host.reducers.pomt import Pomt
from pomt_trt.host.reducers.pomt_shift import PomtShift
from pomt_trt.host.reducers.random import Random
from pomt_trt.host.reducers.tome import ToMe
from pomt_trt.host.reducers.topk import TopK

METHODS: dict[str, type[Reducer]] = {
    reducer.method: reducer for reducer in (NoReduction, Random, TopK, Pomt, PomtShift, ToMe, Ltmp, Cropr)
}


def find(method: str) -> type[Reducer]:
    """The reducer of that name. Raises UsageError, with all names, where there is none."""
    if method not in METHODS:
        raise UsageError(f"there is no method '{method}'. Choose one of {', '.join(METHODS)}.")
    return METHODS[method]


def check_dense(method: str, parameters: Learned | None = None) -> None:
    """Raises UsageError, with the reason, where a method cannot serve a head that labels every patch."""
    lost = find(method).lost_for_patches
    if isinstance(parameters, Scorers) and not parameters.llf:
        lost = "without last layer fusion it drops patches"
    if lost is not None:
        dense = [name for name, reducer in METHODS.items() if reducer.lost_for_patches is None]
        raise UsageError(
            f"{method} does not fit a model that labels every patch: {lost}, and nothing brings them back. Choose "
            f"--method {' or '.join(dense)}."
        )


def restored(tokens: Tokens, x: Tensor, count: int) -> Tensor:
    """Rows (B, count, C) of the image's own tokens, in their order, from rows x (B, N, C) of the last sequence.

    Tokens that Cropr set aside go back to their places. Tokens that ToMe merged share one row.
    """
    return unmerged(in_place(tokens._replace(x=x), count), tokens.merges or ())


def schedule_for(
    method: str, shape: Shape, removed: int, layer: int | None = None, parameters: Learned | None = None
) -> Schedule:
    """The method's schedule for one number R.

    Args:
        removed: R, net, over the whole model.
        parameters: what ltmp or cropr learned for the model.
    Raises: UsageError if the layer does not exist or the method cannot remove that many.
    """
    reducer = find(method)
    schedule = reducer.spread(shape, removed, layer, parameters)
    reducer.steps(schedule, layer)
    return schedule


def made(method: str, steps: Sequence[Step | None], seed: int, parameters: Learned | None = None) -> nn.ModuleDict:
    """The acting reducers by the number of their block. Their buffers are the candidate's own constants."""
    reducer = find(method)
    return nn.ModuleDict({str(step.layer): reducer.at(step, seed, parameters) for step in steps if step is not None})
