"""The pomt-trt command: flags, one call a subcommand, and what is printed.

One subcommand a stage; each imports its stage when it is called, so that doctor runs where nothing is installed.
Results go to stdout, progress and messages to stderr.
"""

import argparse
import contextlib
import json
import logging
import os
import sys
from typing import Any, Callable, List, NamedTuple, Optional, Sequence

from pomt_trt import __version__, flags
from pomt_trt.core import describe, store
from pomt_trt.core.command import exit_code_of
from pomt_trt.core.workfolder import WorkFolder

EXAMPLES = """examples:
  pomt-trt compile digits --work work/digits                     the bundled model, every candidate
  pomt-trt compile deit_small_patch16_224 --pretrained --data val/ --work work/deit
  pomt-trt compile digits --schedule search --work work/many     tokens may go in many blocks
  pomt-trt compile vit_small_patch14_dinov2 --checkpoint dinov2_vits14.pth --head linear.pth --img-size 224 \\
      --data val/ --work work/dino --max-accuracy-drop 0.5
  python -m pomt_trt.infer work/digits/bundle-*/ picture.png     classify with the result

exit codes: 0 done, 2 usage, 3 data or model, 4 missing dependency, 5 build failed, 6 constraint unmet,
  7 verification failed, 8 wrong device or stale file, 9 corrupt file, 12 work folder, 13 diverged, 130 interrupted
"""


