"""The picture of a comparison: a real PNG, a panel for engines, and one for eager where that was timed."""

import pytest
from PIL import Image

from pomt_trt.core.choice.comparison import compared
from pomt_trt.core.choice.rules import Goal
from pomt_trt.core.choice.selection import AccuracySource, select
from pomt_trt.core.records import EagerLatencies
from pomt_trt.report.comparison import draw, figure

pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'pomt-trt[report]'")
from tests.report.test_figure import row  # noqa: E402


def selection(scale, kind="top1"):
    rows = [row(r, latency_ms=(10 - 0.05 * r) * (scale if r else 1)) for r in (0, 20, 40, 60)]
    goal, accuracy = Goal("step", max_accuracy_drop=0.1), AccuracySource(kind, "host-fp32")
    return select(rows, goal, (), device_id="ort-any-2c", accuracy=accuracy)


EAGER = EagerLatencies("2.9", 2, "passive", {"r000": 20.0, "r040": 18.0}, {"r000": (19, 21), "r040": (17, 19)}, "")


def comparison(methods=("pomt", "topk"), eager=None, kind="top1"):
    chosen = {name: selection(1 + 0.05 * place, kind) for place, name in enumerate(methods)}
    return compared(chosen, eager or {}, {}, 1)


def test_engines_have_a_panel_and_eager_one_beside_it(tmp_path):
    assert len(figure(comparison(), title="t").axes) == 1
    both = figure(comparison(eager={"pomt": EAGER}), title="t")
    assert [axes.get_title(loc="left") for axes in both.axes] == ["engine, ort-any-2c", "PyTorch 2.9 eager"]
    draw(comparison(eager={"pomt": EAGER}), str(tmp_path / "c.png"), title="digits, batch 1")
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.size[0] > picture.size[1] > 800


def test_every_method_has_a_look_of_its_own():
    names = ("pomt", "topk", "tome", "ltmp", "cropr", "random", "pomt-shift")
    picture = figure(comparison(names), title="t")
    handles = picture.legends[0].legend_handles
    looks = {(h.get_color(), h.get_marker()) for h, text in zip(handles, picture.legends[0].get_texts())
             if text.get_text() in names}  # fmt: skip
    assert len(looks) == len(names)


@pytest.mark.parametrize("eager", [None, {"pomt": EAGER}])
def test_the_legend_fits_beside_one_panel_and_two(eager):
    picture = figure(comparison(("pomt", "topk", "tome", "ltmp", "cropr", "random"), eager), title="t")
    picture.canvas.draw()
    box, axis = picture.legends[0].get_window_extent(), picture.axes[0].xaxis.label.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= picture.bbox.width
    assert 0 <= box.y0 and box.y1 < axis.y0


def test_r_0_and_all_points_lie_where_they_were_measured():
    found = comparison()
    lines = figure(found, title="t").axes[0].lines
    drawn = {(line.get_xdata()[0], line.get_ydata()[0]) for line in lines if len(line.get_xdata()) == 1}
    assert {(one.row.latency_ms, 100 * one.row.accuracy) for one in [found.unreduced, *found.contenders]} <= drawn


def test_what_accuracy_means_stands_at_the_axis():
    assert figure(comparison(), title="t").axes[0].get_ylabel() == "top-1 (%)"
    assert figure(comparison(kind="agreement"), title="t").axes[0].get_ylabel() == "agreement with R = 0 (%)"


def test_a_title_with_dollars_is_text(tmp_path):
    draw(comparison(), str(tmp_path / "c.png"), title="local-dir:/a/$b$c")
