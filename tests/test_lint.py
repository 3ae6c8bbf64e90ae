"""scripts/lint checks every file of ours that is code, also one that was added yesterday."""

import os
import re
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDERS = ("pomt_trt", "scripts", "jetson", "tests", ".ci")


def is_code(path):
    """A module, or a script that says what runs it."""
    if path.endswith(".py"):
        return True
    with open(path, "rb") as file:
        return re.match(rb"#!.*(python|bash)|.*\n# shellcheck shell=bash", file.read(500)) is not None


def code():
    found = []
    for top in FOLDERS:
        for folder, folders, names in os.walk(os.path.join(ROOT, top)):
            folders[:] = [name for name in folders if name not in ("__pycache__", "data")]
            found += [os.path.join(folder, name) for name in names]
    return sorted(os.path.relpath(path, ROOT) for path in found if is_code(path))


def test_lint_checks_every_module_and_every_script():
    listed = subprocess.check_output(["scripts/lint", "--files"], cwd=ROOT).decode().split()
    ours = code()
    assert {"scripts/lint", "scripts/bench", "jetson/with_clocks", "pomt_trt/cli/command_line.py"} <= set(ours)
    left_out = [path for path in ours if not any(path == one or path.startswith(one + "/") for one in listed)]
    assert left_out == []
