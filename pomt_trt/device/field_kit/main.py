"""The command `jetson/field_kit KIT`: tests pomt-trt on a board and writes the results into one archive.

`pomt-trt field-report` reads the archive on a workstation.
"""

import argparse
import contextlib
import os
import sys
import time
from typing import List, Optional, Sequence

from pomt_trt.core.command import exit_code_of
from pomt_trt.core.errors import CorruptArtifact, InputError, UsageError
from pomt_trt.core.field_kit import archive_file, records
from pomt_trt.core.field_kit.records import DONE, FAILED, SKIPPED, Collected, Kit
from pomt_trt.core.progress import Progress
from pomt_trt.core.storage import store
from pomt_trt.device.field_kit import steps
from pomt_trt.device.field_kit.collector import Collector, Plan
from pomt_trt.device.field_kit.interrupts import OneInterrupt
from pomt_trt.device.field_kit.tasks import tasks

MINUTES = 20.0
OTHER_STEPS = 4  # three readings of the sensors, and the clocks


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Runs the field kit; returns its exit code: 0, or 130 if Ctrl-C ended it and the archive is partial."""
    arguments = _parser().parse_args(argv)
    interrupted: List[bool] = []
    code = exit_code_of(lambda: interrupted.append(_run(arguments)), _say, "interrupted before there were any results.")
    return 130 if True in interrupted else code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jetson/field_kit",
        description="Builds, checks and times engines on this board, and writes the results into one archive without "
        "names, addresses and serial numbers. sudo is for the clocks only.",
    )
    parser.add_argument("kit", metavar="KIT", help="folder that pomt-trt field-kit made on a workstation")
    parser.add_argument("--out", metavar="FILE", help="the archive (default: pomt-trt-field-DATE.tar.gz, here)")
    parser.add_argument("--minutes", type=float, default=MINUTES, metavar="MIN", help="at most (default: 20)")
    parser.add_argument(
        "--max-seconds",
        type=float,
        default=steps.MAX_S,
        metavar="S",
        help="timing of one engine in one way (default: {:g})".format(steps.MAX_S),
    )
    parser.add_argument("--no-clocks", action="store_true", help="leave the clocks alone, and ask for no password")
    parser.add_argument("--scripts", default="jetson", help=argparse.SUPPRESS)  # folder of with_clocks
    return parser


def _say(text: str) -> None:
    sys.stderr.write("pomt-trt: {}\n".format(text))
    sys.stderr.flush()


def _run(arguments: argparse.Namespace) -> bool:
    """Collects and writes the archive; returns whether it was interrupted."""
    plan = _plan(arguments)
    out = os.path.abspath(arguments.out or time.strftime("pomt-trt-field-%Y%m%d-%H%M.tar.gz", time.gmtime()))
    _check_writable(out)
    with OneInterrupt() as interrupt:
        collector = Collector(plan, Progress("field kit", OTHER_STEPS + len(plan.tasks)))
        collected = collector.collect(interrupt)
        archive_file.write(out, collector.archive())
        with contextlib.suppress(OSError):  # the terminal may be gone
            _say(_summary(collected, out))
    return collected.interrupted


def _plan(arguments: argparse.Namespace) -> Plan:
    if arguments.minutes <= 0 or arguments.max_seconds <= 0:
        raise UsageError(
            "--minutes is {:g} and --max-seconds {:g}; both must be more than 0.".format(
                arguments.minutes, arguments.max_seconds
            )
        )
    kit, folder = read_kit(arguments.kit), os.path.abspath(arguments.kit)
    root = os.environ.get("ROOT") or "/"  # as in the scripts of jetson/; tests set it
    steps_of_kit = tasks(kit, folder, root, os.path.abspath(arguments.scripts), arguments.max_seconds)
    scripts = None if arguments.no_clocks else os.path.abspath(arguments.scripts)
    return Plan(kit, folder, steps_of_kit, arguments.minutes, scripts, root)


def read_kit(folder: str) -> Kit:
    """Reads a kit.

    Raises: InputError if the folder is no kit; CorruptArtifact if a model is no folder in it.
    """
    path = os.path.join(folder, records.KIT_FILE)
    if not os.path.isfile(path):
        raise InputError(
            "{0} is no kit: it has no {1}. Make one on a workstation (pomt-trt field-kit --target jetpack-... --out "
            "{0}) and copy it here.".format(folder, records.KIT_FILE)
        )
    kit: Kit = store.read_record(path, Kit).record
    for name in kit.models:
        if os.path.basename(name) != name or name in (".", "..") or not os.path.isdir(os.path.join(folder, name)):
            raise CorruptArtifact("{} names {!r}, which is no folder beside it. Copy the kit again.".format(path, name))
    return kit


def _check_writable(out: str) -> None:
    """Raises WorkFolderUnusable if the archive cannot be written, before the run of 20 minutes."""
    with contextlib.suppress(_Abandoned), store.replacing(out):
        raise _Abandoned


class _Abandoned(Exception):
    """Ends an attempt to write, so that no file remains."""


def _summary(collected: Collected, out: str) -> str:
    counts = [sum(step.status == status for step in collected.steps) for status in (DONE, FAILED, SKIPPED)]
    text = "{}: {} steps done, {} failed, {} skipped, {:.1f} minutes. On a workstation: pomt-trt field-report {}"
    return text.format(out, *counts, collected.seconds / 60, os.path.basename(out))


if __name__ == "__main__":
    sys.exit(main())
