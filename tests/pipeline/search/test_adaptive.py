"""compile --search adaptive, whole: batches in one call, an end in time, and what the selection says of it."""

import json

import pytest

pytest.importorskip("torch", reason="compiles a model, which belongs to the workstation")

from pomt_trt.core.search.pace import Pace  # noqa: E402
from pomt_trt.pipeline.search import adaptive  # noqa: E402
from tests import compiled  # noqa: E402


def compile_adaptively(capsys, work, *more):
    """The selection that the command prints."""
    command = compiled.compile_command(work, "--search", "adaptive", "--tokens", "16:5:1", "--json", *more)
    code, out, err = compiled.call(capsys, *command)
    assert code == 0, err
    return json.loads(out)


@pytest.fixture
def calls(monkeypatch):
    """(the action's name, how many candidates) of each call that times engines."""
    made, profile = [], adaptive.profiling.profile

    def noted(engines, candidates, progress, *more):
        made.append((more[0].name if more else "TIME", len(candidates)))
        profile(engines, candidates, progress, *more)

    monkeypatch.setattr(adaptive.profiling, "profile", noted)
    return made


@pytest.fixture
def unhurried(monkeypatch):
    """So small a model takes no time, and the search would end when it pleases."""
    monkeypatch.setattr(Pace, "allows", lambda *any_batch: True)


def test_a_batch_is_measured_in_one_call_and_a_candidate_timed_again_once(capsys, tmp_path, unhurried, calls):
    chosen = compile_adaptively(capsys, tmp_path / "w", "--max-accuracy-drop", "100")
    searched = [call for call in calls if call[1]]
    assert searched[0][1] >= 3, "R = 0 and the ends of the curve are timed beside one another"
    times = [count for action, count in searched if action == "TIME"]
    measured = [row for row in chosen["rows"] if row["status"] == "measured"]
    assert sum(times) == len(measured) < 13
    assert sum(count for action, count in searched if action == "RETIME") <= len(measured) - 1
    assert any("no unmeasured count can beat the best" in note for note in chosen["notes"])


def test_the_search_ends_before_it_takes_longer_than_the_exhaustive_one(capsys, tmp_path, monkeypatch, calls):
    monkeypatch.setattr(Pace, "allows", lambda pace, batch, counts, accuracies: pace.exhaustive_s(1, False) > 1e9)
    chosen = compile_adaptively(capsys, tmp_path / "w", "--rule", "utility", "--max-accuracy-drop", "100")
    assert len([call for call in calls if call[1]]) == 1, "nothing is measured after the first builds"
    notes = " ".join(chosen["notes"])
    assert "the search ended since the exhaustive search would be done before the next measurements" in notes


def test_a_search_that_was_done_measures_nothing_again(capsys, tmp_path, unhurried, calls):
    first = compile_adaptively(capsys, tmp_path / "w")
    del calls[:]
    again = compile_adaptively(capsys, tmp_path / "w")
    assert not [call for call in calls if call[1] and call[0] == "TIME"]
    assert again["chosen"] == first["chosen"]
