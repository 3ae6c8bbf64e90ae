"""The parent's end of core/timing_protocol: a child process that serves requests.

Errors of the child are raised here as what they are; a child that dies, hangs or sends nonsense is explained.
"""

import json
import math
import os
import select
import shlex
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Dict, List, Optional, Sequence

from pomt_trt.core import errors
from pomt_trt.core.errors import PomtError
from pomt_trt.core.timing_protocol import PASSIVE

ENTRY = "pomt_trt.device.timing"  # python -m ENTRY MODULE ... serves what MODULE prepares
READY_S = 300.0  # to import its libraries and load a large model from a slow disk
ANSWER_S = 120.0  # for one burst; it is a second at most unless something is wrong
CLOSE_S = 5.0
LONGEST_LINE_BYTES = 1 << 20


class Died(PomtError):
    """The child has ended without an explanation.

    Attributes: returncode, as of subprocess: negative for a signal.
    """

    def __init__(self, message: str, returncode: int) -> None:
        super().__init__(message)
        self.returncode = returncode


def command(module: str, *arguments: str) -> List[str]:
    """The command of a child that serves what `prepare(arguments)` of a module makes."""
    return [sys.executable, "-m", ENTRY, module, *arguments]


def environment(waiting: Optional[str]) -> Dict[str, str]:
    """The environment of a child that imports this very package and whose idle threads wait so.

    Args:
        waiting: default or passive; None: as the threads of this process.
    """
    ours = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    variables = dict(os.environ)
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [ours, variables.get("PYTHONPATH")]))
    if waiting == "default":
        return {name: value for name, value in variables.items() if name not in PASSIVE}
    return dict(variables, **PASSIVE) if waiting == "passive" else variables


class Child:
    """A running child that is ready. A context manager.

    Attributes: about (what it says of itself), pid.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        variables: Optional[Dict[str, str]] = None,
        ready_s: float = READY_S,
        answer_s: float = ANSWER_S,
        own_session: bool = False,
    ) -> None:
        """Starts `command` and waits until it is ready.

        Args:
            name: begins the messages of its errors; "": they stand alone.
            answer_s: limit until each line of an answer; math.inf: no limit.
            own_session: Ctrl-C reaches the parent alone, and the child writes to the parent's stderr.
        Raises: what the child raised, if its class is in core/errors; Died; PomtError if it hangs or sends nonsense.
        """
        self._prefix, self._name = name and name + ": ", name or "the child"
        self._command, self._answer_s, self._buffer = list(command), answer_s, b""
        self._stderr = None if own_session else tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=variables,
                bufsize=0,
                start_new_session=own_session,
            )
        except BaseException:
            self._close_stderr()
            raise
        self.pid = self._process.pid
        try:
            self.about: Dict[str, Any] = self._message("ready", ready_s)["ready"]
        except BaseException:
            self.close()
            raise

    def ask(self, request: Any, heard: Optional[Callable[[Dict[str, Any]], None]] = None) -> Any:
        """The answer to a request, any JSON object.

        Args:
            heard: gets each event meanwhile, {"event": NAME, ...}; None: there must be none.
        Raises: as the constructor.
        """
        left = json.dumps(request).encode() + b"\n"
        try:
            while left:  # the pipe has no buffer, so that a write may be partial
                left = left[self._process.stdin.write(left) :]  # type: ignore[union-attr]
        except BrokenPipeError:
            pass  # it has ended; the answer says why
        while True:
            message = self._message("answer", self._answer_s, events=heard is not None)
            if "answer" in message:
                return message["answer"]
            heard(message)  # type: ignore[misc]

    def burst(self, runs: int) -> List[float]:
        """Milliseconds of each of `runs` runs made now. Raises: as the constructor."""
        samples = self.ask({"runs": runs})
        if isinstance(samples, list) and len(samples) == runs and all(isinstance(each, float) for each in samples):
            return samples
        raise self._nonsense(repr(samples)[:80], "a list of {} numbers".format(runs))

    def close(self, kill: bool = False) -> None:
        """Ends the process, by force if that is asked for or it does not end by itself."""
        if kill:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            pipe.close()  # type: ignore[union-attr]
        try:
            self._process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close_stderr()

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def _close_stderr(self) -> None:
        if self._stderr is not None:
            self._stderr.close()

    def _message(self, key: str, limit_s: float, events: bool = False) -> Dict[str, Any]:
        """The next message, which has the key or, where events are allowed, is one."""
        line = self._line(limit_s)
        try:
            message = json.loads(line.decode("utf-8"))
            if "error" in message:
                raise _class_named(str(message["kind"]))(self._prefix + message["error"])
            if key in message and (key != "ready" or isinstance(message[key], dict)):
                return message  # type: ignore[no-any-return]
            if events and isinstance(message["event"], str):
                return message  # type: ignore[no-any-return]
        except (ValueError, KeyError, TypeError):
            pass
        raise self._nonsense(repr(line[:80]), "a JSON object with '{}'".format(key))

    def _line(self, limit_s: float) -> bytes:
        """The next line of its stdout. Raises Died, and PomtError if it takes longer than `limit_s`."""
        stdout = self._process.stdout.fileno()  # type: ignore[union-attr]
        deadline_s = time.monotonic() + limit_s
        while b"\n" not in self._buffer and len(self._buffer) < LONGEST_LINE_BYTES:
            left_s = None if math.isinf(limit_s) else max(0.0, deadline_s - time.monotonic())
            if not select.select([stdout], [], [], left_s)[0]:
                self._process.kill()
                raise PomtError(
                    "{} has not answered for {:.0f} s and was stopped. Free memory and processors, then run the same "
                    "command again; by itself it is: {}".format(self._name, limit_s, _pasteable(self._command))
                )
            part = os.read(stdout, 1 << 16)
            if not part:
                raise self._died()
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _died(self) -> Died:
        code, stderr = self._process.wait(), b""
        if self._stderr is not None:
            self._stderr.seek(0)
            stderr = self._stderr.read()
        last = (stderr.decode("utf-8", "replace").strip() or "it said nothing").splitlines()[-1].strip()
        how = "exit code {}".format(code) if code >= 0 else "signal {} (9: out of memory, perhaps)".format(-code)
        return Died("{} ended with {}: {}. {}".format(self._name, how, last, self._advice()), code)

    def _nonsense(self, answered: str, expected: str) -> PomtError:
        return PomtError("{} answered {}, expected {}. {}".format(self._name, answered, expected, self._advice()))

    def _advice(self) -> str:
        return "Run it by itself to see more: {}".format(_pasteable(self._command))


def _class_named(kind: str) -> Any:
    named = getattr(errors, kind, None)
    return named if isinstance(named, type) and issubclass(named, PomtError) else PomtError


def _pasteable(command: Sequence[str]) -> str:
    return " ".join(shlex.quote(word) for word in command)
