"""Each mistake that a user can make: one clear line, the right exit code, and nothing finished is lost."""

import errno
import glob
import json
import os
import re
import shutil

import pytest

pytest.importorskip("torch", reason="compiles a model, which belongs to the workstation")

from pomt_trt.core.storage import store, workfolder  # noqa: E402
from tests import compiled, suite  # noqa: E402
from tests.compiled import call, files  # noqa: E402

USAGE, INPUT, CONSTRAINT, STALE, CORRUPT, WORK = 2, 3, 6, 8, 9, 12


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """name -> path of everything wrong that commands below name in braces."""
    folder = tmp_path_factory.mktemp("places")
    made = {"data": os.path.join(compiled.source(), "data"), "model": os.path.join(compiled.source(), "model")}
    for name in ("empty", "broken", "labels", "other", "work", "filework", "checkpoint"):
        made[name] = str(folder / name)
    for name in ("empty", "broken"):
        os.mkdir(made[name])
    (folder / "broken" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n, and then nothing")
    compiled.write_pictures(made["labels"], classes=7, each=1)
    compiled.write_model(made["other"], classes=3, seed=1)
    (folder / "filework").write_text("a file where a folder should be")
    import torch

    torch.save({"blocks.0.attn.qkv.weight": torch.zeros(9, 3)}, made["checkpoint"])
    return made


# command, where {x} is a place or the experiment's arguments; exit code; what the line says, what to do included.
# An export goes to {work} where nothing else is said.
MISTAKES = {
    "unknown model": ("export vit_tinny_patch16_224", INPUT, "no model 'vit_tinny.* Did you mean"),
    "checkpoint of another shape": (
        "export local-dir:{model} --checkpoint {checkpoint}",
        INPUT,
        r"missing .*is \(9, 3\), the model has \(72, 24\). 1 of the model.s 56 names .* rename the tensors",
    ),
    "missing data": ("export local-dir:{model} --data nowhere", INPUT, "--data nowhere .* Check the path"),
    "empty data": ("export local-dir:{model} --data {empty}", INPUT, "holds no image. Images end in"),
    "unreadable images": ("export local-dir:{model} --data {broken}", INPUT, "none of 1 images can be read"),
    "labels that do not match": (
        "export local-dir:{other} --data {labels}",
        INPUT,
        "no labels that match the head: 7 folders .* 3 classes in the head. Use class numbers",
    ),
    "R too large": ("export {experiment} --tokens 16:2:1", USAGE, "--tokens goes down to 2 .* end higher"),
    "layer out of range": (
        "export local-dir:{model} --layer 4 --tokens 16:8:4",
        USAGE,
        "layer 4 is out of range: the model has 4 blocks. Choose --layer 0 to 3",
    ),
    "batch of none": ("export {experiment} --batch-size 0", USAGE, "--batch-size is 0; it must be 1 or more"),
    "a file as work folder": (
        "export {experiment} --work {filework}",
        WORK,
        "a part of this path is a file. Choose another",
    ),
    "a work folder in a file": ("export {experiment} --work {filework}/w", WORK, "a part of this path is a file"),
    "nothing exported": ("select {empty}", INPUT, "holds no experiment. Make one: pomt-trt export"),
    "no such work folder": ("profile nowhere", INPUT, "holds no experiment. Make one: pomt-trt export MODEL --work"),
    "no bundle": ("evaluate {empty} {data}", INPUT, "it holds no bundle.json. Make one: pomt-trt bundle WORK"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(mistake, places, capsys):
    command, code, said = MISTAKES[mistake]
    if command.startswith("export") and "--work" not in command:
        command += " --work {work}"
    words = [part for word in command.split() for part in _meant(word, places)]
    found, out, err = call(capsys, *words)
    line = error_line(err)
    assert (found, out) == (code, ""), err
    assert re.search(said, line), line
    assert not os.path.exists(os.path.join(places["work"], "experiment.json"))
    assert not compiled.leftovers(os.path.dirname(places["work"]))


def _meant(word, places):
    if word == "{experiment}":
        return compiled.experiment()
    return [word.format(**places)]


def error_line(err):
    """The one line that is the error; warnings and progress may stand before it."""
    lines = [line for line in err.splitlines() if line.startswith("pomt-trt: ")]
    assert lines and err.endswith(lines[-1] + "\n"), err
    assert sum(" weights: give --checkpoint" not in line for line in lines) == 1, err
    return lines[-1]


def test_the_work_folder_of_another_experiment_is_kept(work, capsys):
    before = files(work)
    code, out, err = call(capsys, *compiled.compile_command(work, "--batch-size", "2"))
    assert (code, out) == (USAGE, "") and "holds another experiment: its batch size is 1, you ask" in error_line(err)
    assert files(work) == before


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["profile", "--tokens", "14:13:1"], USAGE, "asks for 14 tokens, but no such graph was exported"),
        (["build", "--only", "r003"], USAGE, "'r003' is not in .* It has r000 to r009"),
        (["select", "--threads", "3"], INPUT, "timed with --threads 1 --waiting default, you ask for 3 and default"),
        (["bundle", "--threads", "3"], STALE, "no engine for --threads 3 here. .* pomt-trt build .* --threads 3"),
        (["select", "--threads", "0"], USAGE, "--threads is 0; it must be 1 or more"),
        (["select", "--max-latency", "1e-9", "--threads", "1"], CONSTRAINT, "1e-09"),
    ],
)
def test_a_stage_that_cannot_be_done_changes_nothing(arguments, code, said, work, capsys):
    before = files(work)
    found, out, err = call(capsys, arguments[0], work, *arguments[1:])
    assert (found, out) == (code, ""), err
    assert re.search(said, error_line(err)), err
    assert files(work) == before


