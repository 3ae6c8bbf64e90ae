"""The pomt-trt command: its flags, its exit codes, and its main paths on a tiny model."""

import argparse
import json
import os
import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="compiles a model, which belongs to the workstation")

from pomt_trt import cli  # noqa: E402
from pomt_trt.cli import command_line  # noqa: E402
from pomt_trt.core.flags.flag import flags_of  # noqa: E402
from pomt_trt.core.records import Family  # noqa: E402
from pomt_trt.core.storage import store  # noqa: E402
from pomt_trt.core.storage.bundle import open_bundle  # noqa: E402
from tests import compiled  # noqa: E402
from tests.compiled import call, files, one  # noqa: E402


def subparsers():
    """name -> parser of every subcommand."""
    action = next(a for a in cli.parser()._actions if isinstance(a, argparse._SubParsersAction))
    return action.choices


def row_ids(chosen):
    return [row["id"] for row in chosen["rows"]]


def test_flags_and_python_have_the_same_defaults():
    import inspect

    import pomt_trt

    parameters = inspect.signature(pomt_trt.compile_model).parameters
    actions = [action for action in subparsers()["compile"]._actions if action.dest not in ("help", "json")]
    assert sorted(parameters) == sorted(action.dest for action in actions)
    for action in actions:
        given = action.required or not action.option_strings
        assert parameters[action.dest].default == (inspect.Parameter.empty if given else action.default), action.dest


def leaves(commands=command_line.COMMANDS):
    """Every subcommand, and of train every method."""
    return [leaf for command in commands for leaf in (leaves(command.methods) if command.methods else [command])]


@pytest.mark.parametrize("command", leaves(), ids=lambda command: command.name)
def test_the_example_of_a_subcommand_parses(command):
    words = command.example.split()
    assert words[0] == "pomt-trt" and cli.parser().parse_args(words[1:]).subcommand is command


@pytest.mark.parametrize("command", leaves(), ids=lambda command: command.name)
def test_help_shows_each_default_and_an_example(command, capsys):
    words = [*(["train"] if command not in command_line.COMMANDS else []), command.name, "--help"]
    out = call(capsys, *words)[1]
    shown = "".join(out.split())  # argparse breaks lines
    assert "example:\n  " + command.example in out
    assert [one.name for one in flags_of(command.flags) if "".join(one.help_text.split()) not in shown] == []


def test_bench_compares_one_thread_with_two_where_the_process_may_use_two(monkeypatch, capsys):
    from pomt_trt.core import cpus
    from pomt_trt.device.deploy import bench

    compared = []
    monkeypatch.setattr(bench, "bench", lambda bundle, options, progress: compared.append(options.threads))
    monkeypatch.setattr(bench, "table", lambda result: "")
    for usable, words in ((6, []), (0.5, []), (6, ["--threads", "4,8"])):
        monkeypatch.setattr(cpus, "usable", lambda usable=usable: cpus.Cpus(8, 8, usable))
        assert call(capsys, "bench", "bundle", *words)[0] == 0
    assert compared == [[1, 2], [1], [4, 8]]


def errors_of_ours():
    """Every class of error, read from the module that holds them."""
    from pomt_trt.core import errors

    return [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.PomtError)]


@pytest.mark.parametrize("program", ["pomt-trt", "python -m pomt_trt.infer"])
def test_the_help_lists_the_exit_code_of_every_error_and_what_it_means(program, capsys):
    from pomt_trt import infer

    with pytest.raises(SystemExit):
        (cli.main if program == "pomt-trt" else infer.main)(["--help"])
    listed = " ".join(capsys.readouterr().out.partition("exit codes: ")[2].split())
    found = {int(code): meaning for code, meaning in re.findall(r"(\d+) ([^,]+)", listed)}
    assert len(errors_of_ours()) > 13 and set(found) == {0, 130} | {kind.exit_code for kind in errors_of_ours()}
    assert found[11].startswith("some inputs failed") and "stale" in found[8] and found[130] == "interrupted"


@pytest.mark.parametrize(
    "arguments", [[], ["nosuch"], ["compile"], ["compile", "digits"], ["select", "W", "--rule", "x"]]
)
def test_what_is_no_command_is_usage(arguments, capsys):
    code, out, err = call(capsys, *arguments)
    assert code == 2 and err.startswith("usage: pomt-trt") and not out


def test_version(capsys):
    import pomt_trt

    assert call(capsys, "--version") == (0, "pomt-trt {}\n".format(pomt_trt.__version__), "")


