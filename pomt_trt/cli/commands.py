"""What each subcommand does: one call into the stage it is named for, and what of the result is printed.

Each imports its stage when it is called, so that doctor runs where nothing is installed. Any machine, as far as
explaining what is missing. Leaves out flags and exit codes (cli.py).
"""

import argparse
import contextlib
import json
import os
import sys
from typing import Any, List, Optional

from pomt_trt.cli import tables
from pomt_trt.core.storage import store
from pomt_trt.core.storage.workfolder import WorkFolder, disk_bytes


def compile_all(arguments: argparse.Namespace) -> None:
    """The choice of a whole compile; where its bundle lies and what it costs in disk goes to stderr."""
    from pomt_trt.pipeline import run_stages

    chosen = run_stages.compile_all(_options(arguments))
    _print(chosen, tables.selection(chosen), arguments.json)
    work = WorkFolder(arguments.work)
    bundle = work.bundle(chosen.device_id)
    sizes_mb = [disk_bytes(folder) / 1e6 for folder in (bundle, work.root)]
    sys.stderr.write("bundle: {}\n".format(bundle))
    sys.stderr.write("disk: {:.1f} MB the bundle, {:.1f} MB the whole work folder\n".format(*sizes_mb))


def export(arguments: argparse.Namespace) -> None:
    """How many graphs there are now."""
    from pomt_trt.pipeline import run_stages

    family = run_stages.export(_options(arguments))
    _print(
        family, "{} graphs of form {} for {}".format(len(family.candidates), family.form, family.target), arguments.json
    )


def compare(arguments: argparse.Namespace) -> None:
    """Several methods side by side."""
    from pomt_trt.core.choice import comparison
    from pomt_trt.pipeline import compare

    given = dict(vars(arguments))
    methods, against, root = given.pop("methods").split(","), given.pop("against"), arguments.work

    def asked(method: str) -> Any:
        return _options(argparse.Namespace(**dict(given, method=method, work=os.path.join(root, method))))

    found = compare.compare(root, methods, asked, [] if against == "none" else against.split(","))
    _print(found, comparison.table(found), arguments.json)


def accuracy(arguments: argparse.Namespace) -> None:
    """A line a candidate."""
    from pomt_trt.pipeline import run_stages

    found = run_stages.accuracy(arguments.work, arguments.tokens)
    lines = ["{} {:.4f} ({} on {} images)".format(a.candidate_id, a.accuracy, a.kind, a.samples) for a in found]
    _print({a.candidate_id: a for a in found}, "\n".join(lines), arguments.json)


def build(arguments: argparse.Namespace) -> None:
    """A line an engine."""
    from pomt_trt.pipeline import run_stages

    settings = _settings(arguments)._replace(gpu=arguments.gpu)
    a = arguments
    found = run_stages.build(a.work, settings, a.tokens, _only(a), a.precision, a.engine)
    _print(found, tables.rows(found, settings.pace_fps), arguments.json)


def profile(arguments: argparse.Namespace) -> None:
    """A line a candidate."""
    from pomt_trt.pipeline import options, run_stages

    budget = options.budget(arguments.search, arguments.max_builds, arguments.max_time)
    settings = _settings(arguments)
    a = arguments
    found, energies = run_stages.profile(
        a.work, settings, _choice(a), budget, a.tokens, _only(a), a.precision, a.engine, a.energy
    )
    listed = [dict(row._asdict(), energy=energies[row.id]) if row.id in energies else row for row in found]
    _print(listed, tables.rows(found, settings.pace_fps, energies), arguments.json)


def _only(arguments: argparse.Namespace) -> Optional[List[str]]:
    return arguments.only.split(",") if arguments.only else None


def select(arguments: argparse.Namespace) -> None:
    """The choice and its reasons."""
    from pomt_trt.pipeline import run_stages

    a = arguments
    chosen = run_stages.select(a.work, _settings(a), _choice(a), a.tokens, a.precision, a.engine)
    _print(chosen, tables.selection(chosen), arguments.json)


def bundle(arguments: argparse.Namespace) -> None:
    """The bundle's folder."""
    from pomt_trt.pipeline import run_stages

    print(run_stages.bundle(arguments.work, _settings(arguments), arguments.precision, arguments.engine))


def report(arguments: argparse.Namespace) -> None:
    """The paths of what was drawn."""
    from pomt_trt.pipeline import run_stages

    print("\n".join(run_stages.report(arguments.work)))


