"""Processes that take turns at being timed -> latencies, and ratios of them that one machine state explains.

Makes Settings from the commands of children (core/timing_protocol), on the machine that runs engines. Leaves out what
the children run, and when enough has been sampled (core/statistics/stats).

In a round every member is asked once for a few runs, and each round begins with another member. Before the next one
is asked, the one before must be asleep: idle threads of OpenMP and ONNX Runtime spin for many milliseconds by default,
on the very processors that the next one needs.
"""

import contextlib
import functools
import math
import os
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from pomt_trt.core import timing_protocol
from pomt_trt.core.records import Interval
from pomt_trt.core.statistics import stats
from pomt_trt.core.statistics.drift import slow_drift
from pomt_trt.core.statistics.stability import Bounds
from pomt_trt.core.text_table import aligned
from pomt_trt.device.board import board

VISIT_MS = 50.0  # a visit lasts about this long ...
RUNS_PER_VISIT = (2, 8)  # ... but has no fewer and no more runs than this
REST_STEP_S, LONGEST_REST_S = 0.002, 0.5  # ONNX Runtime spins up to 0.2 s beside a busy neighbour
MOST_OTHERS = 0.10  # share of CPU time that other processes may use before a comparison is doubted

Clock = Callable[[], float]


class Member(NamedTuple):
    """Something to time: how to ask it for runs, and the process to wait for (None: this one, no waiting)."""

    name: str
    ask: Callable[[int], List[float]]  # runs -> milliseconds
    pid: Optional[int] = None
    about: Dict[str, Any] = {}


class Timing(NamedTuple):
    """One member of one setting. doubt: why it must not be quoted, or empty."""

    name: str
    latency_ms: float  # centre of the lowest mode
    latency_ci_ms: Interval
    p50_ms: float  # of the raw samples, disturbances included
    p95_ms: float
    rest_ms: float  # until it was asleep after a visit, median
    rounds_ms: Tuple[Tuple[float, ...], ...]  # one row a round, as timed
    stopped: str  # why sampling ended: settled, time cap
    doubt: str
    about: Dict[str, Any]


class Ratio(NamedTuple):
    """How many times longer `slower` takes than `faster`, with the 95 % interval that both their intervals make."""

    slower: str
    faster: str
    value: float
    ci: Interval
    doubt: str


class Setting(NamedTuple):
    """All members beside one another, with so many threads and one kind of waiting."""

    threads: int
    waiting: str  # default or passive
    timings: Tuple[Timing, ...]
    ratios: Tuple[Ratio, ...]
    contention: Dict[str, float]  # shares of CPU time: steal, others (processes that are not ours)


def started(stack: contextlib.ExitStack, name: str, command: Sequence[str], threads: int, waiting: str) -> Member:
    """A child that runs `command` with --threads and --waiting, and ends with the stack.

    Raises: what the child raised; PomtError where it died, hung or spoke nonsense.
    """
    full = list(command) + ["--threads", str(threads), "--waiting", waiting]
    child = stack.enter_context(timing_protocol.Child(name, full, timing_protocol.environment(waiting)))
    return Member(name, child.ask, child.pid, child.about)


def setting(
    members: Sequence[Member],
    pairs: Sequence[Tuple[str, str]],
    *,
    threads: int,
    waiting: str,
    rule: stats.StoppingRule,
    clock: Clock = time.perf_counter,
    progress: Callable[[str], None] = lambda text: None,
) -> Setting:
    """Times the members in turn and compares them.

    Args:
        pairs: (slower, faster): names whose ratio is wanted, where both are members.
        threads, waiting: what the members were started with.
        rule: its max_s is the wall time of all members together.
    Raises: PomtError where a child dies, hangs or speaks nonsense.
    """
    timings, contention = time_in_turn(members, rule, clock, progress)
    wanted = [(timings[slower], timings[faster]) for slower, faster in pairs if {slower, faster} <= set(timings)]
    ratios = tuple(ratio(slower, faster) for slower, faster in wanted)
    return Setting(threads, waiting, tuple(timings.values()), ratios, contention)


def time_in_turn(
    members: Sequence[Member],
    rule: stats.StoppingRule,
    clock: Clock = time.perf_counter,
    progress: Callable[[str], None] = lambda text: None,
) -> Tuple[Dict[str, Timing], Dict[str, float]]:
    """Rounds over all members until the rule is satisfied with each; also the contention that was seen meanwhile.

    Every member takes part in every round, settled or not, so that the ratios compare equal times.
    """
    runs = {member.name: _runs_per_visit(member, clock) for member in members}
    rows: Dict[str, List[List[float]]] = {member.name: [] for member in members}
    rests: Dict[str, List[float]] = {member.name: [] for member in members}
    stopped: Dict[str, str] = {}
    began, before = clock(), _Usage(members, clock)
    while len(stopped) < len(members):
        first = len(rows[members[0].name]) % len(members)
        for member in [*members[first:], *members[:first]]:
            rows[member.name].append(member.ask(runs[member.name]))
            rests[member.name].append(_rest(member.pid, clock) * 1e3)
        drift = functools.lru_cache(maxsize=None)(functools.partial(slow_drift, list(rows.values())))
        for name in [name for name in rows if name not in stopped]:
            reason = rule.decide(rows[name], functools.partial(_quickly, rows[name], drift), clock() - began)
            if reason is not None:
                stopped[name] = reason
        progress("{:.0f} of {:.0f} s, {} of {} settled".format(clock() - began, rule.max_s, len(stopped), len(rows)))
    contention, factors = before.contention(_Usage(members, clock)), slow_drift(list(rows.values()))
    made = [_timing(m, rows[m.name], rests[m.name], factors, stopped[m.name], contention) for m in members]
    return {timing.name: timing for timing in made}, contention


