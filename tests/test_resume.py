"""A compile that is killed at any moment: the same command goes on, and ends as if nothing had happened."""

import glob
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="compiles a model, which belongs to the workstation")

from tests import compiled, suite  # noqa: E402
from tests.compiled import check_sound, files, kill, one, run, start  # noqa: E402

KILLS = 3
DEADLINE_S = 120


def kill_when(command, happened):
    """Starts the command and kills it, its children too, when `happened()`; False where it had ended by then."""
    process = start(*command)
    started = time.monotonic()
    while not happened() and process.poll() is None:
        assert time.monotonic() - started < DEADLINE_S
        time.sleep(0.002)
    running = process.poll() is None
    kill(process) if running else process.communicate()
    return running


# what has just appeared in the work folder when everything is killed
MOMENTS = {
    "the first graph": "onnx/op17-fp32/r000.onnx",
    "an accuracy": "accuracy/r001.json",
    "an engine": "engines/*/r000.engine",
    "a latency": "latency/*/r000.json",
}
AFTER_ENGINES = ("selection-", "bundle-")


def begun(folder, pattern):
    """A work folder in which all that comes before engines is there, where they are waited for; else none.

    What comes before them takes torch, and so long as that takes to load.
    """
    if not pattern.startswith(("engines", "latency")):
        return folder / "w"
    work = compiled.copied(folder)
    for left in ("engines", "latency", *(name for name in os.listdir(work) if name.startswith(AFTER_ENGINES))):
        place = os.path.join(work, left)
        shutil.rmtree(place) if os.path.isdir(place) else os.unlink(place)
    return work


@pytest.mark.parametrize("moment", suite.sampled(MOMENTS, ("an accuracy", "an engine")))
def test_killed_and_run_again_it_ends_the_same(moment, tmp_path, capsys):
    work = begun(tmp_path, MOMENTS[moment])
    pattern = os.path.join(str(work), MOMENTS[moment])
    kill_when(compiled.compile_command(work), lambda: glob.glob(pattern))
    survived = {name: state for name, state in files(work).items() if name.startswith("accuracy") and ".json" in name}
    code, out, err = compiled.call(capsys, *compiled.compile_command(work, "--json"))
    assert code == 0, err
    assert [row["id"] for row in json.loads(out)["rows"]] == compiled.CANDIDATES
    check_sound(work)
    assert {name: files(work)[name] for name in survived} == survived
    for name in ("golden.npz", "experiment.json", "onnx/op17-fp32/weights.bin", "onnx/op17-fp32/r009.onnx"):
        assert Path(str(work), name).read_bytes() == Path(compiled.master(), name).read_bytes(), name


def test_a_winner_whose_engine_an_earlier_choice_removed_is_built_again(work, capsys):
    command = compiled.compile_command(work, "--rule", "fastest-within", "--max-accuracy-drop", "100", "--json")
    code, before, err = compiled.call(capsys, *command)
    assert code == 0, err
    chosen = json.loads(before)["chosen"]["id"]  # it may be R = 0, in so tiny a model
    (engine,) = [path for path in glob.glob(os.path.join(work, "engines", "*", "*.engine")) if chosen in path]
    for name in {chosen, "r000"}:
        os.unlink(engine.replace(chosen, name))
    shutil.rmtree(one(work, "bundle-"))
    assert compiled.call(capsys, *command)[:2] == (0, before), "the same engines to the byte: nothing is timed again"
    check_sound(work)
    assert os.path.exists(engine)


def test_only_the_parent_killed_leaves_no_child_in_the_way(tmp_path, capsys):
    work = begun(tmp_path, MOMENTS["an engine"])
    process = start(*compiled.compile_command(work))
    while not glob.glob(os.path.join(work, MOMENTS["an engine"])) and process.poll() is None:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert compiled.call(capsys, *compiled.compile_command(work))[0] == 0
    check_sound(work)


@pytest.mark.long
def test_digits_killed_at_random_moments_end_the_same(tmp_path):
    work, moments = tmp_path / "w", random.Random(0)
    command = ["compile", "digits", "--work", work, "--tokens", "196:96:4", "--search", "exhaustive", "--json"]
    for _ in range(KILLS):
        until = time.monotonic() + moments.uniform(0.5, 20)
        kill_when(command, lambda until=until: time.monotonic() > until)
    code, out, err = run(*command)
    assert code == 0, err
    check_sound(work, ["r000"] + ["r{:03d}".format(removed) for removed in range(1, 102, 4)])
    assert run(*command)[:2] == (0, out)
