"""Turns Ctrl-C, kill and a lost connection into one KeyboardInterrupt. Later signals do not disturb the clean-up."""

import signal
from typing import Any, Dict

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class OneInterrupt:
    """A context manager for the main thread. The first signal raises KeyboardInterrupt, unless `over` was called.

    A signal that is ignored already stays ignored, so that a program under nohup outlives its terminal.
    """

    def __init__(self) -> None:
        self._is_over = False
        self._before: Dict[signal.Signals, Any] = {}

    def over(self) -> None:
        """After it, no signal raises."""
        self._is_over = True

    def __enter__(self) -> "OneInterrupt":
        for number in NUMBERS:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *exception: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: Any) -> None:
        if not self._is_over:
            self._is_over = True
            raise KeyboardInterrupt
