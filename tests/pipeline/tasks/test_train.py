"""`pomt-trt train` as a command: what it prints and refuses, and a real process killed that goes on."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("accelerate", reason="trains, which needs Hugging Face accelerate")

from safetensors.torch import load_file  # noqa: E402

from pomt_trt.core.records import Training  # noqa: E402
from pomt_trt.core.storage import store  # noqa: E402
from pomt_trt.core.storage.bundle import open_bundle  # noqa: E402
from tests import compiled  # noqa: E402
from tests.compiled import call, kill, leftovers, start  # noqa: E402

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


@pytest.mark.long
def test_a_killed_training_goes_on_to_the_same_result(tmp_path, capsys):
    process, began = start(*command(tmp_path / "killed")), time.monotonic()
    while not os.path.exists(str(tmp_path / "killed" / "checkpoint.safetensors")) and process.poll() is None:
        assert time.monotonic() - began < DEADLINE_S
        time.sleep(0.002)
    kill(process)
    assert not os.path.exists(str(tmp_path / "killed" / "cropr.json")), "it had ended before it was killed"
    code, out, err = call(capsys, *command(tmp_path / "killed"))
    assert code == 0, err
    assert "reduced, after training" in out and "train" in err
    assert call_quietly(*command(tmp_path / "whole")) == 0
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")
    assert "classes: 5 folders, by class number: 0, 1, ... 4" in err.splitlines()
    record = store.read_record(str(tmp_path / "whole" / "cropr.json"), Training).record
    assert record.class_order.reading == "numbers" and record.class_order.in_data == 5
    assert not leftovers(str(tmp_path / "killed"))


def test_two_processes_learn_what_one_does_with_twice_the_batch(tmp_path):
    more = ["--batch", "4", "--epochs", "2", "--json"]
    assert call_quietly(*command(tmp_path / "one", *more)) == 0
    more[1] = "2"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "pomt_trt"]
    environment = dict(os.environ, PYTHONPATH=compiled.ROOT, OMP_NUM_THREADS="1", ACCELERATE_USE_CPU="1")
    asked = launcher + command(tmp_path / "two", *more)
    out = subprocess.check_output(asked, env=environment, stderr=subprocess.PIPE, cwd=compiled.ROOT)
    assert json.loads(out.decode())["processes"] == 2, "and only one of them speaks"
    (epochs, _, scorers), (expected, _, others) = outcome(tmp_path / "two"), outcome(tmp_path / "one")
    assert np.allclose(scorers, others, atol=1e-4)
    assert epochs[-1]["losses"]["loss"] == pytest.approx(expected[-1]["losses"]["loss"], rel=1e-4)


def test_what_was_trained_compiles_and_its_record_goes_into_the_bundle(tmp_path):
    assert call_quietly(*command(tmp_path / "T", "--epochs", "1")) == 0
    asked = ["compile", "local-dir:" + str(tmp_path / "T"), "--method", "cropr", "--work", tmp_path / "work"]
    data = ["--data", os.path.join(compiled.source(), "data"), "--tokens", "10:10:1"]
    assert call_quietly(*asked, *data, *compiled.TIMING) == 0
    bundle = compiled.one(tmp_path / "work", "bundle-")
    packed = store.read_record(os.path.join(bundle, "training.json"), Training).record
    assert "training.json" in open_bundle(bundle).files
    assert packed == store.read_record(str(tmp_path / "T" / "cropr.json"), Training).record


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
