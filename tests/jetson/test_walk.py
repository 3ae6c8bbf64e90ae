"""The README's way from graphs to predictions, command by command, on stand-ins for the board and its TensorRT.

A tiny model takes DeiT's place, with few candidates and little time for each. Left out: what travels or installs, and
bench, which takes minutes.
"""

import os
import re
import shlex
import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="exports a model, which belongs to the workstation")

from tests import compiled, simulator
from tests.jetson.conftest import REPOSITORY, SCRIPTS

ELSEWHERE = ("pip", "rsync", "cd", "jetson/install")
SHORTER = {"export": compiled.TOKENS, "profile": compiled.TIMING, "select": compiled.TIMING, "bundle": compiled.TIMING}


def steps(section):
    """The commands of one section, in their order."""
    text = (SCRIPTS / "README.md").read_text()
    body = re.search(rf"^## {re.escape(section)}.*?$(.*?)^## ", text, flags=re.S | re.M)[1]
    blocks = re.findall(r"^ *```\n(.*?)^ *```", body, flags=re.S | re.M)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if not line.startswith(ELSEWHERE) and " bench " not in line]


def words_of(command, folder):
    """The command as it stands, with our model, the bundle that was made, and this Python."""
    model = "local-dir:" + os.path.join(compiled.source(), "model")
    bundles = [str(path.relative_to(folder)) for path in folder.glob("work/deit-s/bundle-*")]
    words = []
    for word in shlex.split(command.replace("deit_small_patch16_224 --pretrained", model)):
        if "/bundle-tensorrt-" in word:
            assert len(bundles) == 1
            word = bundles[0]
        words.append(word)
    stage = next((word for word in words if word in SHORTER), "")
    words += SHORTER.get(stage, [])
    if words[0] == "pomt-trt":
        words[0] = ".venv/bin/pomt-trt"
    index = next((i for i, word in enumerate(words) if word.startswith(".venv/bin/")), None)
    if index is not None:
        module = ["-m", "pomt_trt"] if words[index].endswith("pomt-trt") else []
        words[index : index + 1] = [sys.executable, *module]
    return words


@pytest.mark.parametrize(
    "section, tree, release",
    [
        pytest.param("A fresh TX2", "tx2-jetpack-4.6.6", "8.2", marks=pytest.mark.long),
        ("A fresh Orin", "orin-nano-jetpack-6.2", "10.3.0"),
    ],
)
def test_the_readme_leads_to_predictions(board, tmp_path, monkeypatch, capsys, section, tree, release):
    machine, folder = board(tree), tmp_path / "checkout"
    folder.mkdir()
    (folder / "jetson").symlink_to(SCRIPTS)
    (folder / "imagenet").mkdir()
    for name in ("imagenet/val", "pictures"):
        (folder / name).symlink_to(os.path.join(compiled.source(), "data"))
    there = dict(machine.environment, OMP_NUM_THREADS="1", **simulator.environment(release))
    there["PYTHONPATH"] += os.pathsep + str(REPOSITORY)
    monkeypatch.chdir(folder)
    printed = []
    for command in steps(section):
        words = words_of(command, folder)
        if command.startswith("pomt-trt"):  # on the workstation: this process, which has loaded torch
            code, output, errors = compiled.call(capsys, *words[3:])
        else:
            done = subprocess.run(
                words, env=there, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300
            )
            code, output, errors = done.returncode, done.stdout, done.stderr
        assert code == 0, command + "\n" + output + errors
        printed.append((command, output))
    predicted = next(output for command, output in printed if "pomt_trt.infer" in command)
    assert len(predicted.splitlines()) == 1 + 10  # a header, and five class folders of two pictures
    assert machine.log[:3] == ["jetson_clocks --store FILE", "jetson_clocks ", "jetson_clocks --restore FILE"]
