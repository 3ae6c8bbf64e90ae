"""How a command ends: its exit code, and one line for an error that the user can correct."""

import contextlib
import os
import sys
import textwrap
from typing import Callable, Iterator

from pomt_trt.core.errors import INTERRUPTED, MissingDependency, PomtError, exit_codes

HELP_COLUMNS = 110
NO_BREAK = "\u00a0"


def exit_code_of(run: Callable[[], None], complain: Callable[[str], None], interrupted: str) -> int:
    """Runs a command and returns its exit code.

    Args:
        complain: writes one line to stderr.
        interrupted: the line after Ctrl-C.
    """
    try:
        run()
        return 0
    except PomtError as error:
        complain(str(error))
        return error.exit_code
    except BrokenPipeError:  # the reader (head, less) has closed the pipe, which is no failure
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the flush at exit fails again
        return 0
    except KeyboardInterrupt:
        complain(interrupted)
        return INTERRUPTED


def exit_codes_told() -> str:
    """The paragraph of a command's help that lists the exit codes."""
    entries = ["{} {}".format(code, meaning).replace(" ", NO_BREAK) for code, meaning in exit_codes().items()]
    filled = textwrap.fill("exit codes: " + ", ".join(entries), HELP_COLUMNS, subsequent_indent="  ")
    return filled.replace(NO_BREAK, " ")


@contextlib.contextmanager
def on_workstation() -> Iterator[None]:
    """Around imports from host/: an ImportError becomes a MissingDependency that says what to install."""
    # torch reads this once, when it is loaded. On a busy machine, idle threads that spin make torch ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        yield
    except ImportError as error:
        raise MissingDependency(
            "models are exported and compared on the workstation, with torch, timm and onnx: {}. Install there: "
            "pip install 'pomt-trt[host]'".format(error)
        ) from error
