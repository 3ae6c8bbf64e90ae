"""Ctrl-C, kill and a lost connection as one KeyboardInterrupt, after which what has to be finished is not cut short.

On any machine, in the main thread. Leaves out what is finished.
"""

import signal
from typing import Any, Dict

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class OneInterrupt:
    """A context manager. The first signal raises KeyboardInterrupt, unless `over` was called before; others do nothing.

    A signal that was ignored before stays so: a program under nohup outlives its terminal.
    """

    def __init__(self) -> None:
        self._is_over = False
        self._before: Dict[signal.Signals, Any] = {}

    def over(self) -> None:
        """From now on no signal raises."""
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
