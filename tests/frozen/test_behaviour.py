"""What was recorded before the code was moved still comes out, numbers to the last digit."""

import json

import pytest

pytest.importorskip("torch", reason="compiles a model, which belongs to the workstation")

from tests.frozen import behaviour  # noqa: E402


@pytest.mark.parametrize("name", ["flags", "estimates", "profiles", "selections"])
def test_behaviour_is_what_was_recorded(name):
    assert json.loads(json.dumps(behaviour.RECORDED[name]())) == behaviour.read(name)


def test_the_json_of_each_command_has_the_recorded_shape():
    found, recorded = behaviour.json_shapes(), behaviour.read("json_shapes")
    assert sorted(found) == sorted(recorded)
    for command in recorded:
        assert fits(found[command], recorded[command]), (command, found[command], recorded[command])


def fits(found, recorded):
    """True where one shape is the other, but for lists that are empty and values that are absent in one of them."""
    if isinstance(found, dict) and isinstance(recorded, dict):
        return set(found) == set(recorded) and all(fits(found[key], recorded[key]) for key in found)
    if isinstance(found, list) and isinstance(recorded, list):
        return not found or not recorded or fits(found[0], recorded[0])
    return "None" in (found, recorded) or found == recorded