def replay(arguments: argparse.Namespace) -> None:
    """What the search would have done."""
    from pomt_trt.core.search import replay
    from pomt_trt.core.search.curve import read_curve
    from pomt_trt.core.search.search_state import Goal

    choice = _choice(arguments)
    goal = Goal(choice.rule, choice.alpha, choice.max_accuracy_drop, choice.max_latency_ms, choice.min_gain)
    found = replay.replay(read_curve(arguments.curve), goal, arguments.max_builds)
    _print(replay.result_json(found), "\n".join(replay.result_lines(found)), arguments.json)


def _settings(arguments: argparse.Namespace) -> Any:
    from pomt_trt.pipeline import options

    a = arguments
    return options.settings(a.threads, a.waiting, a.max_seconds, a.pace, a.cuda_graph, a.plugin, a.plugin_library)


def _choice(arguments: argparse.Namespace) -> Any:
    from pomt_trt.pipeline import options

    return options.choice(
        arguments.rule, arguments.alpha, arguments.max_accuracy_drop, arguments.max_latency, arguments.min_gain
    )


def evaluate(arguments: argparse.Namespace) -> None:
    """The engine's own accuracy."""
    from pomt_trt.core.progress import Progress
    from pomt_trt.device.deploy.evaluate import evaluate

    with contextlib.ExitStack() as stack:
        bars: List[Progress] = []

        def progress(done: int, total: int) -> None:
            if not bars:
                bars.append(stack.enter_context(Progress("evaluate", total)))
            bars[0].at(done)

        a = arguments
        found = evaluate(a.bundle, a.data, a.samples, a.seed, a.threads, progress, a.class_order)
    _print(found, tables.evaluation(found.engine, found.unreduced, found.host, found.host_expected), arguments.json)


def bench(arguments: argparse.Namespace) -> None:
    """Latencies and their ratios."""
    from pomt_trt.core.progress import Progress
    from pomt_trt.device.deploy import bench
    from pomt_trt.pipeline import options

    threads = options.bench_threads(arguments.threads)
    waitings = arguments.waiting.split(",")
    with Progress("bench", len(threads) * len(waitings)) as progress:
        asked = bench.Options(
            against=[] if arguments.against == "none" else arguments.against.split(","),
            threads=threads,
            waitings=waitings,
            image=arguments.image,
            max_s=arguments.max_seconds,
        )
        found = bench.bench(arguments.bundle, asked, progress)
    _print(found, bench.table(found), arguments.json)


def verify(arguments: argparse.Namespace) -> None:
    """A line a check; an error where one failed."""
    from pomt_trt.core.progress import Progress
    from pomt_trt.device.checks import verify

    with Progress("verify", 1) as progress:
        found = verify.verify(arguments.source, _only(arguments), progress)
    _print(found, verify.table(found), arguments.json)
    verify.require(found)


def train(arguments: argparse.Namespace) -> None:
    """The record of a training."""
    from pomt_trt.pipeline import train

    found = train.train(vars(arguments))
    if found is not None:  # one of several processes speaks
        _print(found, tables.training(found), arguments.json)


def doctor(arguments: argparse.Namespace) -> None:
    """A line a finding; an error where something needed is missing."""
    from pomt_trt.device.board import doctor

    findings = doctor.examine()
    _print({finding.name: finding for finding in findings}, doctor.table(findings), arguments.json)
    doctor.check(findings)


def field_kit(arguments: argparse.Namespace) -> None:
    """Where the kit is, how large, and what to do with it."""
    from pomt_trt.pipeline import kits

    made = kits.make(arguments.out, arguments.target)
    told = "{0}: {1} for {2}, {3:.0f} MB. Copy it to the board beside the checkout, and there: jetson/field_kit {0}"
    size = kits.size_bytes(arguments.out)
    _print(made, told.format(arguments.out, " and ".join(made.models), made.target, size / 1e6), arguments.json)


def field_report(arguments: argparse.Namespace) -> None:
    """What held on a board, line by line; an error where something did not."""
    from pomt_trt.core.field_kit import archive_file, judgement

    found = judgement.judge(archive_file.read(arguments.archive).collected)
    _print(found, judgement.text(found), arguments.json)
    judgement.require(found)


def _options(arguments: argparse.Namespace) -> Any:
    """The Options of a command that names a model; flags that it lacks keep their defaults."""
    given = dict(vars(arguments))
    for name in ("run", "command", "json", "only"):
        given.pop(name, None)
    from pomt_trt.pipeline import options

    return options.make(given.pop("model"), given.pop("work"), **given)


def _print(value: Any, text: str, as_json: bool) -> None:
    print(json.dumps(store.to_json(value), indent=1) if as_json else text)
