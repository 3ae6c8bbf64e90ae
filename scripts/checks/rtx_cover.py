#!/usr/bin/env python3
"""What NVIDIA's TensorRT-RTX says of our graphs, as the tables of docs/tensorrt_rtx.md: no GPU is needed.

    scripts/checks/rtx_cover.py            prints both tables (some minutes)
    scripts/checks/rtx_cover.py --write    puts them into docs/tensorrt_rtx.md

The cover: graphs of every method, task, precision, batch, kind of model and R, any two values of two of these together
in one, built ahead of time. The corpus: small good and bad graphs, given to TensorRT-RTX and to the tests' stand-in.
"""

import argparse
import datetime
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from pomt_trt.core import cpus  # noqa: E402

DOCS = ROOT / "docs" / "tensorrt_rtx.md"


def main() -> int:
    """Runs the command; exit code 1 where a graph of the cover is refused, or the stand-in differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/tensorrt_rtx.md")
    arguments = parser.parse_args()
    tables = {}
    tables["cover"], refused = cover_table()
    tables["corpus"], differing = corpus_table()
    for name, text in tables.items():
        print(text)
        if arguments.write:
            write(name, text)
    return int(bool(refused or differing))


def cover_table() -> tuple[str, int]:
    """The cover as a table, and how many graphs were refused or warned of."""
    from tests.rtx import cover

    results = []
    for case in cover.cases():
        with tempfile.TemporaryDirectory() as folder:
            results.append(cover.tried(case, cover.WHOLE, Path(folder)))
            print(f"{len(results)}: {case.name}", file=sys.stderr)
    lines = ["| method | task | precision | batch | model | tokens | build s | plan MB | said |", "|---" * 9 + "|"]
    for each in sorted(results, key=lambda one: one.case):
        case, said = each.case, each.refused or "; ".join(each.warnings) or "built, no warning"
        about = (case.method, case.task, case.precision, case.batch, case.model, each.tokens)
        cells = [*map(str, about), f"{each.build_s:.1f}", f"{each.plan_bytes / 1e6:.1f}", said]
        lines.append("| " + " | ".join(cells) + " |")
    wrong = sum(bool(each.refused or each.warnings) for each in results)
    refused = sum(bool(each.refused) for each in results)
    lines += ["", f"{len(results)} graphs: {refused} refused, {wrong - refused} built with a warning."]
    return titled(lines), wrong


def corpus_table() -> tuple[str, int]:
    """The corpus as a table, and in how many graphs the stand-in differs."""
    from tests import simulator
    from tests.rtx import corpus, judge

    with tempfile.TemporaryDirectory() as folder:
        program = [sys.executable, "-m", "tests.rtx.judge", folder]
        done = subprocess.run(program, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    real = {name: judge.Outcome(*given) for name, given in json.loads(done.stdout.splitlines()[-1]).items()}
    lines, verdicts = ["| graph | TensorRT-RTX | error | stand-in |", "|---|---|---|---|"], Counter()
    for name, make in corpus.GRAPHS.items():
        with tempfile.TemporaryDirectory() as folder, simulator.installed(simulator.RTX):
            stand_in = judge.outcome(sys.modules["tensorrt_rtx"], make(folder))
        same = stand_in.decision == real[name].decision
        verdicts[same] += 1
        stage = real[name].stage if real[name].stage == "built" else f"{real[name].stage}: {real[name].way}"
        lines.append(f"| {name} | {stage} | {real[name].kind} | {'same' if same else 'DIFFERS'} |")
    lines += ["", f"{len(real)} graphs; the stand-in agrees in {verdicts[True]} and differs in {verdicts[False]}."]
    return titled(lines), verdicts[False]


def titled(lines: list[str]) -> str:
    """A table under what it was made with."""
    import tensorrt_rtx

    today, cores = datetime.date.today().isoformat(), cpus.usable().machine
    command, version = "scripts/checks/rtx_cover.py --write", tensorrt_rtx.__version__
    made = f"`{command}`, TensorRT-RTX {version}, no GPU, {cores} cores, {today}:"
    return "\n".join([made, "", *lines]) + "\n"


def write(name: str, text: str) -> None:
    """Replaces a table between its marks in the docs."""
    begin, end = f"<!-- {name}: made by scripts/checks/rtx_cover.py -->\n", f"<!-- end of {name} -->"
    held = DOCS.read_text()
    made, count = re.subn(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: begin + text + end, held, flags=re.DOTALL)
    assert count == 1, f"{DOCS} holds no marks of {name}"
    DOCS.write_text(made)


if __name__ == "__main__":
    sys.exit(main())
