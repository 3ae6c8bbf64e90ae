"""A board's power as its sensor shows it: averaged, and of whatever ran lately.

An INA3221 gives the mean over some conversions, not the power of the moment. So a reading that is taken just after a
run shows what ran in the last half second, the idle gaps between included. Simulated watts say nothing of a board's.
"""

import time
from typing import List, Tuple

AVERAGE_S = 0.4


class Supply:
    """Draws `idle_w`, and more while something runs; `meter` gives the mean over the last `average_s`."""

    def __init__(self, idle_w: float, average_s: float = AVERAGE_S) -> None:
        self._idle_w, self._average_s = idle_w, average_s
        self._loads: List[Tuple[float, float, float]] = []  # began, ended, watts above idle

    def run(self, watts: float, seconds: float) -> None:
        """Runs something that draws so many watts above idle for so long."""
        began_s = time.perf_counter()
        time.sleep(seconds)
        self._loads.append((began_s, time.perf_counter(), watts))

    def meter(self) -> float:
        """Watts, as a sensor gives them."""
        now_s = time.perf_counter()
        since_s = now_s - self._average_s
        self._loads = [load for load in self._loads if load[1] > since_s]
        joules = sum((min(end, now_s) - max(begin, since_s)) * watts for begin, end, watts in self._loads)
        return self._idle_w + joules / self._average_s
