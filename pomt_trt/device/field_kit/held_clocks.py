"""Locks a Jetson's clocks by jetson/with_clocks, and restores them at the end, even if this process dies."""

import contextlib
import os
import select
import subprocess
import tempfile
import time
from typing import Any, Callable, Optional

LONGEST_WAIT_S = 300.0  # for a password, as sudo itself
RELEASE_S = 60.0
POLL_S = 0.2
PREFIX = "pomt-trt: "
NO_REASON = ("for the reason above", "clocks are as they were", "nothing to restore", "power mode: ", "sudo nvpmodel ")


class HeldClocks:
    """A context manager. `reason` says why the clocks are not locked; it is empty if they are.

    sudo asks once for a password, on the terminal. `scripts` is the folder of with_clocks; `clock` gives seconds.
    """

    def __init__(self, scripts: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._command = [os.path.join(scripts, "with_clocks"), "sh", "-c", "echo held; exec cat >/dev/null"]
        self._clock = clock
        self._process: "Optional[subprocess.Popen[bytes]]" = None
        self.reason = "they were not asked for"
        self.output = ""  # of the script, on stderr

    def __enter__(self) -> "HeldClocks":
        with tempfile.TemporaryFile() as errors:
            try:
                # In the session of this terminal, or sudo could not ask for a password.
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
            self.output = errors.read().decode("utf-8", "replace")
        self.reason = "" if held else self._failure()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.release()

    def release(self) -> None:
        """Restores the clocks and waits for that. Does nothing if they are not locked."""
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
        """Waits until the script has locked the clocks or ended, or the time for a password is over."""
        assert self._process is not None and self._process.stdout is not None
        until_s = self._clock() + LONGEST_WAIT_S
        while self._clock() < until_s:
            if select.select([self._process.stdout], [], [], POLL_S)[0]:
                return os.read(self._process.stdout.fileno(), 16).startswith(b"held")
        return False

    def _failure(self) -> str:
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        reasons = [line for line in lines if not any(words in line for words in NO_REASON)]
        reason = reasons[-1] if reasons else "with_clocks ended without a message"
        return reason[len(PREFIX) :] if reason.startswith(PREFIX) else reason
