"""What the flags become, and what is refused before any work is done."""

import pytest

from pomt_trt.core.choice.rules import Goal
from pomt_trt.core.cpus import Cpus
from pomt_trt.core.errors import InputError, UsageError
from pomt_trt.core.storage import store
from pomt_trt.pipeline import options


def made(**flags):
    return options.make("digits", "work", **flags)


def test_defaults_are_those_of_the_command_line():
    found = made()
    assert found.engine == "auto" and found.target == "onnxruntime" and found.tokens is None
    assert found.precision == "fp32" and made(precision="fp16").precision == "fp16"
    assert found.settings == options.settings({})
    assert found.choice == Goal("step", 0.5, 0.01, None, 0.05)
    assert (found.request.method, found.request.batch_size, found.request.samples) == ("pomt", 1, 1000)


def test_threads_are_as_many_as_the_process_may_use(monkeypatch):
    monkeypatch.setattr(options.cpus, "usable", lambda: Cpus(8, 6, 3.5))
    assert made().settings.threads == 3 and made(threads=5).settings.threads == 5
    monkeypatch.setattr(options.cpus, "usable", lambda: Cpus(8, 8, 0.5))
    assert made().settings.threads == 1


def test_runs_are_paced_where_that_is_asked_for():
    assert made().settings.pace_fps is None and made(pace=30.0).settings.pace_fps == 30.0
    assert made(pace=2.0, max_seconds=6.0).settings.pace_fps == 2.0


def test_points_and_per_cents_become_fractions():
    choice = made(max_accuracy_drop=2.5, min_gain=10.0, max_latency=3.0, rule="utility", alpha=0.3).choice
    assert choice == Goal("utility", 0.3, 0.025, 3.0, 0.1)


def test_paths_become_absolute_and_a_checkpoint_is_hashed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.pth").write_bytes(b"weights")
    (tmp_path / "data").mkdir()
    request = options.make("local-dir:data", "work", checkpoint="model.pth", data="data").request
    assert request.model == "local-dir:" + str(tmp_path / "data") and request.data == str(tmp_path / "data")
    assert request.checkpoint == str(tmp_path / "model.pth")
    assert request.checkpoint_sha256 == store.sha256_of("model.pth")


@pytest.mark.parametrize("flag", ["checkpoint", "head", "labels", "data"])
def test_a_path_that_is_not_there_is_refused_by_its_flag(flag, tmp_path):
    path = str(tmp_path / "absent")
    with pytest.raises(InputError, match="--{} {} is no file.* here. Check the path".format(flag, path)):
        made(**{flag: path})


@pytest.mark.parametrize(
    "flags, told",
    [
        ({"batch_size": 0}, "--batch-size is 0; it must be 1 or more"),
        ({"samples": 0}, "--samples is 0; it must be 1 or more"),
        ({"threads": 0}, "--threads is 0; it must be 1 or more"),
        ({"max_seconds": 0.0}, "--max-seconds is 0.0; it must be more than 0"),
        ({"max_seconds": float("inf")}, "--max-seconds is inf"),
        ({"max_seconds": float("nan")}, "--max-seconds is nan"),
        ({"pace": 0.0}, "--pace is 0.0; it must be 0.001 frames per second or more"),
        ({"pace": -30.0}, "--pace is -30.0"),
        ({"pace": float("inf")}, "--pace is inf"),
        ({"pace": float("nan")}, "--pace is nan"),
        ({"pace": 2.0}, "--pace 2 makes fewer than 12 runs in --max-seconds 0.75. Give --max-seconds 6 or more"),
        ({"precision": "bf16"}, "--precision bf16 is not for onnxruntime: .* Use fp16"),
        ({"precision": "int8"}, "--precision is 'int8'; give fp32 or fp16 or bf16"),
        ({"waiting": "asleep"}, "--waiting is 'asleep'; give default or passive"),
        ({"rule": "best"}, "--rule is 'best'; give step or utility"),
        ({"alpha": 1.5}, "--alpha is 1.5; it must lie between 0 and 1"),
        ({"alpha": "1"}, "--alpha is '1'; give a number"),
        ({"alpha": float("nan")}, "--alpha is nan"),
        ({"max_accuracy_drop": -1.0}, "--max-accuracy-drop is -1.0; it must be 0 or more"),
        ({"max_accuracy_drop": float("nan")}, "--max-accuracy-drop is nan"),
        ({"max_latency": 0.0}, "--max-latency is 0.0; it must be more than 0"),
        ({"min_gain": 100.0}, "--min-gain is 100.0; it must lie between 0 and 100"),
        ({"min_gain": float("nan")}, "--min-gain is nan"),
        ({"tokens": "196-96"}, "--tokens takes START:STOP:STEP such as 196:96:4, not '196-96'"),
        ({"tokens": "96:196:4"}, "counts down.*Try 196:96:4"),
        ({"target": "jetpack-3"}, "'jetpack-3' is not known. Choose one"),
    ],
)
def test_what_cannot_be_is_refused_with_both_values(flags, told):
    with pytest.raises(UsageError, match=told):
        made(**flags)


def test_a_checkpoint_and_pretrained_weights_exclude_each_other(tmp_path):
    (tmp_path / "model.pth").write_bytes(b"weights")
    with pytest.raises(UsageError, match="--checkpoint and --pretrained exclude each other. Give one"):
        made(checkpoint=str(tmp_path / "model.pth"), pretrained=True)


def test_an_accuracy_drop_may_be_without_bound():
    assert made(max_accuracy_drop=float("inf")).choice.max_accuracy_drop == float("inf")