def test_compile_prints_the_selection_and_fills_the_folder(tmp_path, capsys):
    code, out, err = call(capsys, *compiled.compile_command(tmp_path / "w", "--json"))
    chosen = json.loads(out)
    assert code == 0 and "bundle: " in err and re.search(r"disk: [\d.]+ MB the bundle, [\d.]+ MB the whole", err)
    assert chosen["accuracy_kind"] == "top1" and chosen["accuracy_source"] == "host-fp32"
    assert row_ids(chosen) == compiled.CANDIDATES
    for row in chosen["rows"]:
        assert row["status"] == "measured"
        assert row["tokens_before"] - row["tokens_after"] == row["removed"]
    device = chosen["device_id"]
    there = files(tmp_path / "w")
    for name in ("experiment.json", "golden.npz", "onnx/op17-fp32/weights.bin", "onnx/op17-fp32/r009.onnx"):
        assert name in there
    for name in ("accuracy/r005.json", "accuracy/r005.npz", "latency/{}/r005.json", "engines/{}/r000.engine"):
        assert name.format(device) in there
    for name in ("selection-{}.json", "selection-{}.png", "bundle-{}/bundle.json"):
        assert name.format(device) in there
    assert not compiled.leftovers(tmp_path / "w")


def test_a_rerun_changes_no_file_and_says_the_same(work, capsys):
    before = files(work)
    first = call(capsys, *compiled.compile_command(work, "--json"))
    second = call(capsys, *compiled.compile_command(work, "--json"))
    assert first[:2] == second[:2] and first[0] == 0
    assert files(work) == before


def test_a_larger_grid_reuses_everything(work, capsys):
    before = files(work)
    command = compiled.compile_command(work, "--json", "--keep-engines")
    command[command.index("16:8:4")] = "15:6:3"  # other counts: 15, 12, 9, 6
    code, out, _ = call(capsys, *command)
    assert code == 0 and row_ids(json.loads(out)) == ["r000", "r002", "r005", "r008", "r011"]
    after = files(work)
    for name in before:
        if name.startswith("accuracy") or "groups" in name:  # latencies are estimated anew with the new groups
            assert after[name] == before[name], name
    family = store.read_record(os.path.join(work, "onnx/op17-fp32/family.json"), Family).record
    assert [c.id for c in family.candidates] == ["r000", "r001", "r002", "r005", "r008", "r009", "r011"]
    code, out, _ = call(capsys, *compiled.compile_command(work, "--json"))  # and the first grid is still done
    assert code == 0 and row_ids(json.loads(out)) == compiled.CANDIDATES
    for name in after:
        if name.startswith(("accuracy", "latency", "onnx")):
            assert files(work)[name] == after[name], name


@pytest.mark.parametrize("rule", ["utility", "fastest-within", "best-within", "step"])
def test_select_with_another_rule_measures_nothing(rule, work, capsys):
    before = files(work)
    arguments = ["select", work, "--rule", rule, "--max-accuracy-drop", "100", "--threads", "1", "--json"]
    code, out, _ = call(capsys, *arguments)
    chosen = json.loads(out)
    assert code == 0 and chosen["rule"] == rule and row_ids(chosen) == compiled.CANDIDATES
    after = files(work)
    assert {name for name in before if after.get(name) != before[name]} <= {
        os.path.basename(one(work, "selection-", ".json")),
        os.path.basename(one(work, "selection-", ".json"))[: -len("json")] + "png",
    }
    code, out, _ = call(capsys, "bundle", work, "--threads", "1")
    assert code == 0 and open_bundle(out.strip()).selection.rule == rule
    code, out, _ = call(capsys, "report", work)
    assert code == 0 and all(os.path.getsize(path) > 500 for path in out.splitlines()) and ".png" in out


def test_a_paced_profile_is_selected_only_by_its_pace_which_the_selection_says(work, capsys):
    pace = ["--pace", "1000"]
    code, out, _ = call(capsys, "profile", work, *compiled.TIMING, *pace, "--only", "r005")
    assert code == 0 and all(line.endswith("paced at 1000 FPS") for line in out.splitlines())
    code, _, err = call(capsys, "select", work, "--threads", "1")
    assert code == 3 and "timed with --threads 1 --waiting default --pace 1000, you ask for 1 and default and no" in err
    code, _, err = call(capsys, "report", work)  # of the selection from before
    assert code == 8 and "were timed at another pace than the others" in err
    assert call(capsys, "profile", work, *compiled.TIMING, *pace, "--search", "exhaustive")[0] == 0
    code, out, _ = call(capsys, "select", work, "--threads", "1", *pace)
    assert code == 0 and "Latencies were paced at 1000 FPS" in out
    code, out, _ = call(capsys, "report", work)
    with open(next(path for path in out.splitlines() if path.endswith(".json"))) as file:
        assert code == 0 and json.load(file)["pace_fps"] == 1000.0


