"""The pomt-trt command: its subcommands, and the exit code.

Results go to stdout, progress and messages to stderr. commands.py says what each subcommand does, core/flags what its
flags are.
"""

import argparse
import logging
import sys
from typing import Any, Callable, NamedTuple, Optional, Sequence, Tuple, Union

from pomt_trt import __version__
from pomt_trt.cli import commands
from pomt_trt.core.command import exit_code_of, exit_codes_told
from pomt_trt.core.flags import deployment, flag, table, training
from pomt_trt.core.flags.flag import Flag, Group

EXAMPLES = """examples:
  pomt-trt compile digits --work work/digits                     the bundled model, every candidate
  pomt-trt compile deit_small_patch16_224 --pretrained --data val/ --work work/deit
  pomt-trt compile digits --schedule search --work work/many     tokens may go in many blocks
  pomt-trt compile vit_small_patch14_dinov2 --checkpoint dinov2_vits14.pth --head linear.pth --img-size 224 \\
      --data val/ --work work/dino --max-accuracy-drop 0.5
  python -m pomt_trt.infer work/digits/bundle-*/ picture.png     classify with the result
"""


class Command(NamedTuple):
    """A subcommand: its name, what it calls, what it does in words, an example, and its flags or subcommands."""

    name: str
    run: Callable[[argparse.Namespace], None]
    text: str
    example: str = ""
    flags: Tuple[Union[Flag, Group], ...] = ()
    methods: Tuple[Any, ...] = ()  # of train: a Command for each method


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Runs the command and returns its exit code. An error that the user can correct is one line on stderr."""
    logging.basicConfig(format="pomt-trt: %(message)s", level=logging.WARNING)
    arguments = parser().parse_args(argv)
    return exit_code_of(
        lambda: _run(arguments),
        lambda text: print("pomt-trt: {}".format(text), file=sys.stderr),
        "interrupted; the same command continues from here.",
    )


def _run(arguments: argparse.Namespace) -> None:
    """Checks every flag's value before the subcommand starts."""
    command: Command = arguments.subcommand
    checked = flag.checked(command.flags, vars(arguments))
    command.run(argparse.Namespace(**dict(vars(arguments), **checked)))


