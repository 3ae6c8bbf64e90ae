"""The figure of a Selection: latency, accuracy and utility against tokens, and the chosen candidate.

panels.py draws the panels; here is the sheet around them.
"""

import importlib
import io
import textwrap
from typing import Any

from pomt_trt.core.errors import MissingDependency
from pomt_trt.core.records import Selection
from pomt_trt.core.storage.store import write_bytes
from pomt_trt.report.panels import (
    CHOSEN,
    FRONT,
    HELP,
    OTHER,
    PLAIN,
    add_removed_axis,
    draw_panel,
    in_ms,
    in_points,
    kind,
    label_steps,
    panels_of,
    stable,
)

DOTS_PER_INCH = 200
WIDTH, LEFT, RIGHT = 8.6, 0.75, 1.0  # inches; the margins hold labels
FOOTER, GAP = 1.0, 0.13
STYLE = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": HELP,
    "axes.labelcolor": PLAIN,
    "xtick.color": HELP,
    "ytick.color": HELP,
    "axes.linewidth": 0.8,
}


def draw(selection: Selection, path: str, *, title: str) -> None:
    """Writes the figure to `path` as a PNG, whole or not at all.

    Raises: MissingDependency where matplotlib is not installed; WorkFolderUnusable where `path` cannot be written.
    """
    save(figure(selection, title=title), path)


def save(picture: Any, path: str) -> None:
    """Writes a matplotlib Figure to `path` as a PNG, whole or not at all."""
    data = io.BytesIO()
    with matplotlib_or_advice().rc_context(STYLE):
        picture.savefig(data, format="png", dpi=DOTS_PER_INCH)
    write_bytes(str(path), data.getvalue())


def blank(width: float, height: float) -> Any:
    """An empty matplotlib Figure, sizes in inches, for files and not for a screen."""
    picture = importlib.import_module("matplotlib.figure").Figure(figsize=(width, height))
    importlib.import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(picture)
    return picture


def figure(selection: Selection, *, title: str) -> Any:
    """The matplotlib Figure of a Selection: one panel for each quantity that candidates besides R = 0 have.

    Raises: MissingDependency where matplotlib is not installed.
    """
    matplotlib = matplotlib_or_advice()
    panels, words = panels_of(selection), _header_words(selection)
    header = 1.15 + 0.15 * len(words)
    height = header + FOOTER + sum(panel.height for panel in panels) + GAP * (len(panels) - 1)
    with matplotlib.rc_context(STYLE):
        picture, top, shared = blank(WIDTH, height), height - header, None
        for panel in panels:
            box = (LEFT / WIDTH, (top - panel.height) / height, 1 - (LEFT + RIGHT) / WIDTH, panel.height / height)
            axes = picture.add_axes(box, sharex=shared, label=panel.name)
            shared, top = shared or axes, top - panel.height - GAP
            draw_panel(axes, panel, selection, first=axes is shared)
            axes.tick_params(labelbottom=panel is panels[-1])
        axes.set_xlabel("tokens leaving the last block")
        add_removed_axis(shared, selection)
        label_steps(shared, selection)
        picture.align_ylabels()
        _header(picture, [title, _summary(selection), "\n".join(words)], height)
        _legend(picture, selection, height)
    return picture


def matplotlib_or_advice() -> Any:
    """The library. Raises: MissingDependency where it is not installed."""
    try:
        return importlib.import_module("matplotlib")
    except ImportError as error:
        raise MissingDependency(
            "matplotlib is not installed here, and the figure is drawn with it. Install it on the workstation with: "
            "pip install 'pomt-trt[report]'"
        ) from error


def _header(picture: Any, texts: list[str], height: float) -> None:
    """Title, summary and details, from the top."""
    shrunk = min(13, 870 / max(1, len(texts[0])))  # a long title must fit on the sheet
    sizes, colors, weights = (shrunk, 10, 8.5), (PLAIN, CHOSEN, HELP), ("bold", "normal", "normal")
    for text, down, size, color, weight in zip(texts, (0.12, 0.40, 0.63), sizes, colors, weights):
        place = (0.15 / WIDTH, 1 - down / height)
        picture.text(*place, text, va="top", fontsize=size, color=color, fontweight=weight, parse_math=False)


