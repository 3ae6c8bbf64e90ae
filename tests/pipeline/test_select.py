"""What a selection says besides who won, and what it reads for it."""

import json
import os

import pytest

pytest.importorskip("torch", reason="compiles a model, which belongs to the workstation")

from pomt_trt.core.storage import store  # noqa: E402
from tests import compiled  # noqa: E402


def test_an_unreduced_model_that_only_guesses_is_said_in_the_selection_once():
    """The compiled model was never trained, and calls its weights its own."""
    with open(compiled.one(compiled.master(), "selection-", ".json")) as file:
        notes = json.load(file)["value"]["notes"]
    assert sum("no better than one answer to all, the commonest label (20.0%)" in note for note in notes) == 1


def test_a_selection_reads_each_record_once(work, monkeypatch, capsys):
    read, paths = store.read_record, []
    monkeypatch.setattr(store, "read_record", lambda path, kind: paths.append(path) or read(path, kind))
    assert compiled.call(capsys, "select", work, "--threads", "1")[0] == 0
    of_candidates = [path for path in paths if os.path.basename(path).split(".")[0] in compiled.CANDIDATES]
    assert len(of_candidates) == len(set(of_candidates)) >= 3 * len(compiled.CANDIDATES)
