"""Progress of long work on stderr: a bar on a terminal, and a line every few seconds in a log."""

import sys
import time
from typing import Any, Optional, TextIO

BAR_CELLS = 24
LOG_EVERY_S = 10.0  # between lines where stderr is no terminal


class Progress:
    """Shows how much of `total` is done, and estimates the time left. A context manager.

    The estimate: seconds left = seconds so far / done * (total - done).

    >>> with Progress("accuracy", 26) as bar:
    ...     bar.step("r056")
    """

    def __init__(self, title: str, total: int, stream: Optional[TextIO] = None) -> None:
        self._title, self._total, self._done = title, max(1, total), 0
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._started = self._shown = time.monotonic()
        self._width = self._said = 0

    def step(self, note: str = "", count: int = 1) -> None:
        """Adds `count` to what is done."""
        self._done += count
        self.show(note)

    def at(self, done: int, note: str = "", total: Optional[int] = None) -> None:
        """Sets what is done, and `total` where a better estimate of it is known now."""
        self._done, self._total = done, max(1, total or self._total)
        self.show(note)

    def show(self, note: str = "") -> None:
        """Draws the state, with a note on the present item."""
        now = time.monotonic()
        if self._live:
            self._draw("\r" + self._text(note, now).ljust(self._width))
            self._width = len(self._text(note, now))
        elif self._ends_now() or now - self._shown >= LOG_EVERY_S:
            self._shown, self._said = now, self._done
            self._draw(self._text(note, now) + "\n")

    def message(self, text: str) -> None:
        """Prints a line above the bar."""
        self._draw(("\r" + text.ljust(self._width) if self._live else text) + "\n")

    def __enter__(self) -> "Progress":
        if self._live:
            self.show()
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._live:
            self._draw("\n")

    def _ends_now(self) -> bool:
        return self._done >= self._total and self._said != self._done

    def _text(self, note: str, now: float) -> str:
        filled = BAR_CELLS * min(self._done, self._total) // self._total
        elapsed_s = now - self._started
        left = ""
        if 0 < self._done < self._total:
            left = ", {:.0f} s left".format(elapsed_s / self._done * (self._total - self._done))
        return "{:<9} [{}] {}/{} {:.0f} s{} {}".format(
            self._title, "#" * filled + "." * (BAR_CELLS - filled), self._done, self._total, elapsed_s, left, note
        ).rstrip()

    def _draw(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class Silent(Progress):
    """Shows no progress, only messages."""

    def __init__(self) -> None:
        super().__init__("", 1)
        self._live = False

    def show(self, note: str = "") -> None:
        """Nothing."""
