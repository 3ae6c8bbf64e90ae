"""`pomt-trt train` as a command: what it prints and refuses, and a real process killed that goes on."""

import json
import os
import time

import pytest

pytest.importorskip("accelerate", reason="trains, which needs Hugging Face accelerate")

from safetensors.torch import load_file  # noqa: E402

from tests import compiled  # noqa: E402
from tests.compiled import call, kill, leftovers, run, start  # noqa: E402

DEADLINE_S = 240


def command(work, *more):
    model, data = (os.path.join(compiled.source(), name) for name in ("model", "data"))
    given = ["train", "cropr", "local-dir:" + model, "--data", data, "--work", str(work), "--removed", "3"]
    return given + ["--epochs", "12", "--batch", "2", "--validation", "0.2", "--threads", "1"] + list(more)


def outcome(work):
    with open(os.path.join(str(work), "cropr.json")) as file:
        value = json.load(file)["value"]
    scorers = load_file(os.path.join(str(work), "cropr.safetensors"))["scorers"]
    return value["epochs"], value["accuracy_after"], scorers.tolist()


def test_a_killed_training_goes_on_to_the_same_result(tmp_path):
    process, began = start(*command(tmp_path / "killed")), time.monotonic()
    while not os.path.exists(str(tmp_path / "killed" / "checkpoint.safetensors")) and process.poll() is None:
        assert time.monotonic() - began < DEADLINE_S
        time.sleep(0.002)
    kill(process)
    assert not os.path.exists(str(tmp_path / "killed" / "cropr.json")), "it had ended before it was killed"
    code, out, err = run(*command(tmp_path / "killed"))
    assert code == 0, err
    assert "reduced, after training" in out and "train" in err
    assert call_quietly(*command(tmp_path / "whole")) == 0
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")
    assert not leftovers(str(tmp_path / "killed"))


def call_quietly(*arguments):
    from pomt_trt import cli

    return cli.main([str(one) for one in arguments])


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["train"], "METHOD"),
        (["train", "pomt", "digits"], "invalid choice"),
        (["train", "cropr", "digits", "--work", "w"], "--removed"),
        (["train", "ltmp", "digits", "--work", "w", "--first-merge", "1.5"], "thresholds lie between 0 and 1"),
        (["train", "ltmp", "digits", "--work", "w", "--epochs", "0"], "--epochs is 0"),
    ],
)
def test_what_cannot_be_is_usage(arguments, says, capsys):
    code, out, err = call(capsys, *arguments)
    assert code == 2 and says in err and not out
