"""Profiles taken while a board's clocks could move: taken again once they are locked, and not before."""

import glob
import os

import pytest

pytest.importorskip("torch", reason="compiles a model, which belongs to the workstation")

from pomt_trt import cli, pipeline  # noqa: E402
from pomt_trt.core import store  # noqa: E402
from pomt_trt.core.records import LatencyProfile  # noqa: E402
from pomt_trt.device import sensors  # noqa: E402
from tests import compiled  # noqa: E402
from tests.device.test_jetson import tree  # noqa: E402

FLOATING, LOCKED = "agx-orin-jetpack-6.2", "agx-xavier-jetpack-5.1.2"
READ = sensors.read


@pytest.fixture
def work(tmp_path):
    return compiled.copied(tmp_path)


def profile_again(work, monkeypatch, board):
    """Runs the command on a board; the profiles that it took, by their ids."""
    monkeypatch.setattr(pipeline.sensors, "read", lambda root=None: READ(tree(board)))
    before = times(work)
    arguments = ["profile", work, "--search", "exhaustive", *compiled.TIMING]
    assert cli.main(arguments) == 0
    return sorted(name for name, time in times(work).items() if before.get(name) != time)


def times(work):
    return {os.path.basename(path)[:4]: os.stat(path).st_mtime_ns for path in profiles(work)}


def profiles(work):
    return glob.glob(os.path.join(work, "latency", "*", "r???.json"))


def called(work, verdict, *names):
    """Gives profiles this verdict."""
    for path in profiles(work):
        if os.path.basename(path)[:4] in names:
            stored = store.read_record(path, LatencyProfile)
            store.write_record(path, stored.record._replace(verdict=verdict), stored.inputs)


@pytest.mark.parametrize("verdict", ["floating", "throttled"])
def test_it_is_taken_again_once_clocks_are_locked(work, monkeypatch, verdict):
    called(work, verdict, "r005")
    assert profile_again(work, monkeypatch, FLOATING) == []
    assert profile_again(work, monkeypatch, LOCKED) == ["r005"]
    assert profile_again(work, monkeypatch, LOCKED) == []


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
