"""How a board was: what is installed, its clocks, sensors and alarms, as lines of core/field_kit/judgement.

Makes Lines from Collected, on any machine. Leaves out engines (core/field_kit/engines).
"""

from typing import Dict, Iterator, List, Optional, Tuple

from pomt_trt.core.field_kit.records import CLOCKS, DOCTOR, HELD, NOT, SKIPPED, UNKNOWN, Collected, Line, Moment

MOVED = 0.02  # of its cap: a locked clock that was read in a wider range has moved


def lines(run: Collected) -> List[Line]:
    """All of them, in the order in which a board is brought up."""
    return [*_doctor(run), *_clocks(run), *_sensors(run)]


def _doctor(run: Collected) -> Iterator[Line]:
    what = "nothing that engines need is missing"
    if not run.findings:
        yield Line(UNKNOWN, what, run.why(DOCTOR))
        return
    missing = ["{} ({})".format(one.name, one.value) for one in run.findings if one.state == "missing"]
    warned = [one.name for one in run.findings if one.state == "warning"]
    told = "doctor warns of {}".format(", ".join(warned)) if warned else "doctor has no warning"
    yield Line(NOT if missing else HELD, what, "; ".join(missing) or told)


def _clocks(run: Collected) -> Iterator[Line]:
    before, locked, after = (run.moments.get(when) for when in ("before", "locked", "after"))
    what = "jetson/with_clocks locks the clocks"
    if not run.clocks_held:
        step = run.step(CLOCKS)
        asked = step is not None and step.status != SKIPPED
        yield Line(NOT if asked else UNKNOWN, what, step.error if step is not None else "no such step")
        yield Line(UNKNOWN, "the clocks stay locked", "they were not")
        return
    loose = sorted(_loose(locked)) if locked is not None else []
    seen = _judged(locked) if locked is not None else {}
    if not seen:
        yield Line(UNKNOWN, what, "no clock of GPU or processor can be read")
    else:
        shown = ["{} {:.0f} MHz".format(name, cap) for name, (_, _, cap) in sorted(seen.items())]
        free = ["{} may move from {:.0f} to {:.0f} MHz".format(name, *seen[name][1:]) for name in loose]
        yield Line(NOT if free else HELD, what, ", ".join(free or shown))
    yield _stayed(run, seen)
    yield _given_back(before, after)


def _stayed(run: Collected, seen: Dict[str, Tuple[float, float, float]]) -> Line:
    what = "the clocks stay locked"
    ranges = run.watched.clocks_mhz if run.watched is not None else {}
    known = {name: ranges[name] for name in sorted(seen) if name in ranges}
    if run.watched is None or not known:
        return Line(UNKNOWN, what, "no clock was read meanwhile")
    told = []
    for name, (low, high) in known.items():
        cap = seen[name][2]
        if high - low > MOVED * cap:
            told.append("{} moved {:.0f}..{:.0f} MHz".format(name, low, high))
        elif low < (1 - MOVED) * cap:  # it stands still, and not where it was locked
            told.append("{} ran at {:.0f} of {:.0f} MHz".format(name, low, cap))
    return Line(NOT if told else HELD, what, ", ".join(told) or "{} readings".format(run.watched.readings))


def _given_back(before: Optional[Moment], after: Optional[Moment]) -> Line:
    what = "the clocks are given back as they were"
    limits = [{name: clock[1:] for name, clock in _judged(moment).items()} for moment in (before, after) if moment]
    if len(limits) < 2 or not limits[0]:
        return Line(UNKNOWN, what, "they were not read before and after")
    other = ["{} {:.0f}..{:.0f} MHz".format(name, *after) for name, after in sorted(limits[1].items())]
    same = limits[0] == limits[1]
    return Line(HELD if same else NOT, what, "limits as before" if same else "now " + ", ".join(other))


def _judged(moment: Moment) -> Dict[str, Tuple[float, float, float]]:
    """GPU and processor: what locks the memory's clock lies in files of its own, which root alone may read."""
    return {name: clock for name, clock in moment.clocks_mhz.items() if name != "emc"}


def _loose(moment: Moment) -> List[str]:
    return [name for name, (_, least, cap) in _judged(moment).items() if least < cap]


def _sensors(run: Collected) -> Iterator[Line]:
    before, after = run.moments.get("before"), run.moments.get("after")
    rails = before.rails_w if before is not None else {}
    told = ", ".join("{} {:.1f} W".format(name, watts) for name, watts in sorted(rails.items()))
    yield Line(HELD if rails else UNKNOWN, "power rails are readable", told or _unread(before))
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
    told = ", ".join("{} {} times".format(name, count) for name, count in alarms.items() if count > 0)
    yield Line(NOT if told else HELD, what, told or "counters {}".format(", ".join(alarms)))


def _unread(moment: Optional[Moment]) -> str:
    if moment is None:
        return "sensors were not read"
    reasons = ", ".join("{} {}".format(name, reason) for name, reason in sorted(moment.unknown.items()))
    return "not readable" + (" ({})".format(reasons) if reasons else "")
