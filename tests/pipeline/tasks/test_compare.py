"""pomt-trt compare on a tiny model: methods tied to one R = 0, eager beside the engines, bad input, and again."""

import json
import os
import shutil

import pytest

pytest.importorskip("torch", reason="compiles models, which belongs to the workstation")

from pomt_trt.core.records import Comparison  # noqa: E402
from pomt_trt.core.storage import store  # noqa: E402
from tests.compiled import TIMING, TOKENS, call, experiment, files  # noqa: E402

MODEL = [argument for argument in experiment() if argument not in ("--layer", "1")]


def command(work, methods, *more):
    return ["compare", *MODEL, *TOKENS, *TIMING, "--work", str(work), "--methods", methods, *more]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A folder in which two methods were compared, and a third could not be."""
    from pomt_trt.cli import main

    work = tmp_path_factory.mktemp("compare")
    assert main(command(work, "topk,foo,random", "--against", "none")) == 0
    return work


def latest(work):
    name = next(name for name in os.listdir(str(work)) if name.startswith("comparison-") and name.endswith(".json"))
    return store.read_record(os.path.join(str(work), name), Comparison).record


def test_methods_are_compiled_side_by_side_and_drawn(compared):
    found = latest(compared)
    assert {one.method for one in found.contenders} == {"topk", "random"}
    assert "there is no method 'foo'" in found.not_compared["foo"]
    assert os.path.isfile(os.path.join(str(compared), "comparison-{}.png".format(found.device_id)))
    for method in ("topk", "random"):
        assert [name for name in os.listdir(os.path.join(str(compared), method)) if name.startswith("bundle-")]


def test_all_methods_are_tied_to_one_profile_of_r_0(compared):
    device = latest(compared).device_id
    paths = [os.path.join(str(compared), method, "latency", device, "r000.json") for method in ("topk", "random")]
    assert os.path.samefile(*paths)
    weights = [os.path.join(str(compared), method, "engines", device, "weights.bin") for method in ("topk", "random")]
    assert len({store.sha256_of(path) for path in weights}) == 1 and not os.path.samefile(*weights)


def test_eager_is_timed_reduced_as_the_engines_are_and_once(compared, tmp_path, capsys, monkeypatch):
    from pomt_trt.pipeline.tasks import compare

    work = shutil.copytree(str(compared), str(tmp_path / "w"))
    monkeypatch.setattr(compare, "EAGER_S", 0.3)
    monkeypatch.setattr(compare, "EAGER_COUNTS", 1)  # each is a process with torch in it
    assert call(capsys, *command(work, "topk"))[0] == 0
    found = latest(work)
    assert found.eager_torch and found.unreduced.eager_ms > 0
    assert {one.name for one in found.contenders if one.eager_ms is not None} == {"topk r001"}
    monkeypatch.setattr(compare, "child_turns", None)  # no process is started
    assert call(capsys, *command(work, "topk"))[0] == 0 and latest(work) == found


@pytest.mark.parametrize(
    "count, timed", [(1, [0]), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (7, [0, 2, 4, 6]), (100, [0, 33, 66, 99])]
)
def test_of_many_candidates_four_are_timed_in_eager_the_ends_among_them(count, timed):
    from pomt_trt.pipeline.tasks import compare

    assert compare._spread([str(one) for one in range(count)]) == [str(one) for one in timed]


def test_the_same_command_again_measures_nothing_and_prints_the_record(compared, capsys):
    before = {method: files(os.path.join(str(compared), method)) for method in ("topk", "random")}
    code, out, _ = call(capsys, *command(compared, "topk,foo,random", "--against", "none", "--json"))
    printed = json.loads(out)
    assert code == 0 and printed["pareto"] and set(printed) == set(Comparison._fields)
    assert {method: files(os.path.join(str(compared), method)) for method in before} == before


def test_where_no_method_can_be_compiled_the_reason_is_the_error(tmp_path, capsys):
    code, _, err = call(capsys, *command(tmp_path, "foo"))
    assert code == 2 and "there is no method 'foo'" in err


def test_an_unknown_baseline_is_refused_before_any_work(tmp_path, capsys):
    code, _, err = call(capsys, *command(tmp_path / "w", "topk", "--against", "tflite"))
    assert code == 2 and "no baseline 'tflite'" in err and not (tmp_path / "w").exists()
