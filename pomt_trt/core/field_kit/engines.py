"""The report's lines on engines: whether they build, are right and fused, and their latencies."""

import math
from typing import Iterator, List, Optional

from pomt_trt.core.field_kit.records import (
    BUILD,
    DEFAULT,
    HELD,
    NO_GRAPH,
    NOT,
    OTHER_STAGING,
    PRECISIONS,
    TIME,
    TRTEXEC,
    UNKNOWN,
    Built,
    Collected,
    Line,
    Timed,
)

RATIO = 0.05  # allowed difference between our GPU time and trtexec's
CLOSE = 0.02  # a way to run an engine that is slower by less counts as equal


def lines(run: Collected) -> List[Line]:
    """All of them, model by model."""
    all_lines: List[Line] = []
    for model in run.kit.models:
        for precision in PRECISIONS:
            all_lines += [*_engines(run, model, precision), *_times(run, model, precision)]
        all_lines += _ratios(run, model)
    return all_lines


def _engines(run: Collected, model: str, precision: str) -> Iterator[Line]:
    title = "{} {}".format(model, precision)
    built = [one for one in run.built if (one.model, one.precision) == (model, precision)]
    if not built:
        yield Line(NOT, title + " is built", run.why(BUILD, title))
    for one in sorted(built, key=lambda one: one.removed):
        yield from _engine(one, "{} R = {}".format(title, one.removed))


def _engine(one: Built, title: str) -> Iterator[Line]:
    failed_gate = one.failure is not None and one.failure.stage == "gate"
    if one.engine is None and not failed_gate:
        reason = one.failure.reason if one.failure is not None else "no engine and no reason"
        yield Line(NOT, title + " is built", reason)
        return
    if one.engine is not None:
        cost = "in {:.0f} s, {:.1f} MB".format(one.engine.build_s, one.engine.bytes / 1e6)
        yield Line(HELD, title + " is built", cost)
    what = title + " passes the golden gate"
    if one.failure is not None:
        yield Line(NOT, what, one.failure.reason)
        return
    if one.gate is None or not one.gate.compared or math.isnan(one.gate.error):
        yield Line(UNKNOWN, what, "no image could be compared")
    else:
        details = "median error {:.1e} of the largest logit, {:.0e} allowed, {} images"
        state = HELD if one.gate.error <= one.gate.allowed else NOT
        yield Line(state, what, details.format(one.gate.error, one.gate.allowed, one.gate.compared))
    yield _layers(one, title)


def _layers(one: Built, title: str) -> Line:
    what = title + " is fused as it can be"
    if not one.layers:
        return Line(UNKNOWN, what, "the inspector told no layers")
    details = "{} layers, attention as one kernel in {} blocks".format(one.layers, one.fused_attention or 0)
    return Line(NOT if one.shortfall else HELD, what, one.shortfall or details)


def _times(run: Collected, model: str, precision: str) -> Iterator[Line]:
    title = "{} {}".format(model, precision)
    timed = {(one.removed, one.way): one for one in run.timed if (one.model, one.precision) == (model, precision)}
    defaults = sorted(removed for removed, way in timed if way == DEFAULT)
    if not defaults:
        yield Line(NOT, title + " is timed", run.why(TIME, title))
        return
    for removed in defaults:
        usual = timed[removed, DEFAULT]
        name = "{} R = {}".format(title, removed)
        yield _steady(usual, name)
        yield from _graph(usual, timed.get((removed, NO_GRAPH)), name)
        yield from _staging(usual, timed.get((removed, OTHER_STAGING)), name)
    if len(defaults) > 1:
        yield _gain(timed[defaults[0], DEFAULT], timed[defaults[-1], DEFAULT], title)


def _steady(one: Timed, name: str) -> Line:
    what = name + " is timed without disturbance"
    details = "{}, {}: {}".format(_ms(one), _interval(one), one.profile.verdict)
    return Line(HELD if one.profile.verdict == "stable" else NOT, what, details)


def _graph(usual: Timed, without: Optional[Timed], name: str) -> Iterator[Line]:
    """Empty where the engine was not timed without a CUDA graph."""
    if without is None:
        return
    what = name + " runs as a CUDA graph"
    if usual.cuda_graph != "on":
        yield Line(NOT, what, usual.cuda_graph)
        return
    yield Line(HELD, what, "captured")
    yield _not_slower(name + " is no slower as a CUDA graph", usual, without, "without")


def _staging(usual: Timed, other: Optional[Timed], name: str) -> Iterator[Line]:
    if other is not None:
        yield _not_slower("{} is no slower by {}".format(name, usual.memory), usual, other, "by " + other.memory)


def _not_slower(what: str, usual: Timed, other: Timed, how: str) -> Line:
    slower = usual.profile.latency_ms > other.profile.latency_ms * (1 + CLOSE) and _is_faster(other, usual)
    details = "{} instead of {} {}".format(_ms(usual), _ms(other), how)
    return Line(NOT if slower else HELD, what, details)


def _gain(unreduced: Timed, reduced: Timed, title: str) -> Line:
    what = "{} is faster with R = {}".format(title, reduced.removed)
    details = "{} instead of {}".format(_ms(reduced), _ms(unreduced))
    if _is_faster(reduced, unreduced):
        return Line(HELD, what, details)
    if _is_faster(unreduced, reduced):
        return Line(NOT, what, details)
    return Line(UNKNOWN, what, details + ": their intervals overlap")


def _is_faster(one: Timed, other: Timed) -> bool:
    """Whether it is faster with intervals apart."""
    return one.profile.latency_ci_ms[1] < other.profile.latency_ci_ms[0]


def _ratios(run: Collected, model: str) -> Iterator[Line]:
    ratios = [one for one in run.ratios if one.model == model]
    if not ratios:
        yield Line(NOT, model + " is timed as trtexec times it", run.why(TRTEXEC, model))
    for one in ratios:
        ratio = one.ours_ms / one.theirs_ms if one.theirs_ms else math.inf
        details = "{:.3f} ms, trtexec {:.3f} ms, ratio {:.3f}".format(one.ours_ms, one.theirs_ms, ratio)
        state = HELD if abs(ratio - 1) <= RATIO else NOT
        yield Line(state, "{} is timed as trtexec times it, {}".format(model, one.device_id), details)


def _ms(one: Timed) -> str:
    return "{:.3f} ms".format(one.profile.latency_ms)


def _interval(one: Timed) -> str:
    return "{:.3f} .. {:.3f}".format(*one.profile.latency_ci_ms)
