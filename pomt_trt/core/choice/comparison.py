"""Compares the selections of several methods: all candidates side by side, and one Pareto set.

A candidate's eager latency is  E0 L / L0,  where L0 is R = 0 of its own run, and E0 is R = 0 of the first run. Why: the
methods' eager runs are at different times, and the machine's speed changes.
"""

import math
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from pomt_trt.core.records import Comparison, Contender, EagerLatencies, Interval, Row, Selection
from pomt_trt.core.text_table import aligned

METHODS = ("pomt", "topk", "tome", "random")  # the default: methods that need no training
UNREDUCED = "none"  # the method of R = 0
SAME_LATENCY = 0.02  # relative difference between methods' R = 0 that is not worth a note


def compared(
    selections: Dict[str, Selection],
    eager: Dict[str, EagerLatencies],
    not_compared: Dict[str, str],
    batch_size: int,
) -> Comparison:
    """The comparison of methods.

    Args:
        selections: by method, at least one, all on one device. The R = 0 of the first one is used for all.
        eager: by method, where it was timed.
        not_compared: method -> why it has no selection.
    """
    first = next(iter(selections.values()))
    eager0 = next((run.latency_ms["r000"] for run in eager.values()), None)
    unreduced = Contender(
        UNREDUCED, first.unreduced, eager0, next((run.latency_ci_ms["r000"] for run in eager.values()), None)
    )
    contenders = [
        Contender(method, row, *_eager(eager.get(method), row.id, eager0))
        for method, selection in selections.items()
        for row in selection.rows
        if row.removed and row.status == "measured"
    ]
    everyone = [unreduced, *contenders]
    return Comparison(
        device_id=first.device_id,
        batch_size=batch_size,
        accuracy_kind=first.accuracy_kind,
        unreduced=unreduced,
        contenders=tuple(contenders),
        chosen={method: selection.chosen.id for method, selection in selections.items()},
        pareto=pareto(everyone, lambda one: one.row.latency_ms),
        eager_pareto=pareto(everyone, lambda one: one.eager_ms),
        not_compared=dict(not_compared),
        notes=tuple(_notes(selections)),
        eager_torch=next((run.torch for run in eager.values()), None),
        eager_doubt={method: run.doubt for method, run in eager.items() if run.doubt},
    )


def pareto(contenders: Sequence[Contender], latency: Callable[[Contender], Optional[float]]) -> Tuple[str, ...]:
    """Names of the Pareto set in latency and accuracy, fastest first."""
    timed = [(latency(one), one) for one in contenders if one.row.accuracy is not None]
    front, best = [], -math.inf
    ordered = sorted(
        ((ms, one) for ms, one in timed if ms is not None),
        key=lambda pair: (pair[0], -(pair[1].row.accuracy or 0.0), -pair[1].row.tokens_after, pair[1].name),
    )
    for _, one in ordered:
        if (one.row.accuracy or 0.0) > best:
            best = one.row.accuracy or 0.0
            front.append(one.name)
    return tuple(front)


def table(comparison: Comparison) -> str:
    """The comparison for people: each method's choice, the Pareto set, and what could not be compared."""
    header = ["", "method", "id", "tokens", "latency ms", "gain", "accuracy", "drop pt"]
    eager = comparison.eager_torch is not None
    lines = [header + (["eager ms", "eager gain"] if eager else [])]
    shown = [one for one in [comparison.unreduced, *comparison.contenders] if _matters(one, comparison)]
    lines += [_cells(one, comparison, eager) for one in shown]
    text = aligned(lines)
    text += ["", "->  what the method's own selection chose    *  Pareto set of all methods    e  likewise in eager"]
    text += ["{}: not compared: {}".format(method, why) for method, why in comparison.not_compared.items()]
    text += [
        "eager latencies of {}: not to be quoted: {}".format(*doubted) for doubted in comparison.eager_doubt.items()
    ]
    text += list(comparison.notes) + ["Device: {}.".format(comparison.device_id)]
    return "\n".join(text)


def _matters(one: Contender, comparison: Comparison) -> bool:
    """Whether the table shows it: R = 0, the Pareto sets, each choice, and what was timed in eager."""
    named = one.name in comparison.pareto or one.name in comparison.eager_pareto
    return named or not one.row.removed or one.eager_ms is not None or comparison.chosen.get(one.method) == one.row.id


def _cells(one: Contender, comparison: Comparison, eager: bool) -> List[str]:
    row = one.row
    marks = ("->" if comparison.chosen.get(one.method) == row.id else "") + (
        "*" if one.name in comparison.pareto else ""
    )
    cells = [
        marks + ("e" if one.name in comparison.eager_pareto else ""),
        one.method,
        row.id,
        str(row.tokens_after),
        _number(row.latency_ms, "{:.3f}"),
        _gain(row.latency_ms, comparison.unreduced.row.latency_ms),
        _number(row.accuracy, "{:.4f}"),
        _number(None if row.accuracy_drop is None else 100 * row.accuracy_drop, "{:+.2f}"),
    ]
    return cells + (
        [_number(one.eager_ms, "{:.3f}"), _gain(one.eager_ms, comparison.unreduced.eager_ms)] if eager else []
    )


def _number(value: Optional[float], form: str) -> str:
    return "" if value is None else form.format(value)


def _gain(value_ms: Optional[float], base_ms: Optional[float]) -> str:
    return "" if value_ms is None or not base_ms else "{:.1%}".format(1 - value_ms / base_ms)


def _eager(
    run: Optional[EagerLatencies], candidate_id: str, eager0: Optional[float]
) -> Tuple[Optional[float], Optional[Interval]]:
    """A candidate's eager latency and interval in units of the comparison's R = 0; see above."""
    if run is None or eager0 is None or candidate_id not in run.latency_ms:
        return None, None
    scale = eager0 / run.latency_ms["r000"]
    low, high = run.latency_ci_ms[candidate_id]
    return scale * run.latency_ms[candidate_id], (scale * low, scale * high)


def _notes(selections: Dict[str, Selection]) -> List[str]:
    """What differs between the methods' R = 0."""
    base: Row = next(iter(selections.values())).unreduced
    notes = []
    for method, selection in selections.items():
        row = selection.unreduced
        if row.latency_ms and base.latency_ms and abs(row.latency_ms / base.latency_ms - 1) > SAME_LATENCY:
            notes.append(
                "R = 0 of {} took {:.3f} ms instead of {:.3f} ms: it was timed apart, compare gains.".format(
                    method, row.latency_ms, base.latency_ms
                )
            )
        if row.accuracy != base.accuracy:
            notes.append("{} has weights of its own: its R = 0 has accuracy {:.4f}.".format(method, row.accuracy or 0))
    return notes
