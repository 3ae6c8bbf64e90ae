"""One experiment in two precisions: graphs side by side, accuracies in common."""

import json
import os

import pytest

pytest.importorskip("torch", reason="exports a model, which belongs to the workstation")

from pomt_trt import cli  # noqa: E402
from pomt_trt.core.storage.bundle import open_bundle  # noqa: E402
from pomt_trt.core.storage.workfolder import WorkFolder  # noqa: E402
from tests import compiled  # noqa: E402
from tests.compiled import call, copied, files  # noqa: E402


@pytest.fixture
def work(tmp_path):
    """A work folder that was compiled in fp32, and exported in fp16."""
    work = copied(tmp_path)
    arguments = compiled.experiment() + compiled.TOKENS + ["--work", work]
    assert cli.main(["export", "--precision", "fp16", *arguments]) == 0
    return work


def test_exporting_another_precision_leaves_the_first_as_it_was(tmp_path, capsys):
    work = copied(tmp_path)
    before = files(work)
    arguments = compiled.experiment() + compiled.TOKENS + ["--work", work, "--precision", "fp16", "--json"]
    code, out, _ = call(capsys, "export", *arguments)
    assert code == 0 and json.loads(out)["form"] == "op17-fp16"
    after = files(work)
    for name in before:
        if name not in ("experiment.json", "golden.npz"):  # written anew, with the same bytes
            assert after[name] == before[name], name
    code, out, _ = call(capsys, *compiled.compile_command(work, "--json"))  # and the first is still done
    assert code == 0 and files(work) == after


def test_estimating_accuracies_compares_the_graphs_of_all_forms(work, capsys):
    for name in os.listdir(os.path.join(work, "accuracy")):
        os.unlink(os.path.join(work, "accuracy", name))
    weights = WorkFolder(work).weights("op17-fp16")
    with open(weights, "r+b") as file:
        file.write(b"\x3c" * (os.path.getsize(weights) // 2))  # fp16 numbers of about one
    code, _, err = call(capsys, "accuracy", work)
    assert code == 7 and "r000.onnx: logits on ONNX Runtime differ from PyTorch's" in err
    assert "use --precision fp32" in err


def test_a_stage_asks_which_precision_where_both_are_there(work, capsys):
    code, _, err = call(capsys, "build", work, "--threads", "1")
    assert code == 2 and "forms op17-fp32 and op17-fp16. Say which are meant: --precision fp32 or fp16" in err
    code, out, _ = call(capsys, "build", work, "--threads", "1", "--only", "r005", "--precision", "fp32", "--json")
    assert code == 0 and {row["id"] for row in json.loads(out)} == {"r000", "r005"}


def test_engines_and_choices_of_both_precisions_stand_side_by_side(work, capsys):
    chosen = {}
    for precision in ("fp32", "fp16"):
        timing = compiled.TIMING + ["--precision", precision]
        assert call(capsys, "profile", work, *timing)[0] == 0
        code, out, _ = call(capsys, "select", work, *timing, "--max-accuracy-drop", "100", "--json")
        assert code == 0 and call(capsys, "bundle", work, *timing)[0] == 0
        chosen[precision] = json.loads(out)
    slower = {name: sum("fp16 by casts to fp32" in note for note in found["notes"]) for name, found in chosen.items()}
    assert slower == {"fp32": 0, "fp16": 1}
    for precision, found in chosen.items():
        assert {row["status"] for row in found["rows"]} == {"measured"}
        bundle = open_bundle(WorkFolder(work).bundle(found["device_id"]))
        assert (bundle.engine.precision, bundle.form) == (precision, "op17-" + precision)
    assert chosen["fp16"]["device_id"] == chosen["fp32"]["device_id"] + "-fp16"
    code, out, _ = call(capsys, "select", work, *compiled.TIMING, "--precision", "fp32", "--json")
    assert code == 0 and {row["status"] for row in json.loads(out)["rows"]} == {"measured"}
