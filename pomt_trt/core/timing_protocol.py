"""A process that is timed on request, by JSON lines over its pipes: the same for every engine and every baseline.

Both ends, on any machine: `serve` in the child, which knows a callable and a clock only, and `Child` in the parent.
Leaves out what is run and what the samples say.

Protocol, one object a line:
- child, once: {"ready": {...}}, what it runs, by its own account (versions, threads, waiting);
- parent: {"runs": k}; child: {"samples_ms": [k times]}, after one run that is not counted;
- child, instead of either: {"error": TEXT, "kind": NAME IN core/errors}, after which it ends;
- a child ends when its stdin does, so it never outlives its parent.
"""

import json
import os
import select
import shlex
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, TextIO

from pomt_trt.core import errors
from pomt_trt.core.errors import PomtError

READY_S = 300.0  # to import its libraries and load a large model from a slow disk
ANSWER_S = 120.0  # for one visit; it is a second at most unless something is wrong
CLOSE_S = 5.0
LONGEST_ANSWER_BYTES = 1 << 20
# What makes idle threads sleep at once in the OpenMP libraries that torch may use (GNU's and LLVM's or Intel's).
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}


class Prepared(NamedTuple):
    """What a child is ready to run."""

    run: Callable[[], Any]
    about: Dict[str, Any]


def visit(run: Callable[[], Any], runs: int, clock: Callable[[], float] = time.perf_counter) -> List[float]:
    """Milliseconds of each of `runs` runs, after one that is not counted: something else has just used the caches."""
    run()
    samples = []
    for _ in range(runs):
        started = clock()
        run()
        samples.append((clock() - started) * 1e3)
    return samples


def serve(prepare: Callable[[], Prepared], requests: Optional[TextIO] = None, answers: Optional[TextIO] = None) -> int:
    """Prepares, says so, and answers requests until they end; returns the process's exit code."""
    requests, answers = requests or sys.stdin, answers or _stdout_for_us_alone()
    try:
        prepared = prepare()
        _send(answers, {"ready": prepared.about})
        for line in requests:
            _send(answers, {"samples_ms": visit(prepared.run, json.loads(line)["runs"])})
        return 0
    except PomtError as error:
        _send(answers, {"error": str(error), "kind": type(error).__name__})
        return error.exit_code
    except (KeyboardInterrupt, BrokenPipeError):  # the parent was interrupted too, or is gone
        return 130


def environment(waiting: Optional[str]) -> Dict[str, str]:
    """Variables for a child that imports this very package and whose idle threads wait as told: default or passive, or
    as this process's do (None).
    """
    ours = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    variables = dict(os.environ)
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [ours, variables.get("PYTHONPATH")]))
    if waiting == "default":
        return {name: value for name, value in variables.items() if name not in PASSIVE}
    return dict(variables, **PASSIVE) if waiting == "passive" else variables


def check_waiting(waiting: str) -> Dict[str, str]:
    """The variables here that say how OpenMP's idle threads wait; it reads them as it loads, so the parent sets them.

    Raises: UsageError where they are not those of `waiting`.
    """
    found = {name: os.environ[name] for name in PASSIVE if name in os.environ}
    if found != (PASSIVE if waiting == "passive" else {}):
        line = " ".join("{}={}".format(name, value) for name, value in PASSIVE.items())
        raise errors.UsageError(
            "{} waiting was asked for, and the environment has {}. For passive set {}; for default unset them.".format(
                waiting, found or "no OpenMP variable", line
            )
        )
    return found


class Child:
    """The parent's end: a running process that is ready. A context manager.

    Attributes: name (for messages), about (what it said of itself), pid.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        variables: Optional[Dict[str, str]] = None,
        ready_s: float = READY_S,
        answer_s: float = ANSWER_S,
    ) -> None:
        """Starts `command` and waits until it is ready.

        Raises: what the child raised, if it is one of core/errors; else PomtError: it died, hung, or spoke nonsense.
        """
        self.name, self._command, self._answer_s, self._buffer = name, list(command), answer_s, b""
        pipe, self._stderr = subprocess.PIPE, tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                self._command, stdin=pipe, stdout=pipe, stderr=self._stderr, env=variables, bufsize=0
            )
        except BaseException:
            self._stderr.close()
            raise
        self.pid = self._process.pid
        try:
            self.about: Dict[str, Any] = self._answer("ready", dict, ready_s)
        except BaseException:
            self.close()
            raise

    def ask(self, runs: int) -> List[float]:
        """Milliseconds of each of `runs` runs made now.

        Raises: as the constructor.
        """
        try:
            self._process.stdin.write(json.dumps({"runs": runs}).encode() + b"\n")  # type: ignore[union-attr]
        except BrokenPipeError:
            pass  # it has ended; the answer says why
        samples = self._answer("samples_ms", list, self._answer_s)
        if len(samples) != runs or not all(isinstance(sample, float) for sample in samples):
            raise self._nonsense("{} times of {} runs".format(len(samples), runs), "a list of {} numbers".format(runs))
        return samples  # type: ignore[no-any-return]

    def close(self) -> None:
        """Ends the process, by force where it does not end by itself."""
        for pipe in (self._process.stdin, self._process.stdout):
            pipe.close()  # type: ignore[union-attr]
        try:
            self._process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stderr.close()

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def _answer(self, key: str, kind: type, limit_s: float) -> Any:
        line = self._line(limit_s)
        try:
            answer = json.loads(line.decode("utf-8"))
            if "error" in answer:
                raise _named(str(answer["kind"]))("{}: {}".format(self.name, answer["error"]))
            if isinstance(answer[key], kind):
                return answer[key]
        except (ValueError, KeyError, TypeError):
            pass
        raise self._nonsense(repr(line[:80]), "a JSON object with '{}'".format(key))

    def _line(self, limit_s: float) -> bytes:
        """The next line of its stdout. Raises PomtError where it ends, or takes longer than `limit_s`."""
        stdout = self._process.stdout.fileno()  # type: ignore[union-attr]
        deadline = time.monotonic() + limit_s
        while b"\n" not in self._buffer and len(self._buffer) < LONGEST_ANSWER_BYTES:
            if not select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                self._process.kill()
                raise PomtError(
                    "{} has not answered for {:.0f} s and was stopped. Free memory and processors, then run the same "
                    "command again; by itself it is: {}".format(self.name, limit_s, _pasteable(self._command))
                )
            part = os.read(stdout, 1 << 16)
            if not part:
                raise self._died()
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _died(self) -> PomtError:
        code = self._process.wait()
        self._stderr.seek(0)
        said = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
        how = "exit code {}".format(code) if code >= 0 else "signal {} (9: out of memory, perhaps)".format(-code)
        return PomtError(
            "{} ended with {}: {}. Run it by itself to see more: {}".format(
                self.name, how, said[-1].strip() if said else "it said nothing", _pasteable(self._command)
            )
        )

    def _nonsense(self, found: str, expected: str) -> PomtError:
        return PomtError(
            "{} answered {}, expected {}. Run it by itself to see more: {}".format(
                self.name, found, expected, _pasteable(self._command)
            )
        )


def _send(answers: TextIO, message: Dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def _stdout_for_us_alone() -> TextIO:
    """The real stdout for answers; whatever else in this process prints goes to stderr from now on."""
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _named(kind: str) -> Any:
    found = getattr(errors, kind, None)
    return found if isinstance(found, type) and issubclass(found, PomtError) else PomtError


def _pasteable(command: Sequence[str]) -> str:
    return " ".join(shlex.quote(word) for word in command)