def test_stages_one_by_one_make_what_compile_makes(tmp_path, work, capsys):
    apart = str(tmp_path / "apart")
    assert call(capsys, "export", *compiled.experiment(), *compiled.TOKENS, "--work", apart)[0] == 0
    code, out, _ = call(capsys, "accuracy", apart, "--json")
    assert code == 0 and sorted(json.loads(out)) == compiled.CANDIDATES
    code, out, _ = call(capsys, "build", apart, "--threads", "1", "--only", "r005")
    assert code == 0 and sorted(os.listdir(one(os.path.join(apart, "engines"), "")))[:3] == [
        "r000.engine", "r000.json", "r005.engine",
    ]  # fmt: skip
    code, _, _ = call(capsys, "profile", apart, *compiled.TIMING, "--search", "exhaustive", "--json")
    assert code == 0
    code, out, _ = call(capsys, "select", apart, "--threads", "1", "--json")
    assert code == 0 and row_ids(json.loads(out)) == compiled.CANDIDATES
    assert call(capsys, "bundle", apart, "--threads", "1")[0] == 0
    for name in ("experiment.json", "golden.npz"):
        assert Path(apart, name).read_bytes() == Path(work, name).read_bytes()
    for folder in ("onnx/op17-fp32", "accuracy"):
        assert sorted(os.listdir(os.path.join(apart, folder))) == sorted(os.listdir(os.path.join(work, folder)))
        for name in os.listdir(os.path.join(work, folder)):
            assert Path(apart, folder, name).read_bytes() == Path(work, folder, name).read_bytes(), name


@pytest.mark.parametrize("method", ["tome", "pomt-shift"])
def test_bundles_of_other_methods_classify(method, tmp_path, capsys):
    from pomt_trt import infer

    model, data = (os.path.join(compiled.source(), name) for name in ("model", "data"))
    command = ["compile", "local-dir:" + model, "--data", data, "--method", method, "--tokens", "11:11:1"]
    assert call(capsys, *command, *compiled.TIMING, "--work", tmp_path / "work")[0] == 0
    bundle = one(tmp_path / "work", "bundle-")
    assert open_bundle(bundle).method == method
    assert infer.main([bundle, data, "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 10


def test_a_moved_work_folder_goes_on(work, tmp_path, capsys):
    shutil.move(work, str(tmp_path / "moved"))
    before = files(tmp_path / "moved")
    assert call(capsys, *compiled.compile_command(tmp_path / "moved"))[0] == 0
    assert files(tmp_path / "moved") == before


def test_a_timm_name_with_random_weights_can_only_agree(tmp_path, capsys):
    arguments = ["vit_tiny_patch16_224", "--img-size", "32", "--samples", "4", "--tokens", "3:3:1", *compiled.TIMING]
    code, out, err = call(capsys, "compile", *arguments, "--work", tmp_path / "w", "--json")
    chosen = json.loads(out)
    assert code == 0 and chosen["accuracy_kind"] == "agreement" and chosen["unreduced"]["accuracy"] == 1.0
    assert row_ids(chosen) == ["r000", "r002"]


def test_a_reader_that_stops_early_is_no_error(work):
    import subprocess

    process = compiled.start("select", work, "--threads", "1", "--json", stdout=subprocess.PIPE)
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.wait(timeout=60)
    process.stderr.close()


def test_ctrl_c_is_told_and_goes_on_from_there(tmp_path):
    import signal
    import time

    process = compiled.start(*compiled.compile_command(tmp_path / "w"))
    while not os.path.exists(str(tmp_path / "w" / ".lock")):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and b"continues from here" in err and b"Traceback" not in err, err.decode()


@pytest.mark.parametrize("command", [["compile"], ["export"], ["evaluate"], ["train", "ltmp"]])
def test_help_says_what_becomes_of_exif_orientation(command, capsys):
    with pytest.raises(SystemExit):
        cli.main([*command, "--help"])
    assert "EXIF orientation is ignored, as timm ignores it" in " ".join(capsys.readouterr().out.split())
