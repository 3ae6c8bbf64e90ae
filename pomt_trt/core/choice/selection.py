"""Makes a Selection: utilities, Pareto set, and for every candidate why it was or was not chosen.

U = alpha (1 - L / L0) + (1 - alpha) A / A0, where L and A are latency and accuracy, and L0 and A0 those of R = 0.
Source: Eliopoulos et al., Pruning One More Token is Enough, arXiv 2407.05941, which divides by maxima instead.
"""

import math
from typing import List, NamedTuple, Optional, Sequence, Tuple

from pomt_trt.core.choice.rules import (
    RULES,
    Decision,
    Entry,
    Goal,
    Problem,
    broken_constraint,
    decide,
    loses_too_much,
    short_list,
)
from pomt_trt.core.errors import InputError, UsageError
from pomt_trt.core.records import Interval, Row, Selection, Step
from pomt_trt.core.statistics.stability import QUOTABLE

# verdict of a latency profile -> how to get a better one; for any other: on a quieter machine
REMEDIES = {
    "floating": "under locked clocks: jetson/with_clocks pomt-trt profile WORK",
    "throttled": "with better cooling or a stronger power supply, or in a power mode of fewer watts",
}


class Unreduced(NamedTuple):
    """The numbers of R = 0, to which everything is relative."""

    latency_ms: float
    latency_ci_ms: Interval
    accuracy: float


class AccuracySource(NamedTuple):
    """Where accuracies come from."""

    kind: str  # top1, agreement, miou or pixel-agreement
    source: str  # such as host-fp32
    images: Optional[int] = None


def select(
    rows: Sequence[Row], goal: Goal, steps: Sequence[Step], *, device_id: str, accuracy: AccuracySource
) -> Selection:
    """The Selection for a goal. The order of the rows does not matter.

    Args:
        rows: every candidate, R = 0 among them. A row with status measured, a latency and an accuracy can be chosen.
            utility, accuracy_drop and why are filled in.
        steps: the significant steps, as find_steps gives them.
    Raises: UsageError for an unknown rule or alpha; InputError where R = 0 has no numbers; ConstraintUnmet where no
        candidate meets the constraints.
    """
    _check(goal.rule, goal.alpha)
    ordered = sorted(rows, key=lambda row: (-row.tokens_after, row.id))
    zero = _unreduced_of(ordered)
    filled = [_with_utility(row, zero, goal.alpha) for row in ordered]
    entries = tuple(entry for entry in (_entry(row, zero, goal.alpha) for row in filled) if entry)
    unreduced = next(entry for entry in entries if entry.removed == 0)
    problem = Problem(entries, unreduced, {step.edge_tokens: step for step in steps}, goal)
    decision = decide(problem)
    entry_of = {entry.id: entry for entry in entries}
    explained = [row._replace(why=_why(row, entry_of.get(row.id), decision, problem)) for row in filled]
    by_id = {row.id: row for row in explained}
    chosen = by_id[decision.winner.id]
    return Selection(
        rule=goal.rule,
        rule_used=decision.rule_used,
        device_id=device_id,
        accuracy_kind=accuracy.kind,
        accuracy_source=accuracy.source,
        constraints={
            "alpha": goal.alpha,
            "max_accuracy_drop": goal.max_accuracy_drop,
            "max_latency_ms": goal.max_latency_ms,
            "min_gain": goal.min_gain,
        },
        unreduced=by_id[unreduced.id],
        chosen=chosen,
        steps=tuple(sorted(steps, key=lambda step: -step.edge_tokens)),
        rows=tuple(explained),
        pareto=pareto(entries),
        notes=decision.notes + tuple(_remarks(explained, chosen, goal.max_accuracy_drop)),
        accuracy_images=accuracy.images,
    )


def utility(latency_ms: float, accuracy: float, latency0_ms: float, accuracy0: float, alpha: float) -> float:
    """The formula above; A / A0 is 1 where A0 is 0."""
    relative = accuracy / accuracy0 if accuracy0 > 0 else 1.0
    return alpha * (1 - latency_ms / latency0_ms) + (1 - alpha) * relative


def _unreduced_of(rows: Sequence[Row]) -> Unreduced:
    """The numbers of R = 0.

    Raises: InputError where they are missing.
    """
    for row in rows:
        if row.removed == 0 and row.status == "measured" and row.latency_ms is not None and row.accuracy is not None:
            return Unreduced(row.latency_ms, row.latency_ci_ms or (row.latency_ms, row.latency_ms), row.accuracy)
    raise InputError("R = 0 has no latency or no accuracy, and everything is compared with it. Profile it first.")


def _with_utility(row: Row, zero: Unreduced, alpha: float) -> Row:
    """The row with its accuracy drop and utility, where its numbers are known."""
    if row.accuracy is None:
        return row
    drop = row.accuracy_drop if row.accuracy_drop is not None else zero.accuracy - row.accuracy
    if row.latency_ms is None or row.status != "measured":
        return row._replace(accuracy_drop=drop)
    value = utility(row.latency_ms, row.accuracy, zero.latency_ms, zero.accuracy, alpha)
    return row._replace(accuracy_drop=drop, utility=value)


