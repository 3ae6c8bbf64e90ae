"""Benchmarks start, and judge and draw what they are given; what they measure takes minutes and is not run here."""

import os
import re
import subprocess
import sys

import pytest
from PIL import Image

pytest.importorskip("torch", reason="benchmarks are run on the workstation")

from pomt_trt.device.timing.turns.child_turns import Ratio
from pomt_trt.host.training.dynamic import Counts
from scripts.benchmarks import draw_curves, engines, learned, repeat, schedule
from tests.paths import ROOT, TESTS

BENCH = os.path.join(ROOT, "scripts", "bench")


def listed():
    """The names that scripts/bench lists."""
    with open(BENCH) as file:
        return re.findall(r"^  scripts/bench (\w+)", file.read(), flags=re.M)


def test_each_name_that_the_script_lists_is_a_benchmark():
    own = {name[:-3] for name in os.listdir(os.path.dirname(engines.__file__)) if name.endswith(".py")}
    assert set(listed()) == (own | set(engines.BENCHMARKS)) - {"__main__", "engines"}


@pytest.mark.parametrize("name", ["eager", "search"])
def test_a_benchmark_starts_from_any_folder(name, tmp_path):
    done = subprocess.run([sys.executable, BENCH, name, "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "usage" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "interval, at_least, holds",
    [
        ((1.0, 1.04), False, "yes"),
        ((1.06, 1.1), False, "no"),
        ((1.0, 1.1), False, "open: the interval spans the bound"),
        ((1.06, 1.1), True, "yes"),
        ((1.0, 1.04), True, "no"),
    ],
)
def test_a_bound_holds_where_the_whole_interval_is_on_its_good_side(interval, at_least, holds):
    ratio = Ratio("slower", "faster", sum(interval) / 2, interval, None)
    assert engines.Number("", None, ratio, 1.05, at_least).holds == holds
    assert engines.Number("", None, ratio._replace(doubt="busy"), 1.05, at_least).holds == "not quotable: busy"


def test_a_repeated_compile_is_judged_by_its_spread_and_by_what_it_owns_up_to():
    quiet = [{"r000": (10.0, "stable")}, {"r000": (10.2, "stable")}]
    honest, silent = ([{"r000": (12.0, verdict)}] for verdict in ("contended", "stable"))
    assert repeat.judged("r000", quiet, honest)["holds"] and not repeat.judged("r000", quiet, silent)["holds"]
    assert not repeat.judged("r000", [*quiet, {"r000": (10.4, "stable")}], honest)["holds"]


def test_drawn_schedules_have_one_cut_to_one_in_every_block():
    counts = (17, 15, 12, 10, 8)
    found = schedule.drawn(counts, 4, 1, 20, seed=0)
    assert len(set(found)) == 20 and found == schedule.drawn(counts, 4, 1, 20, seed=0)
    assert {len(set(one.tokens)) - 1 for one in found} == {1, 2, 3, 4}
    assert len(schedule.drawn((17, 8), 2, 1, 20, seed=0)) == 2, "there are no more"
    assert all(one.tokens[0] == 17 and set(one.tokens) <= set(counts) for one in found)


def test_what_learned_methods_are_compared_with_costs_as_much():
    assert learned.bisected(lambda x: x * x, 0.0, 1.0, 0.25) == pytest.approx(0.5, abs=1e-3)
    assert learned.constant_merges(5, 3, 16) == [Counts(5, 0), Counts(5, 0), Counts(3, 0)]


def test_recorded_curves_are_drawn(tmp_path):
    curves = os.path.join(TESTS, "data", "curves")
    paths = [os.path.join(curves, name) for name in sorted(os.listdir(curves)) if name.endswith(".json.gz")][:2]
    draw_curves.main([*paths, "--out", str(tmp_path / "curves.png"), "--caption", "no board"])
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width > picture.height > 300
