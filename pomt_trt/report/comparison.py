"""The figure of a Comparison: accuracy against latency of every method, as engines and in PyTorch eager."""

import importlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from pomt_trt.core.choice.comparison import UNREDUCED
from pomt_trt.core.records import ACCURACY_TITLES, Comparison, Contender
from pomt_trt.report.figure import STYLE, blank, matplotlib_or_advice, save
from pomt_trt.report.panels import HELP, PLAIN, in_ms, stable

# Okabe and Ito's palette is safe for colour-blind readers; markers serve prints without colour
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#777777", "#8C6D1F")
LOOKS = list(zip(COLOURS, "os^DvPX<"))
PANEL_INCHES, SIDE_INCHES, HEIGHT_INCHES = 4.6, 1.0, 4.6  # the height without its legend
LEGEND_ROW_INCHES, LEGEND_COLUMNS = 0.2, 3  # columns for each panel


class Panel(NamedTuple):
    """Engines, or PyTorch eager."""

    name: str
    latency: Callable[[Contender], float | None]
    front: tuple[str, ...]  # names on its Pareto set
    trusted: Callable[[Contender], bool]  # whether its latency may be quoted


def draw(comparison: Comparison, path: str, *, title: str) -> None:
    """Writes the figure to `path` as a PNG, whole or not at all.

    Raises: MissingDependency where matplotlib is not installed; WorkFolderUnusable where `path` cannot be written.
    """
    save(figure(comparison, title=title), path)


def figure(comparison: Comparison, *, title: str) -> Any:
    """The matplotlib Figure of a Comparison: a panel for engines and, where it was timed, one for eager.

    Raises: MissingDependency where matplotlib is not installed.
    """
    matplotlib = matplotlib_or_advice()
    panels = _panels(comparison)
    with matplotlib.rc_context(STYLE):
        handles = _handles(comparison)
        columns = min(LEGEND_COLUMNS * len(panels), len(handles))
        legend_inches = LEGEND_ROW_INCHES * math.ceil(len(handles) / columns)
        size = (SIDE_INCHES + PANEL_INCHES * len(panels), HEIGHT_INCHES + legend_inches)
        picture = blank(*size)
        all_axes = picture.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, panel in zip(all_axes, panels):
            _draw_panel(axes, comparison, panel)
            axes.set_title(panel.name, fontsize=9, color=HELP, loc="left")
            axes.set_xlabel("latency (ms)")
        all_axes[0].set_ylabel(ACCURACY_TITLES[comparison.accuracy_kind] + " (%)")
        picture.suptitle(title, x=0.02, ha="left", fontsize=12, fontweight="bold", color=PLAIN, parse_math=False)
        place = {"loc": "lower center", "bbox_to_anchor": (0.5, 0.005), "ncols": columns}
        picture.legend(handles=handles, frameon=False, fontsize=8.5, labelcolor=PLAIN, **place)
        margins = {"left": 0.8 / size[0], "right": 1 - 0.2 / size[0], "bottom": (0.775 + legend_inches) / size[1]}
        picture.subplots_adjust(top=0.86, wspace=0.08, **margins)
    return picture


def _panels(comparison: Comparison) -> list[Panel]:
    name = f"engine, {comparison.device_id}"
    panels = [Panel(name, lambda one: one.row.latency_ms, comparison.pareto, lambda one: stable(one.row))]
    if comparison.eager_torch is not None:
        name, doubt = f"PyTorch {comparison.eager_torch} eager", comparison.eager_doubt
        panels.append(
            Panel(name, lambda one: one.eager_ms, comparison.eager_pareto, lambda one: one.method not in doubt)
        )
    return panels


def _draw_panel(axes: Any, comparison: Comparison, panel: Panel) -> None:
    """Draws every method's points, R = 0, and behind them the Pareto set of all as a stepped line."""
    latency = panel.latency
    by_name = {one.name: one for one in [comparison.unreduced, *comparison.contenders]}
    ends = [(latency(by_name[name]) or 0.0, _percent(by_name[name])) for name in panel.front]
    axes.step([x for x, _ in ends], [y for _, y in ends], where="post", color="#BBBBBB", linewidth=5, zorder=1)
    for method, (color, marker) in _looks(comparison).items():
        shown = [one for one in comparison.contenders if one.method == method and latency(one) is not None]
        shown.sort(key=lambda one: -one.row.tokens_after)
        xs, ys = [latency(one) for one in shown], [_percent(one) for one in shown]
        axes.plot(xs, ys, color=color, linewidth=0.8, alpha=0.5, zorder=2)
        for one, x, y in zip(shown, xs, ys):
            fill = color if panel.trusted(one) else "white"
            axes.plot([x], [y], marker, color=color, markersize=4.5, markerfacecolor=fill, zorder=3)
            if comparison.chosen.get(method) == one.row.id:
                axes.plot([x], [y], marker, color=color, markersize=10, markerfacecolor="none", zorder=4)
    x0, y0 = latency(comparison.unreduced), _percent(comparison.unreduced)
    if x0 is not None and y0 is not None:
        axes.plot([x0], [y0], "*", color=PLAIN, markersize=12, zorder=5)
        axes.axhline(y0, color=PLAIN, linewidth=0.7, linestyle=(0, (5, 3)), zorder=0)
        axes.annotate(f"R = 0: {in_ms(x0)}", (x0, y0), (-4, 7), textcoords="offset points", ha="right", fontsize=8.5)


def _percent(one: Contender) -> float | None:
    return None if one.row.accuracy is None else 100 * one.row.accuracy


def _looks(comparison: Comparison) -> dict[str, tuple[str, str]]:
    methods = list(dict.fromkeys(one.method for one in comparison.contenders))
    return {method: LOOKS[position % len(LOOKS)] for position, method in enumerate(methods)}


def _handles(comparison: Comparison) -> list[Any]:
    """Legend entries for what occurs in this figure."""
    line = importlib.import_module("matplotlib.lines").Line2D
    entries: list[tuple[str, dict[str, Any]]] = [
        (method, {"color": color, "marker": marker, "linewidth": 0.8})
        for method, (color, marker) in _looks(comparison).items()
    ]
    entries.append(("R = 0", {"color": PLAIN, "marker": "*", "linestyle": "none", "markersize": 10}))
    if any(chosen != "r000" for method, chosen in comparison.chosen.items() if method != UNREDUCED):
        ring = {"marker": "o", "markersize": 9, "markerfacecolor": "none"}
        entries.append(("chosen by its own selection", {"color": HELP, "linestyle": "none", **ring}))
    trusted = [panel.trusted(one) for panel in _panels(comparison) for one in comparison.contenders]
    if not all(trusted):
        entries.append(("timing not stable", {"color": HELP, "linestyle": "none", "marker": "o", "mfc": "white"}))
    entries.append(("Pareto set of all methods", {"color": "#BBBBBB", "linewidth": 5}))
    return [line([], [], label=label, **style) for label, style in entries]
