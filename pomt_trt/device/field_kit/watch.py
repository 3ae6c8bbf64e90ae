"""What a board's sensors say at a moment, and between which values they moved.

Makes Moment and Watched of core/field_kit/records from device/board/sensors, on any machine; off a Jetson they are
empty.
"""

import time
from typing import Callable, Dict

from pomt_trt.core.field_kit.records import Moment, Watched
from pomt_trt.core.records import Interval
from pomt_trt.device.board import sensors

EVERY_S = 2.0  # a look takes some milliseconds of a core, and must not disturb what is being timed


def moment(root: str) -> Moment:
    """All sensors now.

    Args:
        root: where /sys and /proc are found.
    """
    found = sensors.read(root)
    clocks = {name: (clock.now_mhz, clock.least_mhz, clock.cap_mhz) for name, clock in found.clocks.items()}
    return Moment(clocks, found.temperatures_c, found.rails_w, found.unknown, sensors.over_current_events(root))


class Watch:
    """The lowest and highest value of each sensor since the first look."""

    def __init__(self, root: str, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            clock: seconds.
        """
        self._root, self._clock = root, clock
        self._due_s = clock()
        self._watched = Watched(0, {}, {}, {})

    def look(self) -> None:
        """Reads the sensors if that is due."""
        if self._clock() < self._due_s:
            return
        self._due_s = self._clock() + EVERY_S
        found = moment(self._root)
        seen = self._watched
        now = {name: values[0] for name, values in found.clocks_mhz.items()}
        pairs = ((seen.clocks_mhz, now), (seen.temperatures_c, found.temperatures_c), (seen.rails_w, found.rails_w))
        for ranges, values in pairs:
            _widen(ranges, values)
        self._watched = seen._replace(readings=seen.readings + 1)

    def watched(self) -> Watched:
        """What was seen so far."""
        return self._watched


def _widen(ranges: Dict[str, Interval], values: Dict[str, float]) -> None:
    for name, value in values.items():
        low, high = ranges.get(name, (value, value))
        ranges[name] = (min(low, value), max(high, value))
