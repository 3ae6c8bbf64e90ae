"""How to add a method, followed literally in a copy of the checkout: three files, and the method works."""

import importlib.util
import os
import shutil
import subprocess
import sys

import pytest

from tests.documents import ROOT, blocks, commands

PAGE = "docs/contributing.md"
TEST = "tests/host/reducers/test_longest.py"


def steps():
    """(path, block) of each file that the page writes or changes."""
    named = [block for block in blocks(PAGE) if block.note.startswith("file=")]
    return [(block.note[len("file=") :], block) for block in named]


def changed(text, diff):
    """The text with each hunk of the diff applied; hunks are separated by an empty line."""
    for hunk in diff.strip("\n").split("\n\n"):
        lines = hunk.split("\n")
        before, after = ("\n".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))
        assert text.count(before) == 1, "the page's change does not fit the file: " + before
        text = text.replace(before, after)
    return text


def test_the_page_names_three_files():
    assert [block.language for _, block in steps()] == ["python", "diff", "python"] and steps()[-1][0] == TEST


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="exports a model on the workstation")
def test_a_method_that_is_added_as_the_page_says_passes_its_test_and_compiles(tmp_path):
    skipped = shutil.ignore_patterns("__pycache__", "data", "*.safetensors")
    for name in ("pomt_trt", "tests"):
        shutil.copytree(str(ROOT / name), str(tmp_path / name), ignore=None if name == "pomt_trt" else skipped)
    shutil.copy(str(ROOT / "setup.cfg"), str(tmp_path))
    for path, block in steps():
        file = tmp_path / path
        text = changed(file.read_text(), block.text) if block.language == "diff" else block.text
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert b"2 passed" in output(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", TEST)
    promised = next(words for words in commands(PAGE) if words[:1] == ["pomt-trt"])
    output(tmp_path, "pomt_trt", *promised[1:], *["--tokens", "196:180:16", "--samples", "8", "--max-seconds", "0.02"])
    with open(str(tmp_path / promised[promised.index("--work") + 1] / "experiment.json")) as file:
        assert '"longest"' in file.read()


def output(folder, module, *arguments):
    """Of `python -m MODULE ARGUMENT ...` in the copy."""
    command = [sys.executable, "-m", module, *arguments]
    environment = dict(os.environ, PYTHONPATH=str(folder))
    done = subprocess.run(
        command, cwd=str(folder), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300
    )
    assert done.returncode == 0, done.stdout.decode()
    return done.stdout
