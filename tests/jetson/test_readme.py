"""Every command of jetson/README.md parses, and every script that it names is there."""

import os
import re
import shlex

import pytest

from pomt_trt import cli, infer
from pomt_trt.core.targets import TARGETS
from tests.jetson.conftest import REPOSITORY, SCRIPTS, TREES

TEXT = (SCRIPTS / "README.md").read_text()
OURS = ("pomt-trt", ".venv/bin/pomt-trt")
SYSTEM = {"pip", "tar", "cd", "rsync", "sudo", "docker", "make", "/usr/src/tensorrt/bin/trtexec"}
TRTEXEC_FLAGS = {"--onnx", "--stronglyTyped", "--useSpinWait", "--useCudaGraph", "--noDataTransfers"}


def commands():
    """Every line of the code blocks."""
    blocks = re.findall(r"^ *```\n(.*?)^ *```", TEXT, flags=re.S | re.M)
    return sorted({line.strip() for block in blocks for line in block.splitlines() if line.strip()})


def check(words):
    """Raises where a command could not be given so."""
    words = [word for number, word in enumerate(words) if number or not re.fullmatch(r"[A-Z_]+=\w+", word)]
    if words[0] in OURS:
        cli.parser().parse_args(words[1:])
    elif words[:3] == [".venv/bin/python", "-m", "pomt_trt.infer"]:
        assert infer.main(words[3:]) != 2, words  # 2: usage; there is no such bundle here
    elif words[0].startswith("jetson/"):
        assert os.access(REPOSITORY / words[0], os.X_OK), words[0]
        if words[0] == "jetson/with_clocks":
            check(words[1:])
    else:
        assert words[0] in SYSTEM, words
    if words[0] == "make":
        assert words[1:3] == ["-C", "plugins"] and f"\n{words[3]}: " in (REPOSITORY / "plugins/Makefile").read_text()
    if words[0].endswith("/bin/trtexec"):
        assert {word.split("=")[0] for word in words[1:]} == TRTEXEC_FLAGS


def test_the_readme_names_commands():
    assert len(commands()) > 25


@pytest.mark.parametrize("command", commands())
def test_each_command_parses(command):
    check(shlex.split(command))


def test_files_that_commands_copy_or_name_are_there():
    named = re.findall(r"jetson/[\w.-]+", TEXT)
    assert len(set(named)) > 5 and [path for path in named if not (REPOSITORY / path.rstrip(".")).exists()] == []


def test_each_target_of_the_table_is_known_and_none_is_missing():
    named = set(re.findall(r"\| `(jetpack-[\d.]+)` \|", TEXT))
    same_parser = {"jetpack-6.1"}  # as 6.2
    assert named | same_parser == {name for name in TARGETS if name.startswith("jetpack")}


@pytest.mark.parametrize("script", ["set_clocks", "restore_clocks", "install", "install_service"])
def test_scripts_that_take_a_dry_run_are_said_to(board, script):
    machine = board("agx-orin-jetpack-6.2")
    assert machine.run(script, "--dry-run").returncode == 0


def test_no_number_of_a_power_mode_is_pasted():
    """It means another mode on another module."""
    assert "jetson/power_mode" in commands()
    for path in [*REPOSITORY.glob("*.md"), *SCRIPTS.glob("*.md"), *REPOSITORY.glob("docs/*.md")]:
        assert not re.search(r"nvpmodel (-m|--mode) *\d", path.read_text()), path


def test_the_trees_say_what_they_are():
    told = (TREES / "README.md").read_text()
    trees = [path.name for path in TREES.iterdir() if path.name != "README.md"]
    assert len(trees) > 3 and [name for name in trees if name not in told] == []
