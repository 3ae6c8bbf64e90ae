"""The report's lines on the board itself: software, clocks, sensors and alarms."""

from typing import Dict, Iterator, List, Optional, Tuple

from pomt_trt.core.field_kit.records import CLOCKS, DOCTOR, HELD, NOT, SKIPPED, UNKNOWN, Collected, Line, Moment

MOVED = 0.02  # of its cap: a locked clock whose readings span more has moved


def lines(run: Collected) -> List[Line]:
    """All of them, in the order in which one sets up a board."""
    return [*_doctor(run), *_clocks(run), *_sensors(run)]


def _doctor(run: Collected) -> Iterator[Line]:
    what = "nothing that engines need is missing"
    if not run.findings:
        yield Line(UNKNOWN, what, run.why(DOCTOR))
        return
    missing = ["{} ({})".format(one.name, one.value) for one in run.findings if one.state == "missing"]
    warned = [one.name for one in run.findings if one.state == "warning"]
    warnings = "doctor warns of {}".format(", ".join(warned)) if warned else "doctor has no warning"
    yield Line(NOT if missing else HELD, what, "; ".join(missing) or warnings)


def _clocks(run: Collected) -> Iterator[Line]:
    before, locked, after = (run.moments.get(when) for when in ("before", "locked", "after"))
    what = "jetson/with_clocks locks the clocks"
    if not run.clocks_held:
        step = run.step(CLOCKS)
        was_tried = step is not None and step.status != SKIPPED
        yield Line(NOT if was_tried else UNKNOWN, what, step.error if step is not None else "no such step")
        yield Line(UNKNOWN, "the clocks stay locked", "they were not")
        return
    loose = sorted(_loose(locked)) if locked is not None else []
    clocks = _judged(locked) if locked is not None else {}
    if not clocks:
        yield Line(UNKNOWN, what, "no clock of GPU or processor can be read")
    else:
        shown = ["{} {:.0f} MHz".format(name, cap) for name, (_, _, cap) in sorted(clocks.items())]
        free = ["{} may move from {:.0f} to {:.0f} MHz".format(name, *clocks[name][1:]) for name in loose]
        yield Line(NOT if free else HELD, what, ", ".join(free or shown))
    yield _stayed(run, clocks)
    yield _given_back(before, after)


def _stayed(run: Collected, locked: Dict[str, Tuple[float, float, float]]) -> Line:
    what = "the clocks stay locked"
    ranges = run.watched.clocks_mhz if run.watched is not None else {}
    watched = {name: ranges[name] for name in sorted(locked) if name in ranges}
    if run.watched is None or not watched:
        return Line(UNKNOWN, what, "no clock was read meanwhile")
    changes = []
    for name, (low, high) in watched.items():
        cap = locked[name][2]
        if high - low > MOVED * cap:
            changes.append("{} moved {:.0f}..{:.0f} MHz".format(name, low, high))
        elif low < (1 - MOVED) * cap:  # constant, but not where it was locked
            changes.append("{} ran at {:.0f} of {:.0f} MHz".format(name, low, cap))
    return Line(NOT if changes else HELD, what, ", ".join(changes) or "{} readings".format(run.watched.readings))


def _given_back(before: Optional[Moment], after: Optional[Moment]) -> Line:
    what = "the clocks are given back as they were"
    limits = [{name: clock[1:] for name, clock in _judged(moment).items()} for moment in (before, after) if moment]
    if len(limits) < 2 or not limits[0]:
        return Line(UNKNOWN, what, "they were not read before and after")
    other = ["{} {:.0f}..{:.0f} MHz".format(name, *after) for name, after in sorted(limits[1].items())]
    same = limits[0] == limits[1]
    return Line(HELD if same else NOT, what, "limits as before" if same else "now " + ", ".join(other))


def _judged(moment: Moment) -> Dict[str, Tuple[float, float, float]]:
    """(now, least, cap) of GPU and processor. The memory's clock is left out: only root can read how it is locked."""
    return {name: clock for name, clock in moment.clocks_mhz.items() if name != "emc"}


def _loose(moment: Moment) -> List[str]:
    return [name for name, (_, least, cap) in _judged(moment).items() if least < cap]


def _sensors(run: Collected) -> Iterator[Line]:
    before, after = run.moments.get("before"), run.moments.get("after")
    rails = before.rails_w if before is not None else {}
    watts = ", ".join("{} {:.1f} W".format(name, value) for name, value in sorted(rails.items()))
    yield Line(HELD if rails else UNKNOWN, "power rails are readable", watts or _unread(before))
    hottest = max((high for _, high in run.watched.temperatures_c.values()), default=None) if run.watched else None
    yield Line(
        UNKNOWN if hottest is None else HELD,
        "temperatures are readable",
        _unread(before) if hottest is None else "the highest was {:.1f} degrees".format(hottest),
    )
    what = "no over-current alarm goes off"
    if before is None or after is None or not before.over_current:
        yield Line(UNKNOWN, what, "no counter is readable")
        return
    alarms = {name: after.over_current.get(name, 0) - count for name, count in sorted(before.over_current.items())}
    fired = ", ".join("{} {} times".format(name, count) for name, count in alarms.items() if count > 0)
    yield Line(NOT if fired else HELD, what, fired or "counters {}".format(", ".join(alarms)))


def _unread(moment: Optional[Moment]) -> str:
    if moment is None:
        return "sensors were not read"
    reasons = ", ".join("{} {}".format(name, reason) for name, reason in sorted(moment.unknown.items()))
    return "not readable" + (" ({})".format(reasons) if reasons else "")
