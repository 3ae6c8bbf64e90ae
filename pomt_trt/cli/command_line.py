"""The pomt-trt command: its subcommands, their flags, and the exit code.

One subcommand a stage. Results go to stdout, progress and messages to stderr. Leaves out what the subcommands do
(commands.py) and what their flags are (flags.py).
"""

import argparse
import logging
import sys
from typing import Callable, NamedTuple, Optional, Sequence

from pomt_trt import __version__
from pomt_trt.cli import commands, flags, training_flags
from pomt_trt.core.command import exit_code_of, exit_codes_told

EXAMPLES = """examples:
  pomt-trt compile digits --work work/digits                     the bundled model, every candidate
  pomt-trt compile deit_small_patch16_224 --pretrained --data val/ --work work/deit
  pomt-trt compile digits --schedule search --work work/many     tokens may go in many blocks
  pomt-trt compile vit_small_patch14_dinov2 --checkpoint dinov2_vits14.pth --head linear.pth --img-size 224 \\
      --data val/ --work work/dino --max-accuracy-drop 0.5
  python -m pomt_trt.infer work/digits/bundle-*/ picture.png     classify with the result
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
        epilog=EXAMPLES + "\n" + exit_codes_told(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version="pomt-trt " + __version__)
    subparsers = top.add_subparsers(dest="command", metavar="COMMAND")
    subparsers.required = True
    for command in _COMMANDS:
        text = command.text[0].upper() + command.text[1:] + "."
        added = subparsers.add_parser(command.name, help=command.text, description=text)
        for add in command.flags:
            add(added)
        added.set_defaults(run=command.run)
    return top


_STAGE = [flags.work_folder, flags.tokens, flags.precision, flags.plugin, flags.engine, flags.as_json]
_COMPILED = [
    flags.experiment,
    flags.precision,
    flags.plugin,
    flags.tokens,
    flags.engine,
    flags.choice,
    flags.search,
    flags.energy,
    flags.keep,
]
_COMMANDS = [
    Command(
        "compile",
        commands.compile_all,
        "model -> graphs, accuracies, engines, latencies, choice and bundle, on one machine",
        [flags.model, flags.work, flags.method, *_COMPILED, flags.schedule, flags.as_json],
    ),
    Command(
        "compare",
        commands.compare,
        "model -> several methods under one measurement, as engines and in PyTorch eager",
        [flags.model, flags.work, flags.methods, *_COMPILED, flags.as_json],
    ),
    Command(
        "export",
        commands.export,
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
        commands.accuracy,
        "graphs -> the accuracy of each candidate (on the workstation)",
        [flags.work_folder, flags.tokens, flags.as_json],
    ),
    Command("build", commands.build, "graphs -> engines, without timing them", [*_STAGE, flags.only, flags.gpu]),
    Command(
        "profile",
        commands.profile,
        "graphs -> engines and their latencies, as many as the choice needs",
        [*_STAGE, flags.only, flags.choice, flags.search, flags.energy],
    ),
    Command("select", commands.select, "latencies and accuracies -> the choice, by any rule", [*_STAGE, flags.choice]),
    Command(
        "bundle",
        commands.bundle,
        "the choice -> a deployment folder",
        [flags.work_folder, flags.precision, flags.plugin, flags.engine],
    ),
    Command(
        "report", commands.report, "selections -> figures, and the measured curves for replay", [flags.work_folder]
    ),
    Command(
        "replay",
        commands.replay,
        "a recorded exhaustive curve -> what the adaptive search would have built, chosen and lost",
        [flags.curve, flags.choice, flags.max_builds, flags.as_json],
    ),
    Command(
        "bench",
        commands.bench,
        "engine, unreduced engine and PyTorch eager, interleaved in one run",
        [flags.bundle, flags.bench, flags.as_json],
    ),
    Command(
        "evaluate",
        commands.evaluate,
        "the accuracy of a bundle's engine itself on a folder of images",
        [flags.bundle, flags.evaluate, flags.as_json],
    ),
    Command(
        "verify", commands.verify, "engines beside ONNX Runtime and the host", [flags.source, flags.only, flags.as_json]
    ),
    Command(
        "train",
        commands.train,
        "labelled images -> the parameters of a learned method, and the model",
        [training_flags.train],
    ),
    Command(
        "doctor",
        commands.doctor,
        "what this machine is and what is missing, with the line that mends it",
        [flags.as_json],
    ),
    Command(
        "field-kit",
        commands.field_kit,
        "a folder for a board, on which jetson/field_kit then finds out what works (on the workstation)",
        [flags.board, flags.kit, flags.as_json],
    ),
    Command(
        "field-report",
        commands.field_report,
        "an archive of jetson/field_kit -> what held on the board and what did not",
        [flags.archive, flags.as_json],
    ),
]