def _summary(selection: Selection) -> str:
    chosen, plain = selection.chosen, selection.unreduced
    if chosen.removed == 0:
        latency = "" if chosen.latency_ms is None else f", {in_ms(chosen.latency_ms)}"
        return f"Chosen: R = 0, the unreduced model with all its {chosen.tokens_before} tokens{latency}"
    words = f"Chosen: {chosen.id}, {chosen.tokens_after} of {chosen.tokens_before} tokens"
    if chosen.latency_ms and plain.latency_ms:
        words += f", {in_ms(chosen.latency_ms)}: {plain.latency_ms / chosen.latency_ms:.2f}x as fast as R = 0"
    if chosen.accuracy_drop is None:
        return words + ", accuracy not known"
    change = f"{0.0 - 100 * chosen.accuracy_drop:+.2f}".replace("-", "−")
    return words + f", {kind(selection).split()[0]} {change} points"


def _header_words(selection: Selection) -> list[str]:
    """Lines about device, rule and constraints."""
    used = "" if selection.rule_used == selection.rule else f", which acted as {selection.rule_used}"
    words = f"{selection.device_id}; rule {selection.rule}{used}"
    drop, latency = selection.constraints.get("max_accuracy_drop"), selection.constraints.get("max_latency_ms")
    words += "" if drop is None else f"; accuracy drop at most {in_points(drop)}"
    words += "" if latency is None else f"; latency at most {latency:g} ms"
    return textwrap.wrap(words, 120)


def _legend(picture: Any, selection: Selection, height: float) -> None:
    """Legend entries for what occurs in this figure."""
    line = importlib.import_module("matplotlib.lines").Line2D
    keys = [
        line([], [], label=label, **{"linestyle": "none", "markersize": 5.5, **style})
        for occurs, label, style in _legend_entries(selection)
        if occurs
    ]
    picture.legend(
        handles=keys,
        loc="lower center",
        bbox_to_anchor=(0.5, 0.08 / height),
        ncols=len(keys) if len(keys) <= 5 else (len(keys) + 1) // 2,
        frameon=False,
        fontsize=8.5,
        labelcolor=PLAIN,
        handletextpad=0.4,
        columnspacing=1.6,
    )


def _legend_entries(selection: Selection) -> list[tuple[bool, str, dict[str, Any]]]:
    """For each kind of mark: whether it occurs, its name and its style."""
    rows = [row for row in selection.rows if row.removed and row.id != selection.chosen.id]
    measured = [row for row in rows if row.latency_ms is not None or row.accuracy is not None]
    front = [row for row in measured if row.id in selection.pareto]
    paired = any(row.accuracy_drop_ci is not None for row in selection.rows if row.removed)
    interval = "95 % interval" + (" (accuracy: of the paired drop)" if paired else "")
    hollow = {"marker": "o", "color": HELP, "markerfacecolor": "white"}
    return [
        (True, "chosen", {"marker": "o", "color": CHOSEN, "markersize": 7.5}),
        (bool(front), "Pareto set", {"marker": "o", "color": FRONT}),
        (len(measured) > len(front), "other candidate", {"marker": "o", "color": OTHER}),
        (any(row.schedule for row in measured), "searched schedule", {"marker": "D", "color": OTHER}),
        (selection.chosen.removed > 0, "R = 0", {"marker": "s", "color": PLAIN}),
        (not all(map(stable, selection.rows)), "timing not stable", hollow),
        (any(row.status == "failed" for row in rows), "failed", {"marker": "x", "color": PLAIN}),
        (not all(step.valley for step in selection.steps), "edge of a step", {"linestyle": "-", "color": "#BBBBBB"}),
        (any(step.valley for step in selection.steps), "valley", {"linestyle": ":", "color": "#999999"}),
        (any(row.latency_ci_ms for row in selection.rows), interval, {"marker": "|", "color": HELP, "markersize": 10}),
    ]
