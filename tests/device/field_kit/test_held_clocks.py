"""Clocks that are held while something is done, by stand-ins for jetson/with_clocks."""

import os

import pytest

from pomt_trt.device.field_kit import held_clocks
from pomt_trt.device.field_kit.held_clocks import HeldClocks

# What the real one does for its user: it runs the command, and gives clocks back when that ends.
HOLDS = '#!/bin/sh\necho "pomt-trt: power mode: MAXN" >&2\n"$@"\necho given back >"{}"\n'


@pytest.fixture
def scripts(tmp_path):
    """Makes the folder of a with_clocks of that text."""

    def made(text):
        path = tmp_path / "with_clocks"
        path.write_text(text)
        path.chmod(0o755)
        return str(tmp_path)

    return made


def test_clocks_are_held_until_they_are_let_go(scripts, tmp_path, children):
    back = tmp_path / "back"
    with HeldClocks(scripts(HOLDS.format(back))) as held:
        assert held.reason == "" and held.output == "pomt-trt: power mode: MAXN\n"
        assert not back.exists() and children()
    assert back.read_text() == "given back\n" and not children()
    held.release()


def test_clocks_are_let_go_when_what_is_done_fails(scripts, tmp_path):
    back = tmp_path / "back"
    with pytest.raises(KeyboardInterrupt), HeldClocks(scripts(HOLDS.format(back))):
        raise KeyboardInterrupt
    assert back.exists()


@pytest.mark.parametrize(
    "said, reason",
    [
        ("sudo: 3 incorrect password attempts", "sudo: 3 incorrect password attempts"),
        (
            "pomt-trt: power mode: MAXN\npomt-trt: jetson_clocks failed\n"
            "pomt-trt: clocks could not be locked, for the reason above; the command was not run\n"
            "pomt-trt: clocks are as they were",
            "jetson_clocks failed",
        ),
        ("", "with_clocks ended without a message"),
    ],
)
def test_refused_clocks_are_told_with_the_reason(scripts, children, said, reason):
    with HeldClocks(scripts("#!/bin/sh\necho '{}' >&2\nexit 4\n".format(said))) as held:
        assert held.reason == reason and not children()


def test_a_script_that_is_not_there_is_a_reason_too(tmp_path):
    with HeldClocks(str(tmp_path)) as held:
        told = os.path.join(str(tmp_path), "with_clocks") + " does not start: No such file or directory"
        assert held.reason.startswith(told)


def test_a_password_is_not_waited_for_without_end(scripts, clock, children, monkeypatch):
    for name in ("POLL_S", "RELEASE_S"):
        monkeypatch.setattr(held_clocks, name, 0.01)

    def later():
        clock.pass_ms(100e3)
        return clock()

    with HeldClocks(scripts("#!/bin/sh\nexec sleep 60\n"), later) as held:
        assert "without a message" in held.reason and not children()
