"""One word for a latency profile, from what disturbed it: stable, drifting, contended, throttled.

Any machine; knows numbers only. Leaves out how they were read (device/board/board, device/board/sensors).
"""

from typing import NamedTuple, Optional

from pomt_trt.core.records import Energy


class Bounds(NamedTuple):
    """Beyond these a profile is not called stable."""

    relative_width: float = 0.05  # of the location's interval, full width over value
    drift: float = 0.05  # slowest round over the fast state, minus 1; or how far this group is from what it is tied to
    steal: float = 0.02  # share of CPU time that the hypervisor took
    others: float = 0.10  # share of CPU time that other processes used
    involuntary_per_s: float = 80.0  # involuntary context switches a second of wall time, all threads: two spinning
    # threads on two shared cores were seen to have 36 undisturbed and 200 to 300 beside a CPU hog
    tail: float = 0.25  # share of runs a quarter slower than the location
    clock_ratio: float = 0.90  # clock over the power mode's own cap
    over_current: int = 0  # alarms that went off: each slows all clocks down for a moment


def verdict(
    relative_width: float,
    drift: float = 0.0,
    *,
    steal: Optional[float] = None,
    others: Optional[float] = None,
    involuntary_per_s: Optional[float] = None,
    tail: Optional[float] = None,
    clock_ratio: Optional[float] = None,
    over_current: Optional[int] = None,
    bounds: Bounds = Bounds(),
) -> str:
    """One word for a profile: throttled, contended, drifting or stable; the worst cause seen, in that order.

    Args are in the units of Bounds; what is not known is None and accuses nobody. An interval too wide without a known
    cause is called contended: something made the runs differ.
    """
    if clock_ratio is not None and clock_ratio < bounds.clock_ratio:
        return "throttled"
    if over_current is not None and over_current > bounds.over_current:
        return "throttled"
    disturbances = (
        (steal, bounds.steal),
        (others, bounds.others),
        (involuntary_per_s, bounds.involuntary_per_s),
        (tail, bounds.tail),
    )
    if any(seen is not None and seen > bound for seen, bound in disturbances):
        return "contended"
    if drift > bounds.drift:
        return "drifting"
    return "stable" if relative_width <= bounds.relative_width else "contended"


def paced(pace_fps: float) -> str:
    """How a profile was taken whose runs began at this rate (frames per second)."""
    return "paced at {:g} FPS".format(pace_fps)


def energy(found: Energy) -> str:
    """What a run costs."""
    return "{:.1f} mJ a run{} [{:.1f}, {:.1f}], above {:.1f} W of the idle board ({:.1f} W while it runs)".format(
        found.energy_mj,
        " of {} images".format(found.images) if found.images > 1 else "",
        found.energy_ci_mj[0],
        found.energy_ci_mj[1],
        found.idle_w,
        found.busy_w,
    )
