"""The verdict: one word for a latency profile by what disturbed it.

A latency may be quoted if its verdict is stable. Otherwise the word names the cause, so that the user can remove it.
It is said of a selection only where it could change the choice.
"""

from typing import Any, Mapping, NamedTuple

from pomt_trt.core.records import Energy

QUOTABLE = (None, "stable", "drifting")  # of verdicts; older profiles say drifting where drift was taken out


class Bounds(NamedTuple):
    """The first three bound a profile, the others a round of its group."""

    relative_width: float = 0.06  # of the latency's interval: full width over value
    clock_ratio: float = 0.90  # lowest clock over the power mode's cap
    over_current: int = 0  # alarms: each slows all clocks down for a moment
    steal: float = 0.02  # share of CPU time that the hypervisor took
    others: float = 0.10  # share of CPU time that other processes used
    involuntary_per_s: float = 80.0  # involuntary context switches a second of wall time, all threads. Two spinning
    # threads on two shared cores had 36 undisturbed, and 200 to 300 beside a CPU hog


def verdict(relative_width: float, clean: bool = True, seen: Mapping[str, Any] = {}, bounds: Bounds = Bounds()) -> str:
    """The first of these that applies: throttled, contended, stable.

    A machine that drifts is no verdict: drift is taken out, and what is left of it is in the interval. An interval that
    is too wide without a known cause is called contended: something made the runs differ.

    Args:
        clean: whether the engine was timed in undisturbed rounds.
        seen: what the board's sensors showed: clock_ratio, and over_current (alarms by their name). A value that is
            absent or None could not be read, and counts as undisturbed.
    """
    clock_ratio = seen.get("clock_ratio")
    alarms = sum((seen.get("over_current") or {}).values())
    if clock_ratio is not None and clock_ratio < bounds.clock_ratio or alarms > bounds.over_current:
        return "throttled"
    return "stable" if clean and relative_width <= bounds.relative_width else "contended"


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
