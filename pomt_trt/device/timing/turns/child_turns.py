"""Children that take turns at being timed: their latencies, and the ratios of these.

Each child has a process and a pool of threads of its own. Before the next one runs, the last one must be asleep. Why:
idle threads of OpenMP and ONNX Runtime spin for many milliseconds, on the very processors that the next one needs.
"""

import contextlib
import math
import os
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from pomt_trt.core.child_process import Child, command, environment
from pomt_trt.core.records import Interval
from pomt_trt.core.statistics import stats
from pomt_trt.core.statistics.estimate import estimate
from pomt_trt.core.statistics.stability import Bounds
from pomt_trt.core.text_table import aligned
from pomt_trt.device.board import board
from pomt_trt.device.timing.turns import sampler
from pomt_trt.device.timing.turns.sampler import Clock, Sampling, fitting_runs, rounds_of

BURST_MS = 50.0
REST_STEP_S, LONGEST_REST_S = 0.002, 0.5  # ONNX Runtime spins up to 0.2 s beside a busy neighbour
MOST_OTHERS = 0.10  # share of CPU time that other processes may use before a comparison is doubted


class Member(sampler.Member):
    """What takes turns: a child, or a call in this process.

    Attributes: about (what it says of itself), pid, rests_s (one a burst: seconds until it was asleep).
    """

    def __init__(
        self,
        name: str,
        burst: Callable[[int], List[float]],
        pid: Optional[int] = None,
        about: Optional[Dict[str, Any]] = None,
        clock: Clock = time.perf_counter,
    ) -> None:
        """
        Args:
            burst: number of runs -> milliseconds of each, after one that is not counted.
            pid: of the process that must be asleep before the next member runs; None: this process.
        """
        super().__init__(name)
        self._burst, self._clock, self.pid, self.about = burst, clock, pid, about or {}
        self.rests_s: List[float] = []

    def warm_up(self) -> int:
        """Runs it twice. A burst fills BURST_MS."""
        run_ms = self._burst(1)[0]
        self._until_asleep()
        return fitting_runs(run_ms, BURST_MS)

    def burst(self, runs: int) -> List[float]:
        """As the constructor's."""
        return self._burst(runs)

    def rest(self) -> None:
        """Waits until it is asleep."""
        self.rests_s.append(self._until_asleep())

    def _until_asleep(self) -> float:
        """Waits until none of its threads runs or wants to, LONGEST_REST_S at most; returns the seconds it took."""
        began_s = self._clock()
        while self.pid is not None and self._clock() - began_s < LONGEST_REST_S and _awake(self.pid):
            time.sleep(REST_STEP_S)
        return self._clock() - began_s


class Timing(NamedTuple):
    """The latency of one member of one setting."""

    name: str
    latency_ms: float  # centre of the lowest mode
    latency_ci_ms: Interval
    p50_ms: float  # of the raw samples, disturbances included
    p95_ms: float
    rest_ms: float  # until it was asleep after a burst, median
    rounds_ms: Tuple[Tuple[float, ...], ...]  # one row a round, as timed
    stopped: str  # why sampling ended: settled, time cap
    doubt: str  # why it must not be quoted, or empty
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


def started(stack: contextlib.ExitStack, name: str, program: Sequence[str], threads: int, waiting: str) -> Member:
    """A child that ends with the stack.

    Args:
        program: the module that prepares it and its arguments, see device/timing/__main__; --threads and --waiting are
            added.
    Raises: what the child raised; PomtError if it died, hung or sent nonsense.
    """
    full = command(*program, "--threads", str(threads), "--waiting", waiting)
    child = stack.enter_context(Child(name, full, environment(waiting)))
    return Member(name, child.burst, child.pid, child.about)


def setting(
    members: Sequence[Member],
    pairs: Sequence[Tuple[str, str]],
    threads: int,
    waiting: str,
    rule: stats.StoppingRule,
    progress: Callable[[str], None] = lambda text: None,
) -> Setting:
    """Times the members in turn and compares them.

    Args:
        pairs: (slower, faster): names whose ratio is wanted, where both are members.
        threads, waiting: what the members were started with.
        rule: its max_s is the wall time of all members together.
    Raises: PomtError if a child dies, hangs or sends nonsense.
    """
    timings, contention = time_in_turn(members, rule, progress)
    wanted = [(timings[slower], timings[faster]) for slower, faster in pairs if {slower, faster} <= set(timings)]
    ratios = tuple(ratio(slower, faster) for slower, faster in wanted)
    return Setting(threads, waiting, tuple(timings.values()), ratios, contention)


