"""Runs a command as a process with a time limit, keeps its output, and ends all processes that it started."""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from typing import Any, Callable, Dict, NamedTuple, Sequence

TICK_S = 0.5  # between two checks of the process
GRACE_S = 5.0  # between SIGTERM and SIGKILL
MOST_BYTES = 8 << 20  # of each output that are kept


class Ended(NamedTuple):
    """How a process ended."""

    code: int  # exit code; -9: killed by signal 9
    out: str
    err: str
    timed_out: bool
    seconds: float


def run(command: Sequence[str], timeout_s: float, tick: Callable[[float], Any], environment: Dict[str, str]) -> Ended:
    """Runs a command until it ends or its time is over.

    The command has its own session, so that Ctrl-C reaches only this process, which then ends the command.

    Args:
        tick: called at once, also for a command that ends at once, and then every TICK_S; with the seconds so far.
    """
    began_s = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment, start_new_session=True
        )
        timed_out = False
        try:
            tick(0.0)
            while not timed_out and not _has_ended(process):
                spent_s = time.monotonic() - began_s
                tick(spent_s)
                timed_out = spent_s > timeout_s
        finally:
            _end(process)
        return Ended(process.returncode, _text(out), _text(err), timed_out, time.monotonic() - began_s)


def _has_ended(process: "subprocess.Popen[bytes]") -> bool:
    try:
        process.wait(TICK_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends the process and its group. Workers in other sessions end with their parent (device/timing/worker)."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)


def _text(file: Any) -> str:
    """The last MOST_BYTES of an output."""
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - MOST_BYTES))
    return str(file.read().decode("utf-8", "replace"))
