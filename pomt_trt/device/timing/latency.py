"""Latency of engines: many short rounds, interleaved over a group and known engines that tie the groups together.

Makes LatencyProfiles from Runners, a clock and the machine's counters. On the machine that runs engines. Leaves out
when enough has been sampled and where a sample's location lies: core/statistics/stats says both, knowing numbers only.

In a round every member of the group runs a few times, after one run that is not counted (another engine has just used
the caches): back to back, or at a camera's pace. What all of them took in a round shows how fast the machine was then;
what the known ones took in all rounds, by how much these must be scaled to compare with earlier groups.
"""

import functools
import statistics
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from pomt_trt.core.records import Engine, LatencyProfile
from pomt_trt.core.statistics import reference_ratio, stats
from pomt_trt.core.statistics.drift import slow_drift
from pomt_trt.core.statistics.stability import verdict
from pomt_trt.device.board.sensors import FLOATING, MOVING, Sampler

VISIT_S = 0.010  # a visit lasts about this long ...
MOST_RUNS_PER_VISIT = 8  # ... but no more runs than this, nor fewer than two
PACED_RUNS_PER_VISIT = 3  # each costs an interval, in which the others of the group wait


class Modes(NamedTuple):
    """How runs are made, which is part of what a latency means, and for how long at most."""

    threads: int
    waiting: str
    max_s: float  # idle gaps included
    pace_fps: Optional[float] = None  # a run begins every 1 / pace_fps seconds; None: when the one before has ended


class Clocks(NamedTuple):
    """What tells the time and lets it pass."""

    wall: Callable[[], float]  # seconds, monotonic
    cpu: Callable[[], float]  # seconds of CPU that this process has used, all threads
    sleep: Callable[[float], Any]  # takes seconds


class Member(NamedTuple):
    """One engine in a group: something to run, and what is known of it so far."""

    candidate_id: str
    run: Callable[[], Any]  # one inference, host array in, host logits out
    rounds_ms: List[List[float]]
    cpu_ms: List[float]  # one a round: CPU time a run
    overran: List[bool]  # one a run, paced only: it was still going when the next one was due
    sampler: Optional[Sampler] = None  # asked after each visit what the board is doing


def new_member(candidate_id: str, run: Callable[[], Any], sampler: Optional[Sampler] = None) -> Member:
    """A member of which nothing is known yet."""
    return Member(candidate_id, run, [], [], [], sampler)


class Known(NamedTuple):
    """A member whose latency was found in an earlier group."""

    member: Member
    latency_ms: float


