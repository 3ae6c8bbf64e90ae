"""What the documents say can be done: commands parse, marked ones run, links, modules and Python names exist."""

import ast
import glob
import inspect
import json
import os
import re
from pathlib import Path

import pytest

from pomt_trt import __all__ as FUNCTIONS
from pomt_trt import __version__, cli, compile_model, infer
from pomt_trt.cli import command_line
from tests.documents import INDEX, ROOT, blocks, commands, documents, inline, lines, links, pages, prose, text_of

MOST_WORDS = 900  # of the README: a stranger reads no more
LINKED = [*documents(), "CHANGELOG.md", "tests/data/curves/README.md", "tests/data/jetson/README.md"]
SYSTEM = {"pip", "cd", "cp", "rsync", "docker", "cmake", "apt-get", "useradd", "install", "systemctl", "chown", "tar"}
SYSTEM |= {"nvpmodel"}
TRTEXEC = {"--onnx", "--stronglyTyped", "--useSpinWait", "--useCudaGraph", "--noDataTransfers"}
TREES = ("pomt_trt", "tests", "scripts", "jetson", "plugins", "docs")
SMALL = {"compile": ["--tokens", "196:180:16", "--samples", "8", "--max-seconds", "0.02"]}  # added to marked commands


def check(words):
    """Raises where a command could not be given so."""
    words = [word for word in words if not word.endswith("...") and not re.fullmatch(r"[A-Z_]+=\S*", word)]
    program, rest = words[0].replace("/opt/pomt-trt/", ""), words[1:]
    if program in ("sudo", "jetson/with_clocks") and rest:
        check(rest)
    elif program in ("pomt-trt", ".venv/bin/pomt-trt"):
        check_ours(rest)
    elif program in ("python", ".venv/bin/python"):
        check_python(rest)
    elif program.startswith(("scripts/", "jetson/")):
        check_script(program, rest)
    else:
        check_other(program, rest)


def check_other(program, rest):
    """What others made and we call."""
    if program == "accelerate":
        assert rest[:3] == ["launch", "-m", "pomt_trt"]
        check_ours(rest[3:])
    elif program == "make":
        assert rest[0] == "-C"
        assert re.search(r"^{}:".format(rest[2]), (ROOT / rest[1] / "Makefile").read_text(), flags=re.M), rest
    elif program.endswith("/bin/trtexec"):
        assert {word.split("=")[0] for word in rest} <= TRTEXEC
    else:
        assert program in SYSTEM, "the test does not know '{}'".format(program)


def check_ours(words):
    """A subcommand named by itself only has to exist."""
    if len(words) == 1 and not words[0].startswith("-"):
        words = [words[0], "--help"]
    parsed(cli.parser().parse_args, words)


def check_python(words):
    if words[0] == "-c":
        ast.parse(words[1])
    elif words[:2] == ["-m", "pomt_trt.infer"]:
        parsed(infer._parsed, words[2:])
    else:
        assert words[:2] == ["-m", "pip"]


def parsed(parse, words):
    try:
        parse(words)
    except SystemExit as end:
        assert end.code == 0, "not parsed: " + " ".join(words)


def check_script(program, words):
    assert (ROOT / program).is_file() or (ROOT / program).is_dir(), program + " does not exist"
    folder = ROOT / program.split("/")[0]
    sources = "\n".join(path.read_text() for path in sorted(folder.rglob("*")) if is_text(path))
    for flag in set(re.findall(r"--[\w-]+", " ".join(words))) - {"--help"}:
        assert flag in sources, "{} has no {}".format(program, flag)
    if words and program == "scripts/bench":
        assert "scripts/bench {} ".format(words[0]) in (ROOT / program).read_text()


def is_text(path):
    return path.is_file() and path.suffix in ("", ".py") and path.parent.name != "__pycache__"


@pytest.mark.parametrize("document", documents())
def test_each_command_parses(document):
    wrong = []
    for words in commands(document):
        try:
            check(words)
        except AssertionError as error:
            wrong.append("{}: {}".format(" ".join(words), error))
    assert not wrong, "\n".join(wrong)


def test_the_documents_give_commands_of_every_kind():
    found = [words for document in documents() for words in commands(document)]
    assert len(found) > 150
    ours = {words[1] for words in found if words[0] == "pomt-trt"}
    assert ours >= {command.name for command in command_line.COMMANDS}


