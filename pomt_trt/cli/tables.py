"""Records as text: a selection, the rows of a profile, an evaluation, a training, a survey of models."""

from collections import Counter
from typing import Dict, List, Optional, Sequence

from pomt_trt.core.records import (
    ACCURACY_TITLES,
    AccuracyEstimate,
    Energy,
    Interval,
    Row,
    Selection,
    SurveyedModel,
    Training,
)
from pomt_trt.core.statistics import stability
from pomt_trt.core.text_table import aligned

MOST_ROWS = 40  # a longer table keeps only the rows that `_shown` names, and prints how many it leaves out


def selection(chosen: Selection) -> str:
    """What was measured, the steps of the curve, which candidate won, and why the others did not."""
    parts = [_table(chosen), _schedules(chosen), _steps(chosen), _choice(chosen)]
    return "\n\n".join(part for part in parts if part)


def rows(listed: Sequence[Row], pace_fps: Optional[float] = None, energies: Optional[Dict[str, Energy]] = None) -> str:
    """A line for each candidate that has an engine or a reason for having none.

    Args:
        pace_fps: of their latencies, frames per second; None: back to back.
        energies: candidate -> energy of a run, where it was measured.
    """
    how = "" if pace_fps is None else ", " + stability.paced(pace_fps)
    lines = []
    for row in listed:
        parts = [row.id, "{} tokens".format(row.tokens_after)]
        if row.status == "failed":
            parts.append(row.why)
        elif row.latency_ms is not None:
            parts.append("{:.3f} ms {}".format(row.latency_ms, _interval(row.latency_ci_ms)))
        parts.append(row.verdict + how if row.verdict else row.status)
        if energies and row.id in energies:
            parts.append(stability.energy(energies[row.id]))
        lines.append("  ".join(parts))
    return "\n".join(lines)


def evaluation(engine: AccuracyEstimate, unreduced: AccuracyEstimate, host: Row, expected: Optional[bool]) -> str:
    """An engine's accuracy on images, beside the estimate of the workstation."""
    kind = ACCURACY_TITLES[engine.kind]
    lines = [
        "{} images, {}".format(engine.samples, kind),
        "engine {}  {:.2%}  {}".format(engine.candidate_id, engine.accuracy, _percents(engine.accuracy_ci)),
        "engine {}  {:.2%}  {}".format(unreduced.candidate_id, unreduced.accuracy, _percents(unreduced.accuracy_ci)),
        "drop         {:+.2f} points  {}".format(100 * engine.drop, _percents(engine.drop_ci)),
    ]
    for own, plain in zip(engine.others, unreduced.others):
        lines.append(
            "{}: {:.4g} (95 % interval {:.4g} to {:.4g}), {:.4g} of {}".format(
                ACCURACY_TITLES[own.kind],
                own.value,
                own.value_ci[0],
                own.value_ci[1],
                plain.value,
                unreduced.candidate_id,
            )
        )
    if expected is None or host.accuracy is None:
        lines.append("the host's estimate cannot be compared: there is none of this kind and on as many images")
    else:
        lines.append(
            "the host estimated {:.2%}: {}".format(host.accuracy, "as expected" if expected else "NOT as expected")
        )
    return "\n".join(lines)


def training(record: Training) -> str:
    """The epochs of a training, and the accuracies before and after."""
    lines = [
        "{} of {}: {} images, {} to validate ({})".format(
            record.method, record.model, record.images, record.validation_images, ACCURACY_TITLES[record.accuracy_kind]
        )
    ]
    for number, epoch in enumerate(record.epochs, start=1):
        losses = ", ".join("{} {:.4g}".format(name, value) for name, value in sorted(epoch.losses.items()))
        lines.append("epoch {:<3}  {}, validation {:.2%}".format(number, losses, epoch.accuracy))
    lines.append("validation with all tokens {:.2%}".format(record.unreduced_accuracy))
    lines.append("reduced, before training   {:.2%}".format(record.accuracy_before))
    lines.append("reduced, after training    {:.2%}".format(record.accuracy_after))
    return "\n".join(lines)


def _percents(interval: Interval) -> str:
    return "(95 % interval {:.2f} to {:.2f} %)".format(100 * interval[0], 100 * interval[1])


def _table(chosen: Selection) -> str:
    kind = ACCURACY_TITLES[chosen.accuracy_kind].replace(" with R = 0", "")
    header = ["", "tokens", "R", "latency ms", "95 % interval", "gain", kind, "drop pt", "utility", "why"]
    shown = _shown(chosen)
    text = aligned([header] + [_cells(row, chosen) for row in shown])
    left_out = len(chosen.rows) - len(shown)
    if left_out:
        text.append("({} more candidates are in the selection's JSON)".format(left_out))
    return "\n".join(text)


def _shown(chosen: Selection) -> Sequence[Row]:
    """Of a long table: the winner, R = 0, the Pareto set, edges of steps, failures and searched schedules."""
    if len(chosen.rows) <= MOST_ROWS:
        return chosen.rows
    edges = {step.edge_tokens for step in chosen.steps}
    best = {chosen.chosen.id, chosen.unreduced.id, *chosen.pareto}
    return [
        row
        for row in chosen.rows
        if row.id in best or row.tokens_after in edges or row.status == "failed" or row.schedule is not None
    ]