def test_learned_parameters_that_changed_after_export_are_refused(tmp_path, capsys):
    import torch
    from safetensors.torch import save_file

    model, work = str(tmp_path / "model"), str(tmp_path / "work")
    learned, about = tmp_path / "model" / "cropr.safetensors", {"format": "pomt-trt", "version": "1"}
    compiled.write_model(model)
    save_file({"scorers": torch.eye(2, 24)}, str(learned), dict(about, method="cropr", llf="1"))  # depth - 2 modules
    first = learned.read_bytes()
    export = ["export", "local-dir:" + model, "--method", "cropr", "--tokens", "9:9:1", "--work", work]
    assert call(capsys, *export)[0] == 0
    before = files(work)
    save_file({"scorers": -torch.eye(2, 24)}, str(learned), dict(about, method="cropr", llf="1"))
    code, out, err = call(capsys, "accuracy", work)
    assert (code, out) == (STALE, "")
    assert re.search("cropr.safetensors is another file than the experiment began with. Use", error_line(err))
    code, out, err = call(capsys, *export)
    assert (code, out) == (USAGE, "") and "its learned sha256 is" in error_line(err)
    assert files(work) == before
    learned.write_bytes(first)
    assert call(capsys, "accuracy", work)[0] == 0


def test_what_could_not_be_exported_does_not_block_the_folder(tmp_path, capsys, monkeypatch):
    from pomt_trt.host.graphs import comparison

    work = tmp_path / "w"
    monkeypatch.setitem(comparison.TOLERANCE, "fp32", -1.0)
    assert call(capsys, "export", *compiled.experiment(), *compiled.TOKENS, "--work", work)[0] == 7
    monkeypatch.undo()
    code, _, err = call(
        capsys, "export", *compiled.experiment(), "--method", "random", *compiled.TOKENS, "--work", work
    )
    assert code == 0, err


DAMAGED = ["experiment.json", "golden.npz"]
DAMAGED += ["onnx/op17-fp32/" + name for name in ("family.json", "r005.onnx", "weights.bin")]
DAMAGED += ["accuracy/r005.json", "accuracy/r005.npz"]
DAMAGED += ["engines/*/" + name for name in ("r000.engine", "r000.json", "r009.json", "weights.bin")]
DAMAGED += ["latency/*/r005.json", "latency/*/r000.json", "selection-*.json"]
DAMAGED += ["bundle-*/" + name for name in ("bundle.json", "r000.engine", "weights.bin")]

DAMAGES = [(name, "truncated") for name in DAMAGED]
DAMAGES += [(name, "overwritten") for name in DAMAGED if name.endswith((".engine", ".bin", "r005.onnx", "r005.json"))]
DAMAGES += [(name, "deleted") for name in ("experiment.json", "accuracy/r005.npz", "engines/*/r009.json", "golden.npz")]
DAMAGES += [("onnx/op17-fp32/weights.bin", "emptied")]


