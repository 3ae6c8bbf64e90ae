"""The panels of a selection's figure: one quantity of all candidates against tokens, fewer tokens to the right.

Labels stand where no data can be: in a band above each panel's data, and in the right margin. Where labels of steps
would overlap, the largest drops keep theirs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from pomt_trt.core.records import ACCURACY_TITLES, Interval, Row, Selection
from pomt_trt.core.statistics.stability import QUOTABLE

# Okabe and Ito's palette, safe for colour-blind readers; grey for guides.
FRONT, OTHER, CHOSEN, PLAIN, HELP, FAINT = "#0072B2", "#8FB3CC", "#D55E00", "#333333", "#666666", "#D8D8D8"
LINE_PT = 11.5  # height of a line of label text
MIN_SPAN = 0.03  # of a scale, relative: smaller differences are noise and must not fill the panel
STEP_LINES = 3.1  # height of a step's label, in lines, at the top of the first panel


class Panel(NamedTuple):
    """One quantity against tokens."""

    name: str
    height: float  # inches
    value: Callable[[Row], float | None]
    interval: Callable[[Row], Interval | None]
    text: Callable[[float], str]  # a value as text
    least: float | None = None  # values below it are only pointed at
    allowed: tuple[float, str] | None = None  # the constraint: where, and its label


def panels_of(selection: Selection) -> list[Panel]:
    """Latency, and each other quantity that candidates besides R = 0 have."""
    alpha = selection.constraints.get("alpha")
    latency = Panel("latency (ms)", 3.0, lambda r: r.latency_ms, lambda r: r.latency_ci_ms, in_ms)
    utility = Panel(
        "utility" if alpha is None else f"utility (α = {alpha:g})",
        1.4,
        lambda r: r.utility,
        lambda r: None,
        "{:.3f}".format,
    )
    reduced = [row for row in selection.rows if row.removed]
    optional = [_accuracy_panel(selection), utility]
    return [latency] + [panel for panel in optional if any(panel.value(row) is not None for row in reduced)]


def _accuracy_panel(selection: Selection) -> Panel:
    """In percent. The scale ends far below the allowed drop, where nothing can be chosen."""
    top, most = selection.unreduced.accuracy, selection.constraints.get("max_accuracy_drop")
    least, allowed = None, None
    if top is not None and most is not None:
        chosen = top - (selection.chosen.accuracy if selection.chosen.accuracy is not None else top)
        least = 100 * (top - max(6 * most, 0.03, 2 * chosen))
        allowed = (100 * (top - most), f"allowed\n−{in_points(most)}")
    return Panel(kind(selection) + " (%)", 1.9, _percent, _percent_interval, "{:.1f} %".format, least, allowed)


def kind(selection: Selection) -> str:
    """The title of the accuracy's kind."""
    return ACCURACY_TITLES[selection.accuracy_kind]


def _percent(row: Row) -> float | None:
    return None if row.accuracy is None else 100 * row.accuracy


def _percent_interval(row: Row) -> Interval | None:
    """The interval of the paired drop, around the accuracy; the accuracy's own where there is none."""
    if row.accuracy is not None and row.accuracy_drop is not None and row.accuracy_drop_ci is not None:
        low, high = row.accuracy_drop_ci
        return (100 * (row.accuracy + row.accuracy_drop - high), 100 * (row.accuracy + row.accuracy_drop - low))
    return None if row.accuracy_ci is None else (100 * row.accuracy_ci[0], 100 * row.accuracy_ci[1])


def draw_panel(axes: Any, panel: Panel, selection: Selection, first: bool) -> None:
    """Draws one panel. The first also has room for the labels of steps, and shows failed candidates."""
    lines_above = STEP_LINES if first and selection.steps else 0.0
    low, high = _set_scales(axes, panel, selection, lines_above + 1.2)
    ends = 1 - lines_above * LINE_PT / (72 * panel.height)
    axes.set_ylabel(panel.name)
    for step in selection.steps:
        style = ":" if step.valley else "-"
        axes.axvline(step.edge_tokens, ymax=ends, color=FAINT, linewidth=1.0, linestyle=style, zorder=0)
    axes.axvline(selection.chosen.tokens_after, ymax=ends, color=CHOSEN, linewidth=1.2, alpha=0.55, zorder=1)
    _draw_plain(axes, panel, selection)
    _draw_candidates(axes, panel, selection, low, high)
    _draw_beyond(axes, panel, selection, low, high)
    if first:
        failed = [row.tokens_after for row in selection.rows if row.status == "failed"]
        axes.plot(failed, [0.035] * len(failed), "x", color=PLAIN, markersize=5, transform=axes.get_xaxis_transform())
    _draw_chosen(axes, panel, selection.chosen, high)


