"""Every command, file and link that the README and the other documents name exists and parses."""

import os
import re
import shlex
from pathlib import Path

import pytest

from pomt_trt import __version__, cli, infer

ROOT = Path(__file__).parent.parent
DOCUMENTS = ["README.md", "CHANGELOG.md", "jetson/README.md", "plugins/README.md", "docs/tensorrt_rtx.md"]
DOCUMENTS += ["pomt_trt/zoo/digits/README.md", "pomt_trt/zoo/scenes/README.md"]
PLACEHOLDERS = {"MODEL": "digits", "BUNDLE": "bundle", "DATA": "data", "W": "work", "CURVE.json": "curve.json"}


def commands():
    """Every command line of these documents: in code blocks, tables and running text."""
    text = "".join((ROOT / name).read_text() for name in ("README.md", "plugins/README.md", "docs/tensorrt_rtx.md"))
    blocks = re.findall(r"```(?:\w*)\n(.*?)```", text, flags=re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", text)
    starts = ("pomt-trt ", "python -m pomt_trt.infer ", "scripts/")
    return sorted({line.split("  #")[0].strip() for line in lines if line.startswith(starts)})


def test_the_readme_names_commands():
    assert len(commands()) > 10


@pytest.mark.parametrize("command", commands())
def test_each_command_of_the_readme_parses(command):
    words = [PLACEHOLDERS.get(word, word) for word in shlex.split(command)]
    if words[0].startswith("scripts/"):
        assert os.access(ROOT / words[0], os.X_OK)
    elif words[0] == "pomt-trt":
        cli.parser().parse_args(words[1:])
    else:
        infer._parsed(words[3:])


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_link_leads_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / document).read_text()):
        assert target.startswith("http") or (ROOT / document).parent.joinpath(target).exists(), target


def test_the_changelog_begins_with_this_version():
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.M)
    assert newest is not None and newest[1] == __version__
