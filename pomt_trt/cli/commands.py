"""What each subcommand does: one call into the stage it is named for, and the printed result.

Each function imports its stage when it is called: the start is quick, and doctor runs where nothing is installed.
"""

import argparse
import json
import os
import sys
from typing import Any, Dict

from pomt_trt.cli import tables
from pomt_trt.core.flags import flag, table
from pomt_trt.core.progress import Progress
from pomt_trt.core.storage import store


def compile_all(arguments: argparse.Namespace) -> None:
    """Prints the choice; the bundle's folder and its size on disk go to stderr."""
    from pomt_trt.core.storage.workfolder import WorkFolder, disk_bytes
    from pomt_trt.pipeline import options, run_stages

    chosen = run_stages.compile_all(options.make(**_compile_flags(arguments)))
    _print(chosen, tables.selection(chosen), arguments.json)
    work = WorkFolder(arguments.work)
    bundle = work.bundle(chosen.device_id)
    sizes_mb = [disk_bytes(folder) / 1e6 for folder in (bundle, work.root)]
    sys.stderr.write("bundle: {}\n".format(bundle))
    sys.stderr.write("disk: {:.1f} MB the bundle, {:.1f} MB the whole work folder\n".format(*sizes_mb))


def export(arguments: argparse.Namespace) -> None:
    """Prints how many graphs there are now."""
    from pomt_trt.pipeline import options, run_stages

    family = run_stages.export(options.make(**_compile_flags(arguments)))
    text = "{} graphs of form {} for {}".format(len(family.candidates), family.form, family.target)
    _print(family, text, arguments.json)


def compare(arguments: argparse.Namespace) -> None:
    """Prints several methods side by side."""
    from pomt_trt.core.choice import comparison
    from pomt_trt.pipeline import options
    from pomt_trt.pipeline.tasks import compare

    def options_of(method: str) -> Any:
        work = os.path.join(arguments.work, method)
        return options.make(**dict(_compile_flags(arguments), method=method, work=work))

    result = compare.compare(arguments.work, arguments.methods, options_of, arguments.against)
    _print(result, comparison.table(result), arguments.json)


def _compile_flags(arguments: argparse.Namespace) -> Dict[str, Any]:
    """The flags of a command that pomt_trt.compile_model takes too; options.make gives the others their defaults."""
    keys = [one.key for one in flag.flags_of((table.MODEL, table.WORK, *table.COMPILE))]
    return {key: value for key, value in vars(arguments).items() if key in keys}


def accuracy(arguments: argparse.Namespace) -> None:
    """Prints a line for each candidate."""
    from pomt_trt.pipeline import run_stages

    estimates = run_stages.accuracy(_scope(arguments))
    lines = ["{} {:.4f} ({} on {} images)".format(e.candidate_id, e.accuracy, e.kind, e.samples) for e in estimates]
    _print({e.candidate_id: e for e in estimates}, "\n".join(lines), arguments.json)


def build(arguments: argparse.Namespace) -> None:
    """Prints a line for each engine."""
    from pomt_trt.pipeline import options, run_stages

    settings = options.settings(vars(arguments))._replace(gpu=arguments.gpu)
    rows = run_stages.build(_scope(arguments), settings)
    _print(rows, tables.rows(rows, settings.pace_fps), arguments.json)


def profile(arguments: argparse.Namespace) -> None:
    """Prints a line for each candidate."""
    from pomt_trt.pipeline import options, run_stages

    flags = vars(arguments)
    settings, choice, budget = options.settings(flags), options.choice(flags), options.budget(flags)
    rows, energies = run_stages.profile(_scope(arguments), settings, choice, budget, arguments.energy)
    listed = [dict(row._asdict(), energy=energies[row.id]) if row.id in energies else row for row in rows]
    _print(listed, tables.rows(rows, settings.pace_fps, energies), arguments.json)


def _scope(arguments: argparse.Namespace) -> Any:
    """What part of the work folder a command is about, by those of the flags that it has."""
    from pomt_trt.pipeline.session import Scope

    names = ("tokens", "only", "precision", "engine")
    return Scope(arguments.work, **{name: getattr(arguments, name) for name in names if hasattr(arguments, name)})


def select(arguments: argparse.Namespace) -> None:
    """Prints the choice and its reasons."""
    from pomt_trt.pipeline import options, run_stages

    settings, choice = options.settings(vars(arguments)), options.choice(vars(arguments))
    chosen = run_stages.select(_scope(arguments), settings, choice)
    _print(chosen, tables.selection(chosen), arguments.json)