def _set_scales(axes: Any, panel: Panel, selection: Selection, lines_above: float) -> Interval:
    """Sets the limits of both axes. Returns the lowest and highest value that the panel shows.

    Unstable timings may be far off, so stable candidates and the chosen one decide the scale, unless most are unstable.
    """
    shown = [row for row in selection.rows if panel.value(row) is not None]
    trusted = [row for row in shown if stable(row)]
    if 2 * len(trusted) < len(shown):
        trusted = shown
    ends = [panel.value(row) for row in [*trusted, selection.chosen, selection.unreduced]]
    ends += [end for row in trusted for end in panel.interval(row) or ()]
    if panel.allowed:  # and room for its label
        level, top = panel.allowed[0], panel.value(selection.unreduced)
        ends.append(level - 0.3 * ((top or level) - level))
    shown_ends = [end for end in ends if end is not None and (panel.least is None or end >= panel.least)]
    low, high = min(shown_ends), max(shown_ends)
    pad = max(0.05 * (high - low), 0.5 * (MIN_SPAN * abs(high) - (high - low)), 1e-6)
    low, high = low - pad, high + pad
    foot = 0.07 * (high - low) if any(row.status == "failed" for row in selection.rows) else 0.0
    band = lines_above * LINE_PT / (72 * panel.height)
    axes.set_ylim(low - foot, low - foot + (high - low + foot) / (1 - band))
    axes.set_yticks([tick for tick in axes.get_yticks() if low - foot <= tick <= high])
    if "%" in panel.name:
        axes.set_yticks([tick for tick in axes.get_yticks() if tick <= 100])
    counts = [row.tokens_after for row in selection.rows]
    margin = 0.6 + 0.025 * (max(counts) - min(counts))
    axes.set_xlim(max(counts) + margin, min(counts) - margin)
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    return low, high


