"""What a selection says besides who won."""

import json

import pytest

pytest.importorskip("torch", reason="compiles a model, which belongs to the workstation")

from tests import compiled  # noqa: E402


def test_an_unreduced_model_that_only_guesses_is_said_in_the_selection_once():
    """The compiled model was never trained, and calls its weights its own."""
    with open(compiled.one(compiled.master(), "selection-", ".json")) as file:
        notes = json.load(file)["value"]["notes"]
    assert sum("no better than one answer to all, the commonest label (20.0%)" in note for note in notes) == 1
