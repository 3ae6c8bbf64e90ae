"""The project's Markdown documents: their code blocks, inline code and commands, as tests read them."""

import re
import shlex
from pathlib import Path
from typing import List, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
INDEX = "docs/README.md"
COMMANDS = ("pomt-trt ", "python -m pomt_trt.infer ", "scripts/", "jetson/")  # what inline code begins with to be one
LANGUAGES_OF_COMMANDS = ("", "sh")


class Block(NamedTuple):
    """A fenced code block: ```LANGUAGE NOTE."""

    language: str
    note: str  # run, file=PATH, or nothing
    text: str


def pages() -> List[str]:
    """docs/*.md in the order of the index."""
    linked = [target for target in links(INDEX) if re.fullmatch(r"[\w-]+\.md", target)]
    return [INDEX] + ["docs/" + name for name in linked]


def documents() -> List[str]:
    """Every document with commands for users."""
    zoo = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("pomt_trt/zoo/*/README.md"))
    return ["README.md", *pages(), "jetson/README.md", "plugins/README.md", *zoo]


def text_of(document: str) -> str:
    """The whole document."""
    return (ROOT / document).read_text(encoding="utf-8")


def links(document: str) -> List[str]:
    """Targets of its links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(document))


def prose(document: str) -> str:
    """The document without its code blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", text_of(document), flags=re.S | re.M)


def blocks(document: str) -> List[Block]:
    """Its fenced code blocks, those in lists too."""
    found = re.findall(r"^ *```(\w*) ?([^\n]*)\n(.*?)^ *```$", text_of(document), flags=re.S | re.M)
    return [Block(*parts) for parts in found]


def inline(document: str) -> List[str]:
    """Its inline code."""
    return re.findall(r"`([^`\n]+)`", prose(document))


def commands(document: str) -> List[List[str]]:
    """The words of every command: in code blocks, in indented lines, and inline."""
    found = [one for block in blocks(document) if block.language in LANGUAGES_OF_COMMANDS for one in lines(block.text)]
    indented = re.findall(r"^ {4}(\S.*)$", prose(document), flags=re.M)
    single = [text for text in indented + inline(document) if text.startswith(COMMANDS)]
    return found + [one for text in single for one in lines(text)]


def lines(text: str) -> List[List[str]]:
    """The words of each command of a block; `a && b` are two."""
    found: List[List[str]] = []
    for line in text.replace("\\\n", " ").splitlines():
        words: List[str] = []
        for word in [*shlex.split(line, comments=True), "&&"]:
            if word != "&&":
                words.append(word)
            elif words:
                found.append(words)
                words = []
    return found