def time_group(
    members: Sequence[Member],
    known: Sequence[Known],
    rule: stats.StoppingRule,
    clocks: Clocks,
    pace_fps: Optional[float] = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Dict[str, str]:
    """Runs rounds over known and unknown members until the rule is satisfied with each of the unknown.

    Fills all members' lists; one that is settled sits out the rest, but not the first where none is known: the others
    are then tied to it.

    Args:
        pace_fps: runs begin at this rate, with idle gaps between them, which count as time spent; one whose
            predecessor has overrun begins at once. None: back to back.
    Returns: for each candidate id why its sampling stopped.
    """
    everyone = [each.member for each in known] + list(members)
    runs = {member.candidate_id: _runs_per_visit(member, clocks, pace_fps) for member in everyone}
    stopped: Dict[str, str] = {}
    spent_s = dict.fromkeys(runs, 0.0)
    always = max(1, len(known))
    while len(stopped) < len(members):
        running = everyone[:always] + [m for m in everyone[always:] if m.candidate_id not in stopped]
        for member in _rotated(running, len(everyone[0].rounds_ms)):
            spent_s[member.candidate_id] += _visit(member, runs[member.candidate_id], clocks, pace_fps)
        for member in (member for member in members if member.candidate_id not in stopped):
            beside = known or [Known(first, 1.0) for first in members[:1] if first is not member]  # scale is no matter
            located = functools.partial(_located, member, beside, everyone)
            reason = rule.decide(member.rounds_ms, located, spent_s[member.candidate_id])
            if reason is not None:
                stopped[member.candidate_id] = reason
        progress("{} of {} settled".format(len(stopped), len(members)))
    return stopped


def _located(member: Member, known: Sequence[Known], group: Sequence[Member]) -> stats.Location:
    """Where a member's latency lies so far, with an interval that only decides whether to go on."""
    if known:
        return _tied(member, known, group, stats.QUICK_RESAMPLES)
    drift = drift_of(group)[: len(member.rounds_ms)]
    return stats.locate(member.rounds_ms, drift, resamples=stats.QUICK_RESAMPLES)


def _tied(
    member: Member, known: Sequence[Known], group: Sequence[Member], resamples: int = stats.RESAMPLES
) -> stats.Location:
    told = [reference_ratio.Known(each.member.rounds_ms, each.latency_ms) for each in known]
    return reference_ratio.locate_tied(member.rounds_ms, told, [each.rounds_ms for each in group], resamples)


def drift_of(group: Sequence[Member]) -> Sequence[float]:
    """By how much the machine was slower in each round than in its fast state, as all members show."""
    return slow_drift([member.rounds_ms for member in group])


def profile(
    member: Member,
    engine: Engine,
    modes: Modes,
    *,
    known: Sequence[Known],
    group: Sequence[Member],
    stopped: str,
    contention: Dict[str, float],
) -> LatencyProfile:
    """The profile of one member of a group that has been timed.

    Args:
        known: those of the group that it is tied to.
        group: all members, known and unknown.
        contention: what the machine's counters showed meanwhile, see board.contention.
    Returns: with a sampler, its summary is in the profile's `contention`.
    """
    drift = drift_of(group)[: len(member.rounds_ms)]
    here = stats.locate(member.rounds_ms, drift)
    found = _tied(member, known, group) if known else here
    tie = found.value / here.value
    percentiles = stats.percentiles(member.rounds_ms)
    moved = max(max(drift) - 1.0, abs(tie - 1.0))
    seen: Dict[str, Any] = dict(contention, drift=moved, tail=stats.tail_fraction(member.rounds_ms, drift, here))
    seen.update(member.sampler.summary() if member.sampler is not None else {})
    if modes.pace_fps is not None:
        seen["missed"] = sum(member.overran) / len(member.overran)
    return LatencyProfile(
        candidate_id=member.candidate_id,
        device_id=engine.device.id,
        engine_sha256=engine.sha256,
        threads=modes.threads,
        waiting=modes.waiting,
        pace_fps=modes.pace_fps,
        latency_ms=found.value,
        latency_ci_ms=(found.low, found.high),
        cpu_ms=statistics.median(member.cpu_ms),
        p50_ms=percentiles.p50,
        p90_ms=percentiles.p90,
        p95_ms=percentiles.p95,
        p99_ms=percentiles.p99,
        rounds_ms=tuple(tuple(row) for row in member.rounds_ms),
        drift=tuple(drift),
        tie=tie,
        stopped=stopped,
        max_s=modes.max_s,
        verdict=_verdict(found.relative_width, seen),
        contention=seen,
    )


def _verdict(relative_width: float, seen: Dict[str, Any]) -> str:
    """The word of statistics/stability, but 'floating' where clocks were free to move, or moved."""
    if seen.get("clocks") == FLOATING:
        return "floating"
    word = verdict(
        relative_width,
        seen["drift"],
        steal=seen.get("steal"),
        others=seen.get("others"),
        involuntary_per_s=seen.get("involuntary_per_s"),
        tail=seen["tail"],
        clock_ratio=seen.get("clock_ratio"),
        over_current=sum(seen.get("over_current", {}).values()),
    )
    return "floating" if seen.get("clocks") == MOVING and word != "throttled" else word


def _runs_per_visit(member: Member, clocks: Clocks, pace_fps: Optional[float]) -> int:
    """How many runs fill a visit; the run that finds out is also the warm-up."""
    member.run()
    started_s = clocks.wall()
    member.run()
    one_s = max(1e-6, clocks.wall() - started_s)
    if pace_fps is not None:
        return PACED_RUNS_PER_VISIT
    return int(min(MOST_RUNS_PER_VISIT, max(2, VISIT_S // one_s)))


def _visit(member: Member, runs: int, clocks: Clocks, pace_fps: Optional[float]) -> float:
    """One row of samples for a member; returns the seconds it took."""
    began_s = clocks.wall()
    member.run()
    cpu_s = clocks.cpu()  # before the first gap: as many gaps as runs are counted, with what threads spin in them
    if pace_fps is None:
        row = [_timed(member, clocks) for _ in range(runs)]
    else:
        row = _paced(member, runs, clocks, began_s, 1 / pace_fps)
    member.cpu_ms.append((clocks.cpu() - cpu_s) / runs * 1e3)
    member.rounds_ms.append(row)
    spent_s = clocks.wall() - began_s
    if member.sampler is not None:
        member.sampler.sample()
    return spent_s


def _paced(member: Member, runs: int, clocks: Clocks, began_s: float, interval_s: float) -> List[float]:
    """Runs as a camera's images come: the times at which they are due do not move when a run overruns."""
    row = []
    for number in range(1, runs + 1):
        early_s = began_s + number * interval_s - clocks.wall()
        if early_s > 0:
            clocks.sleep(early_s)
        row.append(_timed(member, clocks))
        member.overran.append(clocks.wall() > began_s + (number + 1) * interval_s)
    return row


def _timed(member: Member, clocks: Clocks) -> float:
    """Milliseconds that one run took."""
    started_s = clocks.wall()
    member.run()
    return (clocks.wall() - started_s) * 1e3


def _rotated(members: List[Member], by: int) -> List[Member]:
    """Starts each round with another member, so that none always follows the same one."""
    if not members:
        return members
    by %= len(members)
    return members[by:] + members[:by]
