"""Reads all sensors at one moment (Moment), and their ranges over time (Watched). Empty if this is no Jetson."""

import time
from typing import Callable, Dict

from pomt_trt.core.field_kit.records import Moment, Watched
from pomt_trt.core.records import Interval
from pomt_trt.device.board import sensors

EVERY_S = 2.0  # a reading takes some milliseconds of a core and must not disturb the timing


def moment(root: str) -> Moment:
    """Reads all sensors.

    Args:
        root: folder with /sys and /proc.
    """
    now = sensors.read(root)
    clocks = {name: (clock.now_mhz, clock.least_mhz, clock.cap_mhz) for name, clock in now.clocks.items()}
    return Moment(clocks, now.temperatures_c, now.rails_w, now.unknown, sensors.over_current_events(root))


class Watch:
    """The lowest and highest value of each sensor so far: `watched`. `clock` gives seconds."""

    def __init__(self, root: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._root, self._clock = root, clock
        self._due_s = clock()
        self.watched = Watched(0, {}, {}, {})

    def look(self) -> None:
        """Reads the sensors, but at most every EVERY_S."""
        if self._clock() < self._due_s:
            return
        self._due_s = self._clock() + EVERY_S
        now, watched = moment(self._root), self.watched
        _widen(watched.clocks_mhz, {name: values[0] for name, values in now.clocks_mhz.items()})
        _widen(watched.temperatures_c, now.temperatures_c)
        _widen(watched.rails_w, now.rails_w)
        self.watched = watched._replace(readings=watched.readings + 1)


def _widen(ranges: Dict[str, Interval], values: Dict[str, float]) -> None:
    for name, value in values.items():
        low, high = ranges.get(name, (value, value))
        ranges[name] = (min(low, value), max(high, value))