def parser() -> argparse.ArgumentParser:
    """The parser of all subcommands."""
    top = argparse.ArgumentParser(
        prog="pomt-trt",
        description="Compiles a vision transformer into the engine whose token count is best on this device.",
        epilog=EXAMPLES + "\n" + exit_codes_told(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version="pomt-trt " + __version__)
    _add_subcommands(top, "command", "COMMAND", COMMANDS)
    return top


def _add_subcommands(parent: argparse.ArgumentParser, dest: str, metavar: str, listed: Sequence[Command]) -> None:
    subparsers = parent.add_subparsers(dest=dest, metavar=metavar)
    subparsers.required = True
    for command in listed:
        added = subparsers.add_parser(
            command.name,
            help=command.text,
            description=command.text[0].upper() + command.text[1:] + ".",
            epilog="example:\n  " + command.example if command.example else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        flag.add(added, command.flags)
        if command.methods:
            _add_subcommands(added, "method", "METHOD", command.methods)
        else:
            added.set_defaults(subcommand=command)


COMMANDS = (
    Command(
        "compile",
        commands.compile_all,
        "model -> graphs, accuracies, engines, latencies, choice and bundle, on one machine",
        "pomt-trt compile deit_small_patch16_224 --pretrained --data val/ --work work/deit --max-accuracy-drop 0.5",
        (table.MODEL, table.WORK, *table.COMPILE, deployment.JSON),
    ),
    Command(
        "compare",
        commands.compare,
        "model -> several methods under one measurement, as engines and in PyTorch eager",
        "pomt-trt compare deit_small_patch16_224 --pretrained --data val/ --methods pomt,tome --work work/compare",
        (table.MODEL, table.WORK, *table.COMPARE, deployment.JSON),
    ),
    Command(
        "export",
        commands.export,
        "model -> one graph for each candidate",
        "pomt-trt export deit_small_patch16_224 --pretrained --data val/ --target jetpack-6.2 --work work/deit",
        (table.MODEL, table.WORK, *table.EXPORT, deployment.JSON),
    ),
    Command(
        "accuracy",
        commands.accuracy,
        "graphs -> the accuracy of each candidate (on the workstation)",
        "pomt-trt accuracy work/deit",
        (table.WORK_FOLDER, table.TOKENS, deployment.JSON),
    ),
    Command(
        "build",
        commands.build,
        "graphs -> engines, without timing them",
        "pomt-trt build work/deit --only r056,r098",
        (table.WORK_FOLDER, *table.STAGE, table.ONLY, table.GPU, deployment.JSON),
    ),
    Command(
        "profile",
        commands.profile,
        "graphs -> engines and their latencies, as many as the choice needs",
        "pomt-trt profile work/deit --search adaptive --max-builds 20",
        (table.WORK_FOLDER, *table.STAGE, table.ONLY, table.CHOICE, table.SEARCH, table.ENERGY, deployment.JSON),
    ),
    Command(
        "select",
        commands.select,
        "latencies and accuracies -> the choice, by any rule",
        "pomt-trt select work/deit --rule fastest-within --max-accuracy-drop 0.5",
        (table.WORK_FOLDER, *table.STAGE, table.CHOICE, deployment.JSON),
    ),
    Command(
        "bundle",
        commands.bundle,
        "the choice -> a deployment folder",
        "pomt-trt bundle work/deit",
        (table.WORK_FOLDER, table.PRECISION, table.PLUGIN, table.ENGINE),
    ),
    Command(
        "report",
        commands.report,
        "selections -> figures, and the measured curves for replay",
        "pomt-trt report work/deit",
        (table.WORK_FOLDER,),
    ),
    Command(
        "replay",
        commands.replay,
        "a recorded exhaustive curve -> what the adaptive search would have built, chosen and lost",
        "pomt-trt replay curve.json --max-builds 20",
        (table.CURVE, table.CHOICE, table.MAX_BUILDS, deployment.JSON),
    ),
    Command(
        "bench",
        commands.bench,
        "engine, unreduced engine and PyTorch eager, timed in turn in one run",
        "pomt-trt bench work/deit/bundle-*/ --threads 1,2",
        (deployment.BUNDLE, *table.BENCH, deployment.JSON),
    ),
    Command(
        "evaluate",
        commands.evaluate,
        "the accuracy of a bundle's engine on a folder of images",
        "pomt-trt evaluate work/deit/bundle-*/ val/ --samples 5000",
        (deployment.BUNDLE, *table.EVALUATE, deployment.JSON),
    ),
    Command(
        "verify",
        commands.verify,
        "engines compared with ONNX Runtime and with the workstation's logits",
        "pomt-trt verify work/deit --only r056",
        (table.SOURCE, table.ONLY, deployment.JSON),
    ),
    Command(
        "train",
        commands.train,
        "labelled images -> the parameters of a learned method, and the model",
        methods=(
            Command(
                "ltmp",
                commands.train,
                "learn thresholds for merging and pruning, on a frozen model",
                "pomt-trt train ltmp deit_small_patch16_224 --pretrained --data train/ --work trained",
                training.LTMP,
            ),
            Command(
                "cropr",
                commands.train,
                "learn to score tokens, with auxiliary heads that are dropped afterwards",
                "pomt-trt train cropr deit_small_patch16_224 --pretrained --removed 8 --data train/ --work trained",
                training.CROPR,
            ),
        ),
    ),
    Command(
        "models",
        commands.models,
        "models of timm -> which are accepted, with which methods, and why the others are not (on the workstation)",
        "pomt-trt models '*dinov3*'",
        (*table.MODELS, deployment.JSON),
    ),
    Command(
        "doctor",
        commands.doctor,
        "what this machine is, what is missing, and the command that corrects it",
        "pomt-trt doctor",
        (deployment.JSON,),
    ),
    Command(
        "field-kit",
        commands.field_kit,
        "a folder for a board, on which jetson/field_kit then tests what works (on the workstation)",
        "pomt-trt field-kit --target jetpack-6.2 --out kit",
        (table.BOARD, table.KIT_FOLDER, deployment.JSON),
    ),
    Command(
        "field-report",
        commands.field_report,
        "an archive of jetson/field_kit -> what held on the board and what did not",
        "pomt-trt field-report pomt-trt-field-2026-11-28.tar.gz",
        (table.ARCHIVE, deployment.JSON),
    ),
)
