"""The protocol between this process and a child that serves it: JSON lines over the child's stdin and stdout.

    child, once      {"ready": {...}}             what it runs: versions, threads
    parent           any JSON object              a request; of a child that is timed {"runs": k}
    child            {"event": NAME, ...}         any number of them, while it serves the request
    child            {"answer": ...}              ends the request; of a child that is timed a list of k milliseconds
    child, instead   {"error": TEXT, "kind": K}   K is the name of a class in core/errors; the child ends

A child ends when its stdin ends, so it never outlives its parent. Here is the child's end; core/child_process is the
parent's.
"""

import argparse
import functools
import json
import os
import sys
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, TextIO

from pomt_trt.core.errors import INTERRUPTED, PomtError, UsageError

# What makes idle threads sleep at once in the OpenMP libraries that torch may use (GNU's and LLVM's or Intel's).
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}

Report = Callable[..., None]  # report(NAME, key=value, ...) sends an event


class Prepared(NamedTuple):
    """What a child that is timed runs."""

    run: Callable[[], Any]
    about: Dict[str, Any]

    def answer(self, request: Any, report: Report) -> List[float]:
        """Milliseconds of each of `request["runs"]` runs."""
        return burst(self.run, request["runs"])


def burst(run: Callable[[], Any], runs: int, clock: Callable[[], float] = time.perf_counter) -> List[float]:
    """Milliseconds of each of `runs` runs, after one that is not counted: something else has just used the caches."""
    run()
    return [timed_ms(run, clock) for _ in range(runs)]


def timed_ms(run: Callable[[], Any], clock: Callable[[], float]) -> float:
    """Milliseconds that one run takes; `clock` gives seconds."""
    started_s = clock()
    run()
    return (clock() - started_s) * 1e3


def serve(prepare: Callable[[], Any], requests: Optional[TextIO] = None, answers: Optional[TextIO] = None) -> int:
    """Prepares, says so, and answers requests until they end; returns the process's exit code.

    Args:
        prepare: makes something with `about` and `answer(request, report)`, such as Prepared.
        requests, answers: None: stdin and stdout.
    """
    requests, answers = requests or sys.stdin, answers or _stdout_for_answers_alone()
    send = functools.partial(_send, answers)
    try:
        prepared = prepare()
        send(ready=prepared.about)
        for line in requests:
            send(answer=prepared.answer(json.loads(line), lambda name, **details: send(event=name, **details)))
        return 0
    except PomtError as error:
        send(error=str(error), kind=type(error).__name__)
        return error.exit_code
    except KeyboardInterrupt:  # the parent was interrupted too
        return INTERRUPTED
    except BrokenPipeError:  # the parent is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), answers.fileno())  # or closing it fails again
        return INTERRUPTED


def _send(answers: TextIO, **message: Any) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def _stdout_for_answers_alone() -> TextIO:
    """The real stdout for answers; whatever else in this process prints goes to stderr from now on."""
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def parser(description: str, threads: Optional[int]) -> argparse.ArgumentParser:
    """The arguments that every child takes which is timed; `threads` is the default."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--threads", type=int, default=threads, metavar="N", help="of the CPU, within an operator")
    made.add_argument("--waiting", choices=("default", "passive"), default="default", help="of idle threads")
    return made


def check_waiting(waiting: str) -> Dict[str, str]:
    """The OpenMP variables of this process. OpenMP reads them when it is loaded, so the parent must set them.

    Raises: UsageError if they are not those of `waiting`.
    """
    variables = {name: os.environ[name] for name in PASSIVE if name in os.environ}
    if variables != (PASSIVE if waiting == "passive" else {}):
        line = " ".join("{}={}".format(name, value) for name, value in PASSIVE.items())
        raise UsageError(
            "{} waiting was asked for, and the environment has {}. For passive set {}; for default unset them.".format(
                waiting, variables or "no OpenMP variable", line
            )
        )
    return variables