class Command(NamedTuple):
    """A subcommand: its name, what it calls, what it does in words, and its groups of flags."""

    name: str
    run: Callable[[argparse.Namespace], None]
    text: str
    flags: Sequence[Callable[[argparse.ArgumentParser], None]]


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Runs the command; returns its exit code. What a user can mend is one line on stderr."""
    logging.basicConfig(format="pomt-trt: %(message)s", level=logging.WARNING)
    arguments = parser().parse_args(argv)
    return exit_code_of(
        lambda: arguments.run(arguments),
        lambda text: print("pomt-trt: {}".format(text), file=sys.stderr),
        "interrupted; the same command goes on from here.",
    )


def parser() -> argparse.ArgumentParser:
    """All subcommands."""
    top = argparse.ArgumentParser(
        prog="pomt-trt",
        description="Compiles a vision transformer into the engine whose token count this device rewards most.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version="pomt-trt " + __version__)
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    commands.required = True
    for command in _COMMANDS:
        text = command.text[0].upper() + command.text[1:] + "."
        added = commands.add_parser(command.name, help=command.text, description=text)
        for add in command.flags:
            add(added)
        added.set_defaults(run=command.run)
    return top


def _options(arguments: argparse.Namespace) -> Any:
    """The Options of a command that names a model; flags that it lacks keep their defaults."""
    given = dict(vars(arguments))
    for name in ("run", "command", "json", "only"):
        given.pop(name, None)
    from pomt_trt import options

    return options.make(given.pop("model"), given.pop("work"), **given)


def _print(value: Any, text: str, as_json: bool) -> None:
    print(json.dumps(store.to_json(value), indent=1) if as_json else text)


def _compile(arguments: argparse.Namespace) -> None:
    from pomt_trt import pipeline

    chosen = pipeline.compile_all(_options(arguments))
    _print(chosen, describe.selection(chosen), arguments.json)
    sys.stderr.write("bundle: {}\n".format(WorkFolder(arguments.work).bundle(chosen.device_id)))


def _export(arguments: argparse.Namespace) -> None:
    from pomt_trt import pipeline

    family = pipeline.export(_options(arguments))
    _print(
        family, "{} graphs of form {} for {}".format(len(family.candidates), family.form, family.target), arguments.json
    )


def _compare(arguments: argparse.Namespace) -> None:
    from pomt_trt import comparing
    from pomt_trt.core import comparison

    given = dict(vars(arguments))
    methods, against, root = given.pop("methods").split(","), given.pop("against"), arguments.work

    def asked(method: str) -> Any:
        return _options(argparse.Namespace(**dict(given, method=method, work=os.path.join(root, method))))

    found = comparing.compare(root, methods, asked, [] if against == "none" else against.split(","))
    _print(found, comparison.table(found), arguments.json)


def _accuracy(arguments: argparse.Namespace) -> None:
    from pomt_trt import pipeline

    found = pipeline.accuracy(arguments.work, arguments.tokens)
    lines = ["{} {:.4f} ({} on {} images)".format(a.candidate_id, a.accuracy, a.kind, a.samples) for a in found]
    _print({a.candidate_id: a for a in found}, "\n".join(lines), arguments.json)


def _build(arguments: argparse.Namespace) -> None:
    from pomt_trt import pipeline

    settings = _settings(arguments)
    a = arguments
    found = pipeline.build(a.work, settings, a.tokens, _only(a), a.precision, a.engine)
    _print(found, describe.rows(found, settings.pace_fps), arguments.json)


def _profile(arguments: argparse.Namespace) -> None:
    from pomt_trt import options, pipeline

    budget = options.budget(arguments.search, arguments.max_builds, arguments.max_time)
    settings = _settings(arguments)
    a = arguments
    found = pipeline.profile(a.work, settings, _choice(a), budget, a.tokens, _only(a), a.precision, a.engine)
    _print(found, describe.rows(found, settings.pace_fps), arguments.json)


def _only(arguments: argparse.Namespace) -> Optional[List[str]]:
    return arguments.only.split(",") if arguments.only else None


def _select(arguments: argparse.Namespace) -> None:
    from pomt_trt import pipeline

    a = arguments
    chosen = pipeline.select(a.work, _settings(a), _choice(a), a.tokens, a.precision, a.engine)
    _print(chosen, describe.selection(chosen), arguments.json)


def _bundle(arguments: argparse.Namespace) -> None:
    from pomt_trt import pipeline

    print(pipeline.bundle(arguments.work, _settings(arguments), arguments.precision, arguments.engine))


def _report(arguments: argparse.Namespace) -> None:
    from pomt_trt import pipeline

    print("\n".join(pipeline.report(arguments.work)))


def _replay(arguments: argparse.Namespace) -> None:
    from pomt_trt.core import replay
    from pomt_trt.core.bounds import Goal
    from pomt_trt.core.curve import read_curve

    choice = _choice(arguments)
    goal = Goal(choice.rule, choice.alpha, choice.max_accuracy_drop, choice.max_latency_ms, choice.min_gain)
    found = replay.replay(read_curve(arguments.curve), goal, arguments.max_builds)
    _print(replay.result_json(found), "\n".join(replay.result_lines(found)), arguments.json)


def _settings(arguments: argparse.Namespace) -> Any:
    from pomt_trt import options

    a = arguments
    return options.settings(a.threads, a.waiting, a.max_seconds, a.pace, a.cuda_graph, a.plugin, a.plugin_library)


def _choice(arguments: argparse.Namespace) -> Any:
    from pomt_trt import options

    return options.choice(
        arguments.rule, arguments.alpha, arguments.max_accuracy_drop, arguments.max_latency, arguments.min_gain
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    from pomt_trt.core.progress import Progress
    from pomt_trt.device.evaluate import evaluate

    with contextlib.ExitStack() as stack:
        bars: List[Progress] = []

        def progress(done: int, total: int) -> None:
            if not bars:
                bars.append(stack.enter_context(Progress("evaluate", total)))
            bars[0].at(done)

        a = arguments
        found = evaluate(a.bundle, a.data, a.samples, a.seed, threads=a.threads, progress=progress)
    _print(found, describe.evaluation(found.engine, found.unreduced, found.host, found.host_expected), arguments.json)


def _bench(arguments: argparse.Namespace) -> None:
    from pomt_trt import options
    from pomt_trt.core.progress import Progress
    from pomt_trt.device import bench

    threads = options.whole_numbers(arguments.threads, "--threads")
    waitings = arguments.waiting.split(",")
    with Progress("bench", len(threads) * len(waitings)) as progress:
        found = bench.bench(
            arguments.bundle,
            against=[] if arguments.against == "none" else arguments.against.split(","),
            threads=threads,
            waitings=waitings,
            image=arguments.image,
            max_s=arguments.max_seconds,
            progress=progress,
        )
    _print(found, bench.table(found), arguments.json)


def _verify(arguments: argparse.Namespace) -> None:
    from pomt_trt.core.progress import Progress
    from pomt_trt.device import verify

    with Progress("verify", 1) as progress:
        found = verify.verify(arguments.source, _only(arguments), progress)
    _print(found, verify.table(found), arguments.json)
    verify.require(found)


def _train(arguments: argparse.Namespace) -> None:
    from pomt_trt import training

    found = training.train(vars(arguments))
    if found is not None:  # one of several processes speaks
        _print(found, describe.training(found), arguments.json)


def _doctor(arguments: argparse.Namespace) -> None:
    from pomt_trt.device import doctor

    findings = doctor.examine()
    _print({finding.name: finding for finding in findings}, doctor.table(findings), arguments.json)
    doctor.check(findings)


_STAGE = [flags.work_folder, flags.tokens, flags.precision, flags.plugin, flags.engine, flags.as_json]
_COMPILED = [
    flags.experiment,
    flags.precision,
    flags.plugin,
    flags.tokens,
    flags.engine,
    flags.choice,
    flags.search,
    flags.keep,
]
_COMMANDS = [
    Command(
        "compile",
        _compile,
        "model -> graphs, accuracies, engines, latencies, choice and bundle, on one machine",
        [flags.model, flags.work, flags.method, *_COMPILED, flags.schedule, flags.as_json],
    ),
    Command(
        "compare",
        _compare,
        "model -> several methods under one measurement, as engines and in PyTorch eager",
        [flags.model, flags.work, flags.methods, *_COMPILED, flags.as_json],
    ),
    Command(
        "export",
        _export,
        "model -> one graph a candidate",
        [
            flags.model,
            flags.work,
            flags.method,
            flags.experiment,
            flags.precision,
            flags.plugin,
            flags.tokens,
            flags.as_json,
        ],
    ),
    Command(
        "accuracy",
        _accuracy,
        "graphs -> the accuracy of each candidate (on the workstation)",
        [flags.work_folder, flags.tokens, flags.as_json],
    ),
    Command("build", _build, "graphs -> engines, without timing them", [*_STAGE, flags.only]),
    Command(
        "profile",
        _profile,
        "graphs -> engines and their latencies, as many as the choice needs",
        [*_STAGE, flags.only, flags.choice, flags.search],
    ),
    Command("select", _select, "latencies and accuracies -> the choice, by any rule", [*_STAGE, flags.choice]),
    Command(
        "bundle",
        _bundle,
        "the choice -> a deployment folder",
        [flags.work_folder, flags.precision, flags.plugin, flags.engine],
    ),
    Command("report", _report, "selections -> figures, and the measured curves for replay", [flags.work_folder]),
    Command(
        "replay",
        _replay,
        "a recorded exhaustive curve -> what the adaptive search would have built, chosen and lost",
        [flags.curve, flags.choice, flags.max_builds, flags.as_json],
    ),
    Command(
        "bench",
        _bench,
        "engine, unreduced engine and PyTorch eager, interleaved in one run",
        [flags.bundle, flags.bench, flags.as_json],
    ),
    Command(
        "evaluate",
        _evaluate,
        "the accuracy of a bundle's engine itself on a folder of images",
        [flags.bundle, flags.evaluate, flags.as_json],
    ),
    Command("verify", _verify, "engines beside ONNX Runtime and the host", [flags.source, flags.only, flags.as_json]),
    Command("train", _train, "labelled images -> the parameters of a learned method, and the model", [flags.train]),
    Command(
        "doctor", _doctor, "what this machine is and what is missing, with the line that mends it", [flags.as_json]
    ),
]