@pytest.mark.parametrize(
    "line",
    [
        "pomt-trt compile digits --works w",
        "pomt-trt prune",
        "python -m pomt_trt.infer bundle --top 3",
        "accelerate launch -m pomt_trt train ltmp digits",
        "jetson/with_clocks pomt-trt profile W --paces 3",
        "scripts/prune",
        "scripts/bench all --fast",
        "scripts/bench none",
        "make -C plugins prune",
        "prune digits",
    ],
)
def test_a_command_that_cannot_be_given_is_found(line):
    with pytest.raises(AssertionError):
        check(line.split())


def test_marked_commands_run_in_the_order_of_the_index(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="compiles a model, which belongs to the workstation")
    monkeypatch.chdir(tmp_path)
    marked = [block for page in ["README.md", *pages()] for block in blocks(page) if block.note == "run"]
    for block in marked:
        if block.language == "python":
            exec(block.text, {})
        for words in lines(block.text) if block.language == "sh" else []:
            assert run(words) == 0, " ".join(words)
    assert sum(block.language == "sh" for block in marked) > 3


def run(words):
    """The exit code of a command, made in this process."""
    words = [path for word in words for path in (sorted(glob.glob(word)) if "*" in word else [word])]
    if words[0] == "pomt-trt":
        return cli.main([*words[1:], *SMALL.get(words[1], [])])
    if words[:3] == ["python", "-m", "pomt_trt.infer"]:
        return infer.main(words[3:])
    assert words[:2] == ["python", "-c"], words
    exec(words[2], {})
    return 0


@pytest.mark.parametrize("document", documents())
def test_each_python_example_uses_what_there_is(document):
    pytest.importorskip("torch", reason="looks at the workstation's functions")
    from pomt_trt.device.deploy import deployed
    from pomt_trt.host.models import token_reduction

    opener, reducer = deployed.open_predictor, token_reduction.reduce_tokens
    takes = {"compile_model": compile_model, "load": opener, "reduce_tokens": reducer}
    assert sorted(takes) == sorted(FUNCTIONS)
    for block in blocks(document):
        for node in ast.walk(ast.parse(block.text)) if block.language == "python" else []:
            called = getattr(node, "func", None)
            if isinstance(called, ast.Attribute) and getattr(called.value, "id", "") == "pomt_trt":
                known = inspect.signature(takes[called.attr]).parameters
                assert {word.arg for word in node.keywords} <= set(known), ast.dump(node)


@pytest.mark.parametrize("document", documents())
def test_each_json_example_is_json(document):
    for block in blocks(document):
        if block.language == "json":
            json.loads(block.text)


@pytest.mark.parametrize("document", LINKED)
def test_each_link_leads_somewhere(document):
    for target in links(document):
        path, _, anchor = target.partition("#")
        file = (ROOT / document).parent / path if path else ROOT / document
        assert target.startswith("http") or file.exists(), target
        if anchor and not target.startswith("http"):
            assert anchor in anchors(os.path.relpath(str(file), str(ROOT))), target


def anchors(document):
    """Names of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(document), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_each_page_is_in_the_index():
    there = {"docs/" + path.name for path in (ROOT / "docs").glob("*.md")}
    assert there == set(pages()), "add it to " + INDEX


def test_the_readme_is_short():
    assert len(text_of("README.md").split()) <= MOST_WORDS


@pytest.mark.parametrize("page", pages())
def test_each_file_that_a_page_names_exists(page):
    examples = {block.note[len("file=") :] for block in blocks(page) if block.note.startswith("file=")}
    for name in inline(page):
        if re.fullmatch(r"[\w.-]+(/[\w.-]+)+/?", name) and "NAME" not in name and name not in examples:
            below = Path(name).parts[0]
            if below in TREES or (ROOT / "pomt_trt" / below).is_dir():
                assert (ROOT / name).exists() or (ROOT / "pomt_trt" / name).exists(), name


def test_the_changelog_begins_with_this_version():
    newest = re.search(r"^## \[(.+?)\]", text_of("CHANGELOG.md"), flags=re.M)
    assert newest is not None and newest.group(1) == __version__
