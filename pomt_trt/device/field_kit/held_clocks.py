"""Clocks that jetson/with_clocks holds while this process works, and gives back when it lets go or dies.

Makes nothing but that, on a Jetson. Leaves out how clocks are locked, which is the script's, and whether they stayed
so, which the sensors tell.
"""

import contextlib
import os
import select
import subprocess
import tempfile
import time
from typing import Any, Callable, Optional

LONGEST_WAIT_S = 300.0  # for a password: as long as sudo itself waits
RELEASE_S = 60.0
TELL_S = 0.2
PREFIX = "pomt-trt: "
NO_REASON = ("for the reason above", "clocks are as they were", "nothing to restore", "power mode: ", "sudo nvpmodel ")


class HeldClocks:
    """A context manager; `reason` says why the clocks are not held, and is empty where they are.

    The password is asked for on the terminal, by sudo, once.
    """

    def __init__(self, scripts: str, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            scripts: the folder of with_clocks.
            clock: seconds.
        """
        self._command = [os.path.join(scripts, "with_clocks"), "sh", "-c", "echo held; exec cat >/dev/null"]
        self._clock = clock
        self._process: "Optional[subprocess.Popen[bytes]]" = None
        self.reason = "they were not asked for"
        self.said = ""  # by the script, on stderr

    def __enter__(self) -> "HeldClocks":
        with tempfile.TemporaryFile() as errors:
            try:
                # In this terminal's session: elsewhere sudo could not ask for a password.
                self._process = subprocess.Popen(
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
                )
                held = self._is_held()
            except OSError as error:
                self.reason = "{} does not start: {}".format(self._command[0], error.strerror)
                return self
            except BaseException:
                self.release()
                raise
            if not held:
                self.release()
            errors.seek(0)
            self.said = errors.read().decode("utf-8", "replace")
        self.reason = "" if held else self._why()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.release()

    def release(self) -> None:
        """Lets go of the clocks and waits until they are given back; harmless where they are not held."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(RELEASE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def _is_held(self) -> bool:
        """Waits until the script says so, has ended, or has waited long enough for a password."""
        assert self._process is not None and self._process.stdout is not None
        until_s = self._clock() + LONGEST_WAIT_S
        while self._clock() < until_s:
            if select.select([self._process.stdout], [], [], TELL_S)[0]:
                return os.read(self._process.stdout.fileno(), 16).startswith(b"held")
        return False

    def _why(self) -> str:
        lines = [line.strip() for line in self.said.splitlines() if line.strip()]
        told = [line for line in lines if not any(words in line for words in NO_REASON)]
        said = told[-1] if told else "with_clocks ended without a word"
        return said[len(PREFIX) :] if said.startswith(PREFIX) else said