def pareto(entries: Sequence[Entry]) -> Tuple[str, ...]:
    """Ids of the Pareto set in latency and accuracy, by descending tokens."""
    front, best = [], -math.inf
    for entry in sorted(entries, key=lambda e: (e.latency_ms, -e.accuracy, -e.tokens)):
        if entry.accuracy > best:
            best = entry.accuracy
            front.append(entry)
    return tuple(entry.id for entry in sorted(front, key=lambda e: -e.tokens))


def _check(rule: str, alpha: float) -> None:
    if rule not in RULES:
        raise UsageError("there is no rule '{}'. Choose --rule from {}.".format(rule, ", ".join(RULES)))
    if not 0 <= alpha <= 1:
        raise UsageError("alpha is {}, but a weight lies from 0 to 1. Choose --alpha in between.".format(alpha))


def _entry(row: Row, zero: Unreduced, alpha: float) -> Optional[Entry]:
    """The row as the rules need it, or None where a number is missing."""
    if row.status != "measured" or row.latency_ms is None or row.accuracy is None:
        return None
    drop = row.accuracy_drop if row.accuracy_drop is not None else zero.accuracy - row.accuracy
    # R = 0 is the unit, without an error of its own: its interval is that of the machine's speed.
    latency_ci = row.latency_ci_ms if row.latency_ci_ms and row.removed else (row.latency_ms, row.latency_ms)
    drop_ci = row.accuracy_drop_ci or (drop, drop)
    best_accuracy, worst_accuracy = row.accuracy + (drop - drop_ci[0]), row.accuracy - (drop_ci[1] - drop)
    value = utility(row.latency_ms, row.accuracy, zero.latency_ms, zero.accuracy, alpha)
    worst = utility(latency_ci[1], worst_accuracy, zero.latency_ms, zero.accuracy, alpha)
    best = utility(latency_ci[0], best_accuracy, zero.latency_ms, zero.accuracy, alpha)
    return Entry(
        id=row.id,
        tokens=row.tokens_after,
        removed=row.removed,
        latency_ms=row.latency_ms,
        latency_ci_ms=latency_ci,
        accuracy=row.accuracy,
        drop=drop,
        drop_ci=drop_ci,
        utility=value,
        utility_ci=(worst, best),
        searched=row.schedule is not None,
    )


def _why(row: Row, entry: Optional[Entry], decision: Decision, problem: Problem) -> str:
    if entry is None:
        return row.why or _why_unknown(row)
    if entry is decision.winner:
        return "chosen: " + decision.reason
    return broken_constraint(entry, problem) or decision.against(entry)


def _why_unknown(row: Row) -> str:
    if row.status == "measured":
        return "its accuracy was not estimated: it could not change the choice"
    return {
        "not-built": "not built: it could not change the choice",
        "over-budget": "not built: the budget was spent",
        "failed": "no engine could be built or timed",
    }.get(row.status, row.status)


def _is_doubtful(row: Row, chosen: Row, max_accuracy_drop: Optional[float]) -> bool:
    """Whether the timing of a row was disturbed, and a better one could change the choice."""
    if row.verdict in QUOTABLE or row is chosen:
        return row.verdict not in QUOTABLE
    if loses_too_much(row.accuracy_drop, max_accuracy_drop) or not row.removed:
        return False
    if row.latency_ci_ms is None or chosen.latency_ms is None:
        return False
    return row.latency_ci_ms[0] < chosen.latency_ms


def _remarks(rows: Sequence[Row], chosen: Row, max_accuracy_drop: Optional[float]) -> List[str]:
    remarks = []
    interval = chosen.accuracy_drop_ci if chosen.removed else None  # R = 0 loses nothing against itself
    if max_accuracy_drop is not None and interval is not None and interval[1] > max_accuracy_drop:
        remarks.append(
            "the accuracy drop of {} may be as large as {:.2f} points (upper end of its 95 % interval)".format(
                chosen.id, 100 * interval[1]
            )
        )
    doubtful = [row for row in rows if _is_doubtful(row, chosen, max_accuracy_drop)]
    if doubtful:
        verdict = chosen.verdict if chosen in doubtful else doubtful[0].verdict
        text = "latencies that decide the choice are {} ({}): profile again {}"
        remedy = REMEDIES.get(verdict or "", "on a quieter machine")
        remarks.append(text.format(verdict, short_list([row.id for row in doubtful]), remedy))
    unreduced = next(row for row in rows if row.removed == 0)
    if unreduced.verdict == "contended" and chosen.verdict in QUOTABLE and unreduced.latency_ci_ms is not None:
        text = "milliseconds are uncertain, gains are not: R = 0 took {:.3g} to {:.3g} ms, as the machine changed speed"
        remarks.append(text.format(*unreduced.latency_ci_ms))
    for status, text in (("failed", "{} candidates failed"), ("over-budget", "{} candidates are beyond the budget")):
        count = sum(row.status == status for row in rows)
        if count:
            remarks.append(text.format(count) + " and could not be chosen")
    return remarks