def _quickly(rows: List[List[float]], drift: Callable[[], Sequence[float]]) -> stats.Location:
    return stats.locate(rows, drift(), resamples=stats.QUICK_RESAMPLES)


def ratio(slower: Timing, faster: Timing) -> Ratio:
    """slower over faster; its interval takes the two latencies' noise for independent, which errs on the wide side."""
    value = slower.latency_ms / faster.latency_ms
    (a_low, a_high), (b_low, b_high) = slower.latency_ci_ms, faster.latency_ci_ms
    below = math.hypot(math.log(slower.latency_ms / max(a_low, 1e-9)), math.log(b_high / faster.latency_ms))
    above = math.hypot(math.log(a_high / slower.latency_ms), math.log(faster.latency_ms / max(b_low, 1e-9)))
    interval = (value * math.exp(-below), value * math.exp(above))
    return Ratio(slower.name, faster.name, value, interval, slower.doubt or faster.doubt)


def lines(setting: Setting) -> List[str]:
    """The setting as a table for people."""
    seen = setting.contention
    title = "{} thread{}, {} waiting".format(setting.threads, "" if setting.threads == 1 else "s", setting.waiting)
    busy = "others used {:.0f} % of the CPU, the hypervisor {:.0f} %".format(100 * seen["others"], 100 * seen["steal"])
    rows = []
    for timing in setting.timings:
        runs = sum(len(row) for row in timing.rounds_ms)
        raw = "p50 {:.2f}  p95 {:.2f}  {} runs, {}".format(timing.p50_ms, timing.p95_ms, runs, timing.stopped)
        interval = "[{:.2f}, {:.2f}]".format(*timing.latency_ci_ms)
        rows.append((timing.name, "{:.2f} ms".format(timing.latency_ms), interval, raw))
    for found in setting.ratios:
        interval, doubt = "[{:.3f}, {:.3f}]".format(*found.ci), "not quotable: " + found.doubt if found.doubt else ""
        rows.append((found.slower + " / " + found.faster, "{:.3f} x ".format(found.value), interval, doubt))
    return ["{} ({})".format(title, busy)] + aligned(rows, right=[1], indent="  ")


def _timing(
    member: Member,
    rows: List[List[float]],
    rests_ms: List[float],
    drift: Sequence[float],
    stopped: str,
    contention: Dict[str, float],
) -> Timing:
    found, raw = stats.locate(rows, drift), stats.percentiles(rows)
    return Timing(
        name=member.name,
        latency_ms=found.value,
        latency_ci_ms=(found.low, found.high),
        p50_ms=raw.p50,
        p95_ms=raw.p95,
        rest_ms=_middle(rests_ms),
        rounds_ms=tuple(tuple(row) for row in rows),
        stopped=stopped,
        doubt=_doubt(member.name, found, contention),
        about=member.about,
    )


def _doubt(name: str, found: stats.Location, contention: Dict[str, float]) -> str:
    """Why a latency is not to be quoted. Beside a busy neighbour spinning threads may be ten times slower."""
    bounds = Bounds()
    if found.relative_width > bounds.relative_width:
        return "interval of {} is {:.0f} %".format(name, 100 * found.relative_width)
    if contention["others"] > MOST_OTHERS:
        return "other processes used {:.0f} % of the CPU".format(100 * contention["others"])
    if contention["steal"] > bounds.steal:
        return "the hypervisor took {:.0f} % of the CPU".format(100 * contention["steal"])
    return ""


def _runs_per_visit(member: Member, clock: Clock) -> int:
    """How many runs fill a visit; the run that finds out is also the warm-up."""
    one_ms = max(1e-3, member.ask(1)[0])
    _rest(member.pid, clock)
    fewest, most = RUNS_PER_VISIT
    return int(min(most, max(fewest, VISIT_MS // one_ms)))


def _rest(pid: Optional[int], clock: Clock) -> float:
    """Waits until no thread of the process is on a processor or wants one; returns the seconds it took."""
    began = clock()
    while pid is not None and clock() - began < LONGEST_REST_S and _awake(pid):
        time.sleep(REST_STEP_S)
    return clock() - began


def _awake(pid: int) -> bool:
    """True while a thread of the process is running or ready to; also where there is no /proc that could tell."""
    folder = "/proc/{}/task".format(pid)
    try:
        return any(_stat("{}/{}/stat".format(folder, thread))[:1] == ["R"] for thread in os.listdir(folder))
    except OSError:
        return True


def _stat(path: str) -> List[str]:
    """The fields of a stat file after the command's name: state first; none where the thread has just ended."""
    try:
        with open(path) as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


class _Usage:
    """CPU time so far: of the machine, and of the members."""

    def __init__(self, members: Sequence[Member], clock: Clock) -> None:
        self._reading = board.read(clock)
        stats_of_members = [_stat("/proc/{}/stat".format(member.pid)) for member in members if member.pid is not None]
        self._member_ticks = sum(int(fields[11]) + int(fields[12]) for fields in stats_of_members if fields)

    def contention(self, later: "_Usage") -> Dict[str, float]:
        """Shares of the machine's CPU time in between: steal, and others that are neither this process nor members."""
        seen = board.contention(self._reading, later._reading)
        ticks = max(1, later._reading.cpu_ticks - self._reading.cpu_ticks)
        others = seen["others"] - (later._member_ticks - self._member_ticks) / ticks
        return {"steal": seen["steal"], "others": max(0.0, others)}


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