def _cells(row: Row, chosen: Selection) -> List[str]:
    mark = "->" if row.id == chosen.chosen.id else ("*" if row.id in chosen.pareto else "")
    base = chosen.unreduced.latency_ms
    gain = "" if row.latency_ms is None or not base else "{:.1%}".format(1 - row.latency_ms / base)
    unstable = "" if row.verdict in stability.QUOTABLE else " ({})".format(row.verdict)
    return [
        mark,
        str(row.tokens_after) + ("" if row.schedule is None else " " + row.id),
        str(row.removed),
        _number(row.latency_ms, "{:.3f}"),
        _interval(row.latency_ci_ms) + unstable,
        gain,
        _number(row.accuracy, "{:.4f}"),
        _number(None if row.accuracy_drop is None else 100 * row.accuracy_drop, "{:+.2f}"),
        _number(row.utility, "{:.4f}"),
        row.why,
    ]


def _schedules(chosen: Selection) -> str:
    """The tokens of each block, for candidates that the schedule search made."""
    searched = [(row.id, row.schedule) for row in chosen.rows if row.schedule is not None]
    if not searched:
        return ""
    lines = ["{}  {}".format(name, " ".join(str(count) for count in tokens)) for name, tokens in searched]
    return "\n  ".join(["Searched schedules, tokens entering each block and leaving the last:"] + lines)


def _steps(chosen: Selection) -> str:
    if not chosen.steps:
        return "No step in the latency curve is significant."
    lines = ["Steps of the latency curve:"]
    for step in chosen.steps:
        kind = "valley" if step.valley else "step"
        lines.append(
            "  {} at {} tokens (from {}): {:.3f} ms less, {} ms, p = {:.1e}".format(
                kind, step.edge_tokens, step.from_tokens, step.drop_ms, _interval(step.drop_ci_ms), step.p_value
            )
        )
    return "\n".join(lines)


def _choice(chosen: Selection) -> str:
    row, base = chosen.chosen, chosen.unreduced
    name = "R = 0, the unreduced model" if row.removed == 0 else "R = {}".format(row.removed)
    lines = [
        "Chosen by the rule {}: {}, {} tokens after the {} ({}).".format(
            chosen.rule_used, name, row.tokens_after, "cut" if row.schedule is None else "last block", row.id
        )
    ]
    if row.latency_ms and base.latency_ms and row.removed:
        lines.append(
            "  {:.3f} ms instead of {:.3f} ms: {:.1%} less.".format(
                row.latency_ms, base.latency_ms, 1 - row.latency_ms / base.latency_ms
            )
        )
    if row.accuracy_drop is not None and row.removed:
        kind = ACCURACY_TITLES[chosen.accuracy_kind]
        drop = "  {}: {:.2%}, {:+.2f} points lost".format(kind, row.accuracy or 0.0, 100 * row.accuracy_drop)
        if row.accuracy_drop_ci is not None:
            drop += " (95 % interval {:+.2f} to {:+.2f})".format(*(100 * value for value in row.accuracy_drop_ci))
        lines.append(drop + ".")
    lines += ["  " + note for note in chosen.notes]
    lines.append("  Device: {}.".format(chosen.device_id))
    return "\n".join(lines)


def _number(value: Optional[float], form: str) -> str:
    return "?" if value is None else form.format(value)


def _interval(interval: Optional[Interval]) -> str:
    return "" if interval is None else "{:.3f} .. {:.3f}".format(*interval)


def models(found: Sequence[SurveyedModel]) -> str:
    """A line for each model: the methods it takes, and the reasons against the others or against the model."""
    cells = [[one.name, "no: " + one.reason if one.reason else _taken(one)] for one in found]
    accepted = sum(one.reason is None for one in found)
    return "\n".join(aligned(cells) + ["{} of {} accepted".format(accepted, len(found))])


def _taken(one: SurveyedModel) -> str:
    """all; or the methods, and why not the others."""
    if not one.lacks:
        return "all methods"
    without: Dict[str, List[str]] = {}
    for method, why in one.lacks.items():
        without.setdefault(why, []).append(method)
    return (
        ", ".join(one.methods)
        + "; "
        + "; ".join("not {}: {}".format(", ".join(methods), why) for why, methods in without.items())
    )


def model_families(found: Sequence[SurveyedModel]) -> str:
    """A line for each file of timm with accepted models: how many, how many with all methods, the first reason why not.

    Files without one are counted together.
    """
    families: Dict[str, List[SurveyedModel]] = {}
    for one in found:
        families.setdefault(one.family, []).append(one)
    cells = [["file of timm", "names", "accepted", "all methods", "refused most often because"]]
    cells += [_family(name, of) for name, of in families.items() if any(one.reason is None for one in of)]
    others = [of for of in families.values() if all(one.reason for one in of)]
    if others:
        count = sum(len(of) for of in others)
        cells.append(["{} others".format(len(others)), str(count), "0", "0", "another structure"])
    cells.append(_family("all", found)[:4] + [""])
    return "\n".join(aligned(cells, right=(1, 2, 3)))


def _family(name: str, of: Sequence[SurveyedModel]) -> List[str]:
    accepted = [one for one in of if one.reason is None]
    reasons = Counter(one.reason for one in of if one.reason).most_common(1)
    counts = [len(of), len(accepted), sum(not one.lacks for one in accepted)]
    return [name, *(str(count) for count in counts), str(reasons[0][0]) if reasons else ""]