def time_in_turn(
    members: Sequence[Member], rule: stats.StoppingRule, progress: Callable[[str], None] = lambda text: None
) -> Tuple[Dict[str, Timing], Dict[str, float]]:
    """Samples all members until the rule stops each; also the contention meanwhile."""
    clock = time.perf_counter
    began_s, before = clock(), _Usage(members, clock)

    def told(text: str) -> None:
        progress("{:.0f} of {:.0f} s, {}".format(clock() - began_s, rule.max_s, text))

    stopped = sampler.sample([], members, Sampling(rule, clock=clock, together=True, progress=told))
    contention = before.contention(_Usage(members, clock))
    return {each.name: _timing(each, members, stopped[each.name], contention) for each in members}, contention


def ratio(slower: Timing, faster: Timing) -> Ratio:
    """slower / faster. Its interval adds the two relative half-widths as independent errors:

        h = sqrt(log(slower / its low)^2 + log(high of faster / faster)^2), low = ratio * exp(-h); likewise high

    Why independent: errors that both share cancel in a ratio, so the interval is rather too wide than too narrow.
    """
    value = slower.latency_ms / faster.latency_ms
    (a_low, a_high), (b_low, b_high) = slower.latency_ci_ms, faster.latency_ci_ms
    below = math.hypot(math.log(slower.latency_ms / max(a_low, 1e-9)), math.log(b_high / faster.latency_ms))
    above = math.hypot(math.log(a_high / slower.latency_ms), math.log(faster.latency_ms / max(b_low, 1e-9)))
    interval = (value * math.exp(-below), value * math.exp(above))
    return Ratio(slower.name, faster.name, value, interval, slower.doubt or faster.doubt)


def lines(setting: Setting) -> List[str]:
    """The setting as a table for people."""
    contention = setting.contention
    title = "{} thread{}, {} waiting".format(setting.threads, "" if setting.threads == 1 else "s", setting.waiting)
    busy = "others used {:.0f} % of the CPU, the hypervisor {:.0f} %".format(
        100 * contention["others"], 100 * contention["steal"]
    )
    rows = []
    for timing in setting.timings:
        runs = sum(len(row) for row in timing.rounds_ms)
        raw = "p50 {:.2f}  p95 {:.2f}  {} runs, {}".format(timing.p50_ms, timing.p95_ms, runs, timing.stopped)
        interval = "[{:.2f}, {:.2f}]".format(*timing.latency_ci_ms)
        rows.append((timing.name, "{:.2f} ms".format(timing.latency_ms), interval, raw))
    for each in setting.ratios:
        interval, doubt = "[{:.3f}, {:.3f}]".format(*each.ci), "not quotable: " + each.doubt if each.doubt else ""
        rows.append((each.slower + " / " + each.faster, "{:.3f} x ".format(each.value), interval, doubt))
    return ["{} ({})".format(title, busy)] + aligned(rows, right=[1], indent="  ")


def _timing(member: Member, members: Sequence[Member], stopped: str, contention: Dict[str, float]) -> Timing:
    located, raw = estimate(member.name, rounds_of(members)).latency, stats.percentiles(member.rounds_ms)
    return Timing(
        name=member.name,
        latency_ms=located.value,
        latency_ci_ms=(located.low, located.high),
        p50_ms=raw.p50,
        p95_ms=raw.p95,
        rest_ms=1e3 * sorted(member.rests_s)[len(member.rests_s) // 2],
        rounds_ms=tuple(tuple(row) for row in member.rounds_ms),
        stopped=stopped,
        doubt=_doubt(member.name, located, contention),
        about=member.about,
    )


def _doubt(name: str, located: stats.Location, contention: Dict[str, float]) -> str:
    """Why a latency must not be quoted. Beside a busy neighbour, spinning threads may be ten times slower."""
    bounds = Bounds()
    if located.relative_width > bounds.relative_width:
        return "interval of {} is {:.0f} %".format(name, 100 * located.relative_width)
    if contention["others"] > MOST_OTHERS:
        return "other processes used {:.0f} % of the CPU".format(100 * contention["others"])
    if contention["steal"] > bounds.steal:
        return "the hypervisor took {:.0f} % of the CPU".format(100 * contention["steal"])
    return ""


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
    """CPU time used so far by the machine, and by the members."""

    def __init__(self, members: Sequence[Member], clock: Clock) -> None:
        self._reading = board.read(clock)
        stats_of_members = [_stat("/proc/{}/stat".format(member.pid)) for member in members if member.pid is not None]
        self._member_ticks = sum(int(fields[11]) + int(fields[12]) for fields in stats_of_members if fields)

    def contention(self, later: "_Usage") -> Dict[str, float]:
        """Shares of the machine's CPU time in between: steal, and others that are neither this process nor members."""
        shares = board.contention(self._reading, later._reading)
        ticks = max(1, later._reading.cpu_ticks - self._reading.cpu_ticks)
        others = shares["others"] - (later._member_ticks - self._member_ticks) / ticks
        return {"steal": shares["steal"], "others": max(0.0, others)}