@pytest.mark.parametrize("damaged", suite.sampled(DAMAGES, DAMAGES[:: len(DAMAGES) // 8]), ids=" ".join)
def test_a_damaged_file_is_made_anew_or_said_to_be_damaged(damaged, work, capsys):
    name, damage = damaged
    path = _only(work, name)
    _damage(path, damage)
    command = compiled.compile_command(work, "--json")
    code, out, err = _called(capsys, command)
    if code != 0:
        assert code == CORRUPT and out == "", err
        assert "is damaged" in error_line(err) and "Delete it and run the same command again" in err
        os.unlink(path)
        code, out, err = _called(capsys, command)
    assert code == 0, err
    assert [row["id"] for row in json.loads(out)["rows"]] == compiled.CANDIDATES
    assert not compiled.leftovers(work)
    healed = files(work)
    assert call(capsys, *command)[:2] == (0, out) and files(work) == healed
    compiled.check_sound(work)


def _called(capsys, command):
    """`call`; where a new latency lets another candidate win, whose engine is gone, after the build it asks for."""
    code, out, err = call(capsys, *command)
    told = "Have it back with: pomt-trt "
    if told in err:
        assert call(capsys, *err.partition(told)[2].partition(";")[0].split())[0] == 0
        return call(capsys, *command)
    return code, out, err


def _only(work, pattern):
    (path,) = glob.glob(os.path.join(work, pattern))
    return path


def _damage(path, how):
    size = os.path.getsize(path)
    if how == "deleted":
        os.unlink(path)
    elif how == "overwritten":
        with open(path, "r+b") as file:
            file.seek(size // 2)
            file.write(b"\0\1\2damage\3")
    else:
        os.truncate(path, 0 if how == "emptied" else size // 2)


@pytest.mark.parametrize("name", ["r005.onnx", "weights.bin"])
def test_no_engine_is_built_from_a_damaged_graph(name, work, capsys):
    shutil.rmtree(os.path.join(work, "engines"))
    os.truncate(os.path.join(work, "onnx/op17-fp32", name), 100)
    code, out, err = call(capsys, "build", work, "--threads", "1")
    assert code in (STALE, CORRUPT) and name in error_line(err), err
    assert call(capsys, *compiled.compile_command(work))[0] == 0  # and nothing remembers it as a failure
    compiled.check_sound(work)


@pytest.mark.parametrize("after", [0, 10])
def test_a_full_disk_loses_nothing_and_the_run_goes_on(after, tmp_path, capsys, monkeypatch):
    work = tmp_path / "w"
    honest, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        honest(descriptor)

    monkeypatch.setattr(store.os, "fsync", full)
    code, out, err = call(capsys, *compiled.compile_command(work))
    assert (code, out) == (WORK, "") and "the disk is full. Free some space" in error_line(err)
    assert not compiled.leftovers(work)
    monkeypatch.undo()
    finished = files(work)
    code, _, err = call(capsys, *compiled.compile_command(work))
    assert code == 0, err
    for name in finished:
        if name.startswith("accuracy") and name.endswith(".json"):
            assert files(work)[name] == finished[name]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_somebody_else_is_said(tmp_path, capsys):
    (tmp_path / "locked").mkdir(mode=0o555)
    code, out, err = call(capsys, *compiled.compile_command(tmp_path / "locked" / "w"))
    assert (code, out) == (WORK, "") and "no permission to write. Choose another" in error_line(err)


def test_a_folder_in_use_is_said(work, capsys):
    before = files(work)
    with workfolder.locked(work):
        code, out, err = call(capsys, *compiled.compile_command(work))
    assert (code, out) == (WORK, "") and "is in use by process" in error_line(err) and files(work) == before


def test_an_engine_file_that_was_removed_is_said_with_what_brings_it_back(work, capsys):
    os.unlink(_only(work, "engines/*/r000.engine"))
    code, out, err = call(capsys, "bundle", work, "--threads", "1")
    assert (code, out) == (STALE, "")
    advice = re.search(r"pomt-trt (build .*? --only r000 --threads 1);", error_line(err)).group(1)
    assert call(capsys, *advice.split())[0] == 0
    assert call(capsys, "bundle", work, "--threads", "1")[0] == 0
