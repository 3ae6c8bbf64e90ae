"""The selections of several methods -> one Comparison: all candidates side by side, and the Pareto set of all.

Makes it from Selections and EagerLatencies. Leaves out how they were measured (pipeline/tasks/compare) and the figure
(report/comparison).
"""

import math
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from pomt_trt.core.records import Comparison, Contender, EagerLatencies, Interval, Row, Selection
from pomt_trt.core.text_table import aligned

METHODS = ("pomt", "topk", "tome", "random")  # compared unless others are named: they need no training
UNREDUCED = "none"  # the method of R = 0, which no method changes
SAME_LATENCY = 0.02  # by how much R = 0 may differ between methods that could not share one profile of it


def compared(
    selections: Dict[str, Selection],
    eager: Dict[str, EagerLatencies],
    not_compared: Dict[str, str],
    batch_size: int,
) -> Comparison:
    """Puts methods side by side.

    Args:
        selections: by method, not empty; all on one device. The first one's R = 0 stands for all.
        eager: by method, as far as it was timed; each is taken relative to R = 0 of its own run.
        not_compared: method -> why it is not among the selections.
    """
    first = next(iter(selections.values()))
    eager0 = next((found.latency_ms["r000"] for found in eager.values()), None)
    unreduced = Contender(UNREDUCED, first.unreduced, eager0, _interval0(eager))
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
        eager_torch=next((found.torch for found in eager.values()), None),
        eager_doubt={method: found.doubt for method, found in eager.items() if found.doubt},
    )


def pareto(contenders: Sequence[Contender], latency: Callable[[Contender], Optional[float]]) -> Tuple[str, ...]:
    """Names, fastest first, of those that no other beats in latency or accuracy without losing in the other."""
    known = [(latency(one), one) for one in contenders if one.row.accuracy is not None]
    front, best = [], -math.inf
    ordered = sorted(
        ((ms, one) for ms, one in known if ms is not None),
        key=lambda pair: (pair[0], -(pair[1].row.accuracy or 0.0), -pair[1].row.tokens_after, pair[1].name),
    )
    for _, one in ordered:
        if (one.row.accuracy or 0.0) > best:
            best = one.row.accuracy or 0.0
            front.append(one.name)
    return tuple(front)


def table(found: Comparison) -> str:
    """The comparison for people: what each method chose, the Pareto set, and what could not be compared."""
    header = ["", "method", "id", "tokens", "latency ms", "gain", "accuracy", "drop pt"]
    eager = found.eager_torch is not None
    lines = [header + (["eager ms", "eager gain"] if eager else [])]
    shown = [one for one in [found.unreduced, *found.contenders] if _matters(one, found)]
    lines += [_cells(one, found, eager) for one in shown]
    text = aligned(lines)
    text += ["", "->  what the method's own selection chose    *  Pareto set of all methods    e  likewise in eager"]
    text += ["{}: not compared: {}".format(method, why) for method, why in found.not_compared.items()]
    text += ["eager latencies of {}: not to be quoted: {}".format(*doubted) for doubted in found.eager_doubt.items()]
    text += list(found.notes) + ["Device: {}.".format(found.device_id)]
    return "\n".join(text)


def _matters(one: Contender, found: Comparison) -> bool:
    """R = 0, the Pareto sets, what was chosen, and what was timed in eager."""
    named = one.name in found.pareto or one.name in found.eager_pareto
    return named or not one.row.removed or one.eager_ms is not None or found.chosen.get(one.method) == one.row.id


def _cells(one: Contender, found: Comparison, eager: bool) -> List[str]:
    row = one.row
    marks = ("->" if found.chosen.get(one.method) == row.id else "") + ("*" if one.name in found.pareto else "")
    cells = [
        marks + ("e" if one.name in found.eager_pareto else ""),
        one.method,
        row.id,
        str(row.tokens_after),
        _number(row.latency_ms, "{:.3f}"),
        _gain(row.latency_ms, found.unreduced.row.latency_ms),
        _number(row.accuracy, "{:.4f}"),
        _number(None if row.accuracy_drop is None else 100 * row.accuracy_drop, "{:+.2f}"),
    ]
    return cells + ([_number(one.eager_ms, "{:.3f}"), _gain(one.eager_ms, found.unreduced.eager_ms)] if eager else [])


def _number(value: Optional[float], form: str) -> str:
    return "" if value is None else form.format(value)


def _gain(value_ms: Optional[float], base_ms: Optional[float]) -> str:
    return "" if value_ms is None or not base_ms else "{:.1%}".format(1 - value_ms / base_ms)


def _eager(
    found: Optional[EagerLatencies], candidate_id: str, eager0: Optional[float]
) -> Tuple[Optional[float], Optional[Interval]]:
    """A candidate's eager latency, as if its R = 0 had been as fast as the comparison's."""
    if found is None or eager0 is None or candidate_id not in found.latency_ms:
        return None, None
    scale = eager0 / found.latency_ms["r000"]
    low, high = found.latency_ci_ms[candidate_id]
    return scale * found.latency_ms[candidate_id], (scale * low, scale * high)


def _interval0(eager: Dict[str, EagerLatencies]) -> Optional[Interval]:
    return next((found.latency_ci_ms["r000"] for found in eager.values()), None)


def _notes(selections: Dict[str, Selection]) -> List[str]:
    """Where methods do not stand on the same ground."""
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