def bundle(arguments: argparse.Namespace) -> None:
    """Prints the bundle's folder."""
    from pomt_trt.pipeline import options, run_stages

    print(run_stages.bundle(_scope(arguments), options.settings(vars(arguments))))


def report(arguments: argparse.Namespace) -> None:
    """Prints the paths of the figures and curves."""
    from pomt_trt.pipeline import run_stages

    print("\n".join(run_stages.report(arguments.work)))


def replay(arguments: argparse.Namespace) -> None:
    """Prints what the adaptive search would have done."""
    from pomt_trt.core.search import replay
    from pomt_trt.core.search.curve import read_curve
    from pomt_trt.pipeline import options

    goal = options.choice(vars(arguments))
    result = replay.replay(read_curve(arguments.curve), goal, arguments.max_builds)
    _print(replay.result_json(result), "\n".join(replay.result_lines(result)), arguments.json)


def evaluate(arguments: argparse.Namespace) -> None:
    """Prints the engine's own accuracy."""
    from pomt_trt.device.deploy.evaluate import ImageSource, evaluate

    a = arguments
    source = ImageSource(a.data, a.samples, a.seed, a.class_order)
    with Progress("evaluate", a.samples) as bar:
        found = evaluate(a.bundle, source, a.threads, lambda done, total: bar.at(done, total=total))
    _print(found, tables.evaluation(found.engine, found.unreduced, found.host, found.host_expected), arguments.json)


def bench(arguments: argparse.Namespace) -> None:
    """Prints latencies and their ratios."""
    from pomt_trt.core import cpus
    from pomt_trt.device.deploy import bench

    threads = arguments.threads or [1, 2][: cpus.usable().threads]
    with Progress("bench", len(threads) * len(arguments.waiting)) as progress:
        options = bench.Options(
            against=arguments.against,
            threads=threads,
            waitings=arguments.waiting,
            image=arguments.image,
            max_s=arguments.max_seconds,
        )
        result = bench.bench(arguments.bundle, options, progress)
    _print(result, bench.table(result), arguments.json)


def verify(arguments: argparse.Namespace) -> None:
    """Prints a line for each check. Raises: VerificationFailed where one failed."""
    from pomt_trt.device.checks import verify

    with Progress("verify", 1) as progress:
        result = verify.verify(arguments.source, arguments.only, progress)
    _print(result, verify.table(result), arguments.json)
    verify.require(result)


def train(arguments: argparse.Namespace) -> None:
    """Prints the record of a training."""
    from pomt_trt.pipeline.tasks import train

    record = train.train(vars(arguments))
    if record is not None:  # only the first of several processes has it
        _print(record, tables.training(record), arguments.json)


def models(arguments: argparse.Namespace) -> None:
    """Prints a line for each model, or without a pattern for each file of timm."""
    from pomt_trt.pipeline.tasks import models

    found = models.survey(arguments.pattern)
    text = tables.models(found) if arguments.pattern else tables.model_families(found)
    _print(found, text, arguments.json)


def doctor(arguments: argparse.Namespace) -> None:
    """Prints a line for each finding. Raises: MissingDependency where something needed is missing."""
    from pomt_trt.device.board import doctor

    findings = doctor.examine()
    _print({finding.name: finding for finding in findings}, doctor.table(findings), arguments.json)
    doctor.check(findings)


def field_kit(arguments: argparse.Namespace) -> None:
    """Prints where the kit is, its size, and what to do with it."""
    from pomt_trt.pipeline.tasks import kits

    kit = kits.make(arguments.out, arguments.target)
    text = "{0}: {1} for {2}, {3:.0f} MB. Copy it to the board beside the checkout, and there: jetson/field_kit {0}"
    size = kits.size_bytes(arguments.out)
    _print(kit, text.format(arguments.out, " and ".join(kit.models), kit.target, size / 1e6), arguments.json)


def field_report(arguments: argparse.Namespace) -> None:
    """Prints what held on a board. Raises: VerificationFailed where something did not."""
    from pomt_trt.core.field_kit import archive_file, judgement

    judged = judgement.judge(archive_file.read(arguments.archive).collected)
    _print(judged, judgement.text(judged), arguments.json)
    judgement.require(judged)


def _print(value: Any, text: str, as_json: bool) -> None:
    print(json.dumps(store.to_json(value), indent=1) if as_json else text)
