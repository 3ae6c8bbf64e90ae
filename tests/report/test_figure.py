"""The figure: a real PNG, with what was chosen, for every shape that a Selection can have."""

import sys

import numpy as np
import pytest
from PIL import Image

from pomt_trt.core.choice.rules import Goal
from pomt_trt.core.choice.selection import AccuracySource, select
from pomt_trt.core.errors import MissingDependency
from pomt_trt.core.records import Row, Step
from pomt_trt.report.figure import draw, figure

pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'pomt-trt[report]'")


def row(removed, **others):
    """A candidate of a 197-token model: slower and better with more tokens, a step of 0.5 ms past 141 tokens."""
    latency = 10 - 0.05 * removed - 0.5 * (removed >= 56)
    accuracy = 0.8 - 2e-5 * removed**2
    known = Row(
        f"r{removed:03d}",
        197,
        197 - removed,
        removed,
        latency_ms=latency,
        latency_ci_ms=(0.99 * latency, 1.01 * latency),
        accuracy=accuracy,
        accuracy_drop_ci=(0.79 - accuracy, 0.81 - accuracy),
        status="measured",
        verdict="stable",
    )
    return known._replace(**others)


FAILED = {"latency_ms": None, "latency_ci_ms": None, "status": "failed", "verdict": None}
GRID = [row(removed) for removed in range(0, 101, 4)]
STEPS = [Step(141, 145, 0.5, (0.4, 0.6), 1e-6)]


def selection(rows=None, steps=(), kind="top1", **others):
    goal = Goal(**{"rule": "step", "max_accuracy_drop": 0.1, **others})
    accuracy = AccuracySource(kind, "host-fp32")
    return select(GRID if rows is None else rows, goal, steps, device_id="ort-any-2c", accuracy=accuracy)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def titles(picture):
    return [text.get_text() for text in picture.texts]


def test_draws_a_png_that_is_not_blank(tmp_path):
    path = tmp_path / "selection.png"
    draw(selection(steps=STEPS), path, title="digits, $pomt$, batch 1")
    with Image.open(path) as image:
        assert image.format == "PNG" and image.width == 1720 and 1400 < image.height < 2400
        pixels = np.asarray(image.convert("RGB"), dtype=int)
    assert (pixels < 250).any(axis=2).mean() > 0.02
    orange = (abs(pixels - (0xD5, 0x5E, 0x00)) < 8).all(axis=2)
    assert orange.sum() > 500  # what was chosen
    assert [file.name for file in tmp_path.iterdir()] == ["selection.png"]


def test_marks_the_chosen_candidate_with_its_id_in_every_panel():
    picture = figure(selection(steps=STEPS), title="t")
    latency, accuracy, utility = picture.axes
    assert [axes.get_label() for axes in picture.axes] == ["latency (ms)", "top-1 (%)", "utility (α = 0.5)"]
    assert "r056: 6.70 ms" in texts(latency)
    assert "r056: 73.7 %" in texts(accuracy)
    assert any(text.startswith("r056: 0.") for text in texts(utility))
    assert "r056, 141 of 197 tokens, 6.70 ms: 1.49x as fast as R = 0, top-1 −6.27 points" in titles(picture)[1]


def test_names_steps_constraint_device_and_rule():
    picture = figure(selection(steps=STEPS), title="deit, batch 1")
    assert "141\n−0.50 ms\n−7 %" in texts(picture.axes[0])
    assert "allowed\n−10 points" in texts(picture.axes[1])
    title, _, details = titles(picture)
    assert title == "deit, batch 1"
    assert "ort-any-2c; rule step; accuracy drop at most 10 points" in details


def test_a_long_title_stays_on_the_sheet():
    picture = figure(selection(), title="local-dir:/data/" + "a_rather_long_folder_name/" * 5 + "model, batch 1, fp32")
    assert picture.texts[0].get_window_extent().x1 < picture.bbox.x1


def test_agreement_is_called_so():
    picture = figure(selection(kind="agreement"), title="t")
    assert picture.axes[1].get_label() == "agreement with R = 0 (%)"


