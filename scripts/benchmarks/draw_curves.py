"""Draws recorded latency curves, a panel each: every count's samples (tenth to ninetieth percentile) and their median.

usage: scripts/bench draw_curves --out PNG [--caption TEXT] CURVE.json[.gz]...
"""

import argparse
import math
from pathlib import Path

import matplotlib
import numpy as np

from pomt_trt.core.search.curve import Curve, read_curve
from pomt_trt.report.figure import STYLE, save

COLUMNS = 3
PANEL_INCHES = (3.6, 2.6)


def panel(axes, curve: Curve, name: str) -> None:
    """R = 0 apart: no method runs in it, so it is no point of the curve."""
    first, *rest = curve.points
    low, middle, high = np.array([np.percentile(point.latency_ms, (10, 50, 90)) for point in rest]).T
    tokens = [point.tokens for point in rest]
    axes.fill_between(tokens, low, high, color="#0072B2", alpha=0.25, linewidth=0)
    axes.plot(tokens, middle, color="#0072B2", linewidth=1)
    axes.plot(first.tokens, np.median(first.latency_ms), "s", color="#D55E00", markersize=4, label="R = 0")
    axes.set_title(name)
    axes.set_ylim(bottom=0)
    axes.invert_xaxis()
    axes.legend(loc="lower left", frameon=False)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", nargs="+", type=Path, metavar="CURVE", help="that report or gpu_curves wrote")
    parser.add_argument("--out", required=True, help="the picture, a PNG")
    parser.add_argument("--caption", default="", help="what must not be misunderstood")
    arguments = parser.parse_args(argv)
    matplotlib.use("Agg")
    from matplotlib import pyplot

    count = len(arguments.curves)
    columns, rows = min(COLUMNS, count), math.ceil(count / COLUMNS)
    with matplotlib.rc_context(STYLE):
        size = (columns * PANEL_INCHES[0], rows * PANEL_INCHES[1])
        picture, grid = pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
        for axes, path in zip(grid.flat, arguments.curves, strict=False):
            panel(axes, read_curve(str(path)), path.name.split(".")[0])
        for axes in grid.flat[count:]:
            axes.set_visible(False)
        picture.supxlabel("tokens after the cut" + (f"\n{arguments.caption}" if arguments.caption else ""))
        picture.supylabel("latency, ms")
    save(picture, arguments.out)
