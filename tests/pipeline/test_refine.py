"""What is timed again after a sweep: what was disturbed, the sides of steps, and the rivals of the winner."""

import glob
import os

import pytest

pytest.importorskip("torch", reason="compiles a model, which belongs to the workstation")

from pomt_trt import cli  # noqa: E402
from pomt_trt.core.choice.rules import Goal  # noqa: E402
from pomt_trt.core.records import Step, TimedGroup  # noqa: E402
from pomt_trt.core.storage import store  # noqa: E402
from pomt_trt.device.board import board  # noqa: E402
from pomt_trt.device.timing.worker_protocol import Settings  # noqa: E402
from pomt_trt.pipeline import refine  # noqa: E402
from pomt_trt.pipeline.session import Scope, opened_on  # noqa: E402
from tests import compiled  # noqa: E402


@pytest.fixture
def work(tmp_path):
    return compiled.copied(tmp_path)


@pytest.fixture
def session(work):
    with opened_on(Scope(work), board.device_spec("onnxruntime"), Settings(threads=1, max_s=0.02)) as session:
        yield session


def groups(work):
    """File -> record, in their order."""
    paths = sorted(glob.glob(os.path.join(work, "latency", "*", "groups", "*.json")))
    return {path: store.read_record(path, TimedGroup) for path in paths}


def disturb(work):
    """Makes all groups disturbed."""
    for path, stored in groups(work).items():
        group = stored.record._replace(disturbed=(True,) * len(stored.record.disturbed))
        store.write_record(path, group, stored.inputs)


def profile_again(work):
    """The members of the groups that the command adds, references left out."""
    before = groups(work)
    assert cli.main(["profile", work, "--search", "exhaustive", *compiled.TIMING]) == 0
    added = [stored.record for path, stored in groups(work).items() if path not in before]
    return [[member.candidate_id for member in group.members[group.references :]] for group in added]


def test_candidates_that_were_disturbed_are_timed_again(work):
    disturb(work)
    added = profile_again(work)
    assert set(added[0]) == set(compiled.CANDIDATES) - {"r000"}


def test_both_sides_of_an_unproved_step_are_asked_for(session, monkeypatch):
    step = Step(12, 16, 0.5, (0.4, 0.6), 1e-6)
    monkeypatch.setattr(refine, "unproved_steps", lambda *_: (step,))
    assert refine._step_sides(session) == ["r001", "r005", "r009"]  # R = 0 is another graph


def test_the_winner_and_what_does_not_differ_from_it_are_asked_for(session):
    named = refine._rivals(session, Goal("fastest-within"))
    rows = {row.id: row for row in session.rows()}
    fastest = min((row for row in rows.values()), key=lambda row: row.latency_ms)
    assert named == [] or named[0] == fastest.id
    assert all(rows[name].latency_ci_ms[0] < fastest.latency_ci_ms[1] for name in named)
