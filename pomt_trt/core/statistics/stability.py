"""The verdict: one word for a latency profile by what disturbed it.

A latency may be quoted if its verdict is stable. Otherwise the word names the cause, so that the user can remove it.
"""

from typing import Any, Mapping, NamedTuple

from pomt_trt.core.records import Energy


class Bounds(NamedTuple):
    """A profile beyond one of these is not stable."""

    relative_width: float = 0.05  # of the latency's interval: full width over value
    drift: float = 0.05  # slowest round over the fast state, or latency over the references' state; minus 1
    steal: float = 0.02  # share of CPU time that the hypervisor took
    others: float = 0.10  # share of CPU time that other processes used
    involuntary_per_s: float = 80.0  # involuntary context switches a second of wall time, all threads. Two spinning
    # threads on two shared cores had 36 undisturbed, and 200 to 300 beside a CPU hog
    tail: float = 0.25  # share of runs that were a quarter slower than the location
    clock_ratio: float = 0.90  # lowest clock over the power mode's cap
    over_current: int = 0  # alarms: each slows all clocks down for a moment


def verdict(relative_width: float, drift: float = 0.0, seen: Mapping[str, Any] = {}, bounds: Bounds = Bounds()) -> str:
    """The first of these that applies: throttled, contended, drifting, stable.

    An interval that is too wide without a known cause is called contended: something made the runs differ.

    Args:
        seen: what the machine's counters and sensors showed, by the names and in the units of Bounds. A value that is
            absent or None could not be read, and counts as undisturbed.
    """
    clock_ratio = seen.get("clock_ratio")
    if clock_ratio is not None and clock_ratio < bounds.clock_ratio or _exceeds(seen, bounds, "over_current"):
        return "throttled"
    if any(_exceeds(seen, bounds, name) for name in ("steal", "others", "involuntary_per_s", "tail")):
        return "contended"
    if drift > bounds.drift:
        return "drifting"
    return "stable" if relative_width <= bounds.relative_width else "contended"


def _exceeds(seen: Mapping[str, Any], bounds: Bounds, name: str) -> bool:
    value = seen.get(name)
    return value is not None and value > getattr(bounds, name)


def paced(pace_fps: float) -> str:
    """How a profile was taken whose runs began at this rate (frames per second)."""
    return "paced at {:g} FPS".format(pace_fps)


def energy(measured: Energy) -> str:
    """What a run costs."""
    return "{:.1f} mJ a run{} [{:.1f}, {:.1f}], above {:.1f} W of the idle board ({:.1f} W while it runs)".format(
        measured.energy_mj,
        " of {} images".format(measured.images) if measured.images > 1 else "",
        measured.energy_ci_mj[0],
        measured.energy_ci_mj[1],
        measured.idle_w,
        measured.busy_w,
    )
