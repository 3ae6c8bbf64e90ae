"""Tells after each round whether other programs or the hypervisor took CPU time from the engines meanwhile."""

import time
from typing import Callable, Dict, List

from pomt_trt.core.statistics.stability import Bounds
from pomt_trt.device.board import board
from pomt_trt.device.board.board import Reading

LEAST_TICKS = 3  # of CPU time that were taken: the kernel counts in ticks, and a round may have only some twenty
LEAST_SWITCHES = 5  # likewise
MUCH_IDLE = 0.25  # share of CPU time: where so much is left, other programs run on other cores


class RoundWatch:
    """Looks at the machine's counters after each round.

    Attributes: disturbed (one a round).
    """

    def __init__(
        self, read: Callable[[], Reading] = lambda: board.read(time.perf_counter), bounds: Bounds = Bounds()
    ) -> None:
        self._read, self._bounds = read, bounds
        self._first = self._last = read()
        self.disturbed: List[bool] = []

    def __call__(self) -> bool:
        """Whether the machine was disturbed since the last call, or since the watch was made."""
        before, self._last = self._last, self._read()
        self.disturbed.append(self._is_disturbed(before, self._last))
        return self.disturbed[-1]

    def contention(self) -> Dict[str, float]:
        """All rounds together, see board.contention."""
        return board.contention(self._first, self._last)

    def _is_disturbed(self, before: Reading, after: Reading) -> bool:
        seen, ticks = board.contention(before, after), after.cpu_ticks - before.cpu_ticks
        used = after.busy_ticks - before.busy_ticks + after.steal_ticks - before.steal_ticks
        is_full = used > (1 - MUCH_IDLE) * ticks
        for name, counts in (("steal", True), ("others", is_full)):
            if counts and seen[name] > getattr(self._bounds, name) and seen[name] * ticks >= LEAST_TICKS:
                return True
        enough = after.involuntary - before.involuntary >= LEAST_SWITCHES
        return enough and seen["involuntary_per_s"] > self._bounds.involuntary_per_s
