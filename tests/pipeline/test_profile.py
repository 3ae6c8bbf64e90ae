"""What a board adds to profiles: taken again once its clocks are locked, and the energy of a run."""

import glob
import json
import os

import pytest

pytest.importorskip("torch", reason="compiles a model, which belongs to the workstation")

from pomt_trt import cli  # noqa: E402
from pomt_trt.core.records import LatencyProfile  # noqa: E402
from pomt_trt.core.storage import store  # noqa: E402
from pomt_trt.device.board import energy, sensors  # noqa: E402
from pomt_trt.device.timing import profiling  # noqa: E402
from pomt_trt.pipeline import run_stages  # noqa: E402
from tests import compiled  # noqa: E402
from tests.device.board.test_energy import Here  # noqa: E402
from tests.device.boards import tree  # noqa: E402

FLOATING, LOCKED = "agx-orin-jetpack-6.2", "agx-xavier-jetpack-5.1.2"
READ = sensors.read


def profile_again(work, monkeypatch, board):
    """Runs the command on a board; the profiles that it took, by their ids. Nothing else is taken to be disturbed."""
    monkeypatch.setattr(run_stages, "refine", lambda *_, **__: None)
    monkeypatch.setattr(sensors, "read", lambda root=None: READ(tree(board)))
    before = times(work)
    arguments = ["profile", work, "--search", "exhaustive", *compiled.TIMING]
    assert cli.main(arguments) == 0
    return sorted(name for name, time in times(work).items() if before.get(name) != time)


def times(work):
    """What was timed. Other candidates' latencies may change with it: all are estimated together."""
    read = {os.path.basename(path)[:4]: store.read_record(path, LatencyProfile).record for path in profiles(work)}
    return {name: (profile.rounds_ms, profile.cpu_ms) for name, profile in read.items()}


def profiles(work):
    return glob.glob(os.path.join(work, "latency", "*", "r???.json"))


def called(work, verdict, *names):
    """Gives profiles this verdict."""
    for path in profiles(work):
        if os.path.basename(path)[:4] in names:
            stored = store.read_record(path, LatencyProfile)
            seen = {"floating": {"clocks": sensors.FLOATING}, "throttled": {"clock_ratio": 0.5}}.get(verdict, {})
            made = stored.record._replace(verdict=verdict, contention=dict(stored.record.contention, **seen))
            store.write_record(path, made, stored.inputs)


@pytest.mark.parametrize("verdict", ["floating", "throttled"])
def test_it_is_taken_again_once_clocks_are_locked(work, monkeypatch, verdict):
    called(work, verdict, "r005")
    assert "r005" not in profile_again(work, monkeypatch, FLOATING)
    assert "r005" in profile_again(work, monkeypatch, LOCKED)


def test_where_it_is_that_of_r0_all_are_since_they_are_tied_to_it(work, monkeypatch):
    called(work, "floating", "r000", "r001")
    assert profile_again(work, monkeypatch, LOCKED) == compiled.CANDIDATES


@pytest.mark.parametrize("verdict", ["contended", "drifting", "stable"])
def test_what_locked_clocks_would_not_change_is_left(work, monkeypatch, verdict):
    called(work, verdict, *compiled.CANDIDATES)
    assert profile_again(work, monkeypatch, LOCKED) == []


def test_a_machine_whose_clocks_cannot_be_told_takes_nothing_again(work, monkeypatch):
    called(work, "floating", *compiled.CANDIDATES)
    assert profile_again(work, monkeypatch, "no board") == []


def meter(monkeypatch, watts):
    """A board that draws so much, and a short look at it; workers' work is done in this process."""
    monkeypatch.setattr(sensors, "power_meter", lambda: None if watts is None else lambda: watts)
    monkeypatch.setattr(profiling, "Worker", Here)
    for name in ("STEP_S", "SETTLE_S", "BLOCK_S"):
        monkeypatch.setattr(energy, name, 0.004)
    monkeypatch.setattr(energy, "BLOCK_S", 0.04)


def test_profile_adds_energy_to_what_it_prints_where_it_is_asked_for(work, monkeypatch, capsys):
    meter(monkeypatch, 5.0)
    command = ["profile", work, "--only", "r005", "--energy", *compiled.TIMING]
    code, out, _ = compiled.call(capsys, *command)
    assert code == 0 and [line.split()[0] for line in out.splitlines() if "mJ a run" in line] == ["r000", "r005"]
    code, out, _ = compiled.call(capsys, *command, "--json")
    (unreduced, reduced) = json.loads(out)
    assert reduced["id"] == "r005" and reduced["energy"]["idle_w"] == reduced["energy"]["busy_w"] == 5.0
    code, out, _ = compiled.call(capsys, "profile", work, "--only", "r001", *compiled.TIMING, "--json")
    assert ["energy" in row for row in json.loads(out)] == [True, False]  # only where it was measured


def test_compile_measures_the_energy_of_the_winner_and_of_r0_and_notes_it(work, monkeypatch, capsys):
    meter(monkeypatch, 5.0)
    code, out, _ = compiled.call(capsys, *compiled.compile_command(work, "--energy", "--json"))
    chosen = json.loads(out)
    noted = sorted(note.split(":")[0] for note in chosen["notes"] if "mJ a run" in note)
    assert code == 0 and noted == sorted({"r000", chosen["chosen"]["id"]})


@pytest.mark.parametrize("command", [["profile", "nowhere"], ["compile", "digits", "--work", "nowhere"]])
def test_energy_without_a_power_sensor_is_refused_before_any_work(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    code, _, err = compiled.call(capsys, *command, "--energy")
    assert code == 2 and "--energy needs a power sensor" in err and not os.listdir(str(tmp_path))