def test_more_is_pruned_to_the_right():
    left, right = figure(selection(), title="t").axes[0].get_xlim()
    assert left > 197 and right < 97


def test_what_is_not_stable_is_hollow_and_does_not_set_the_scale():
    rows = [row(0), row(4, verdict="contended", latency_ms=9.7), row(8, verdict="throttled", latency_ms=90.0), row(12)]
    picture = figure(selection(rows), title="t")
    axes = picture.axes[0]
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white" and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in hollow] == [[193]]
    assert axes.get_ylim()[1] < 20
    assert [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "^"] == [[189]]
    assert "timing not stable" in [text.get_text() for text in picture.legends[0].get_texts()]


def test_where_nothing_measured_is_stable_the_scale_holds_all_of_it_however_much_was_not_built():
    unknown = {"latency_ms": None, "latency_ci_ms": None, "status": "not-built", "verdict": None}
    rows = [row(r, **({"verdict": "drifting"} if r % 20 == 0 else unknown)) for r in range(0, 101, 4)]
    low, high = figure(selection(rows), title="t").axes[0].get_ylim()
    assert low < row(100).latency_ms and row(0).latency_ms < high


def test_failed_candidates_are_crosses():
    rows = [row(0), row(4, **FAILED), row(8)]
    picture = figure(selection(rows), title="t")
    assert [list(line.get_xdata()) for line in picture.axes[0].lines if line.get_marker() == "x"] == [[193]]
    assert "failed" in [text.get_text() for text in picture.legends[0].get_texts()]


def test_far_below_the_allowed_drop_the_scale_ends_and_says_so():
    rows = GRID + [row(180, accuracy=0.0)]
    axes = figure(selection(rows, max_accuracy_drop=0.01), title="t").axes[1]
    assert axes.get_ylim()[0] > 70
    assert "down to\n0.0 %" in texts(axes)


def test_what_is_known_of_r0_alone_has_no_panel():
    unknown = {"accuracy": None, "accuracy_drop_ci": None}
    assert len(figure(selection([row(0), row(4, **unknown)]), title="t").axes) == 1


@pytest.mark.parametrize(
    "rows",
    [
        [row(0)],
        [row(0), row(56)],
        [row(0)] + [row(n, latency_ms=10.0, latency_ci_ms=None, accuracy=0.8, accuracy_drop_ci=None) for n in (4, 8)],
        [row(0), row(56), row(56, id="s1a2b3c")],
    ],
    ids=["R = 0 alone", "two", "all equal", "two of one count"],
)
def test_small_and_tied_selections_are_drawn(rows, tmp_path):
    path = tmp_path / "selection.png"
    draw(selection(rows), path, title="t")
    assert path.stat().st_size > 10000


def test_labels_of_many_steps_do_not_overlap():
    rows = [row(removed) for removed in range(150)]
    steps = [Step(count, count + 1, 0.1 + count / 1e4, (0.05, 0.2), 1e-6) for count in range(60, 190, 3)]
    axes = figure(selection(rows, steps), title="t").axes[0]
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) > 10
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_without_matplotlib_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependency, match=r"pip install 'pomt-trt\[report\]'"):
        draw(selection(), tmp_path / "selection.png", title="t")


def test_searched_schedules_are_diamonds_beside_the_curve():
    tokens = (197, 180, 141)
    searched = row(56, id="s3fa9c1", schedule=tokens, latency_ms=7.0, latency_ci_ms=(6.9, 7.1))
    picture = figure(selection([*GRID, searched]), title="t")
    latency = picture.axes[0]
    marks = [line for line in latency.lines if line.get_marker() == "D"]
    assert [(list(m.get_xdata()), list(m.get_ydata())) for m in marks] == [([141], [7.0])]
    curve = next(line for line in latency.lines if len(line.get_xdata()) == len(GRID) - 1)
    assert 7.0 not in list(curve.get_ydata())
    assert "searched schedule" in [text.get_text() for text in picture.legends[0].get_texts()]
    plain = figure(selection(), title="t")
    assert "searched schedule" not in [text.get_text() for text in plain.legends[0].get_texts()]