def _draw_plain(axes: Any, panel: Panel, selection: Selection) -> None:
    """Draws R = 0 and the constraint as horizontal lines, with labels in the right margin."""
    value = panel.value(selection.unreduced)
    if value is not None:
        axes.axhline(value, color=PLAIN, linewidth=0.9, linestyle=(0, (5, 3)), zorder=1)
        _margin_text(axes, value, f"R = 0\n{panel.text(value)}", PLAIN, "bottom")
    if panel.allowed:
        level, label = panel.allowed
        axes.axhspan(axes.get_ylim()[0], level, color="#F3F3F3", zorder=-1)
        axes.axhline(level, color=HELP, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
        _margin_text(axes, level, label, HELP, "top")


def _margin_text(axes: Any, level: float, text: str, color: str, vertical: str) -> None:
    axes.text(1.012, level, text, transform=axes.get_yaxis_transform(), color=color, va=vertical, fontsize=8.5)


def _draw_candidates(axes: Any, panel: Panel, selection: Selection, low: float, high: float) -> None:
    """Draws points with intervals. A line joins those of the grid but R = 0, which is another graph."""
    points = _points(panel, selection)
    size = next((size for most, size in ((40, 5.5), (90, 4.0), (200, 3.0)) if len(points) <= most), 2.2)
    line = [(row.tokens_after, y) for row, y in points if row.removed and row.schedule is None and stable(row)]
    axes.plot([x for x, _ in line], [y for _, y in line], color=OTHER, linewidth=0.9, zorder=2)
    for row, y in points:
        interval, x = panel.interval(row), row.tokens_after
        color = PLAIN if not row.removed else FRONT if row.id in selection.pareto else OTHER
        if interval is not None:
            ends = [min(max(end, low), high) for end in interval]
            axes.plot([x, x], ends, color=color, linewidth=0.9, alpha=0.6, zorder=3, solid_capstyle="butt")
        if low <= y <= high:
            shape = "s" if not row.removed else "o" if row.schedule is None else "D"
            grown = 1.3 if color == FRONT and row.removed else 1.0
            axes.plot([x], [y], shape, markersize=grown * size, color=color, **_fill(row, color), zorder=4 + grown)


def stable(row: Row) -> bool:
    """False where the timing of the row is not stable."""
    return row.verdict in QUOTABLE


def _fill(row: Row, color: str) -> dict[str, Any]:
    """Hollow where the latency was not stable."""
    return {"markerfacecolor": color if stable(row) else "white", "markeredgewidth": 0.4 if stable(row) else 1.1}


def _draw_beyond(axes: Any, panel: Panel, selection: Selection, low: float, high: float) -> None:
    """Points at values outside the scale. Where the scale was cut on purpose, names the lowest."""
    points = _points(panel, selection)
    below, above = [(r, v) for r, v in points if v < low], [(r, v) for r, v in points if v > high]
    for shape, edge, outside in (("v", low, below), ("^", high, above)):
        counts = [row.tokens_after for row, _ in outside]
        axes.plot(counts, [edge] * len(counts), shape, color=OTHER, markersize=4, zorder=5)
    if below and panel.least is not None:
        _margin_text(axes, low, f"down to\n{panel.text(min(value for _, value in below))}", HELP, "bottom")


def _points(panel: Panel, selection: Selection) -> list[tuple[Row, float]]:
    values = [(row, panel.value(row)) for row in selection.rows]
    return [(row, value) for row, value in values if value is not None]


def _draw_chosen(axes: Any, panel: Panel, chosen: Row, high: float) -> None:
    """Draws the chosen candidate's marker, and its label in the band above the data, where there is room."""
    value, x = panel.value(chosen), chosen.tokens_after
    if value is None:
        return
    left, right = axes.get_xlim()
    side = "right" if (left - x) > 0.72 * (left - right) else "left"
    axes.plot([x], [value], "o", markersize=7.5, color=CHOSEN, zorder=9, **_fill(chosen, CHOSEN))
    label = axes.annotate(f"{chosen.id}: {panel.text(value)}", (x, high), (-5 if side == "right" else 5, 1.5))
    label.set(color=CHOSEN, fontweight="bold", ha=side, va="bottom", zorder=10, anncoords="offset points")
    label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.0})


def add_removed_axis(axes: Any, selection: Selection) -> None:
    """Adds an axis above that counts removed tokens, by which candidates are named."""
    before = selection.unreduced.tokens_before
    above = axes.secondary_xaxis("top", functions=(lambda tokens: before - tokens, lambda removed: before - removed))
    above.set_xlabel("tokens removed (R)")
    above.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)


def label_steps(axes: Any, selection: Selection) -> None:
    """Writes count and drop above each edge while there is room, the chosen one and the largest drops first."""
    latency = {row.tokens_after: row.latency_ms for row in selection.rows if row.schedule is None}
    placed: list[Any] = []
    for step in sorted(selection.steps, key=lambda s: (s.edge_tokens != selection.chosen.tokens_after, -s.drop_ms)):
        before = latency.get(step.from_tokens)
        share = f"\n−{100 * step.drop_ms / before:.0f} %" if before else ""
        words = f"{step.edge_tokens}\n−{in_ms(step.drop_ms)}{share}"
        color = CHOSEN if step.edge_tokens == selection.chosen.tokens_after else HELP
        label = axes.annotate(words, (step.edge_tokens, 1), (0, -1), "axes fraction", "offset points")
        label.set(color=color, ha="center", va="top", fontsize=8, linespacing=1.1, zorder=8)
        label.xycoords = axes.get_xaxis_transform()
        box = label.get_window_extent(axes.figure.canvas.get_renderer())
        if any(box.padded(4).overlaps(other) for other in placed):
            label.remove()
        else:
            placed.append(box)


def in_points(fraction: float) -> str:
    """A difference of accuracies, such as '1 point'."""
    return f"{100 * fraction:g} point" + ("" if round(100 * fraction, 6) == 1 else "s")


def in_ms(value: float) -> str:
    """A latency with three digits, such as '7.10 ms'."""
    return f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"
