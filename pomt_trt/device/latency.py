"""Latency of engines: many short rounds, interleaved over a group and a reference that ties the groups together.

Makes LatencyProfiles from Runners, a clock and the machine's counters. On the machine that runs engines. Leaves out
when enough has been sampled and where a sample's location lies: core/stats says both, knowing numbers only.

In a round every member of the group runs a few times back to back, after one run that is not counted (another engine
has just used the caches). The reference's level in each round shows how fast the machine was then.
"""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from pomt_trt.core import stats
from pomt_trt.core.records import Engine, LatencyProfile

VISIT_S = 0.010  # a visit lasts about this long ...
MOST_RUNS_PER_VISIT = 8  # ... but no more runs than this, nor fewer than two


class Modes(NamedTuple):
    """How runs are made, which is part of what a latency means, and for how long at most."""

    threads: int
    waiting: str
    max_s: float


class Member(NamedTuple):
    """One engine in a group: something to run, and what is known of it so far."""

    candidate_id: str
    run: Callable[[], Any]  # one inference, host array in, host logits out
    rounds_ms: List[List[float]]


def time_group(
    members: Sequence[Member],
    reference: Member,
    rule: stats.StoppingRule,
    clock: Callable[[], float],
    progress: Callable[[str], None] = lambda text: None,
) -> Dict[str, str]:
    """Runs rounds over members and reference until the rule is satisfied with each member.

    Fills the members' rounds_ms; a member that is settled sits out the rest.

    Args:
        clock: seconds, monotonic.
    Returns: for each candidate id why its sampling stopped.
    """
    runs = {member.candidate_id: _runs_per_visit(member, clock) for member in [*members, reference]}
    stopped: Dict[str, str] = {}
    spent_s = {member.candidate_id: 0.0 for member in members}
    while len(stopped) < len(members):
        level_s = _visit(reference, runs[reference.candidate_id], clock)
        for member in _rotated([m for m in members if m.candidate_id not in stopped], len(reference.rounds_ms)):
            name = member.candidate_id
            spent_s[name] += level_s if member is reference else _visit(member, runs[name], clock)
            reason = rule.decide(member.rounds_ms, drift_of(reference, len(member.rounds_ms)), spent_s[name])
            if reason is not None:
                stopped[name] = reason
        progress("{} of {} settled".format(len(stopped), len(members)))
    return stopped


def drift_of(reference: Member, rounds: int) -> List[float]:
    """The reference's level in each of the first `rounds` rounds over its median level."""
    levels = [min(row) for row in reference.rounds_ms]
    middle = sorted(levels)[len(levels) // 2]
    return [level / middle for level in levels[:rounds]]


def profile(
    member: Member,
    engine: Engine,
    modes: Modes,
    *,
    reference: Member,
    reference_profile: Optional[LatencyProfile],
    stopped: str,
    contention: Dict[str, float],
) -> LatencyProfile:
    """The profile of one member of a group that has been timed.

    Args:
        reference_profile: of the reference, from the group that it was first timed in; None if that is this group.
        contention: what the machine's counters showed meanwhile, see board.contention.
    """
    drift = drift_of(reference, len(member.rounds_ms))
    found = stats.locate(member.rounds_ms, drift)
    tie = 1.0
    if reference_profile is not None:
        here = stats.locate(reference.rounds_ms, drift_of(reference, len(reference.rounds_ms)))
        tie = reference_profile.latency_ms / here.value
    percentiles = stats.percentiles(member.rounds_ms)
    moved = max(stats.drift_range(drift), abs(tie - 1.0))
    seen = dict(contention, drift=moved, tail=stats.tail_fraction(member.rounds_ms, found))
    return LatencyProfile(
        candidate_id=member.candidate_id,
        device_id=engine.device.id,
        engine_sha256=engine.sha256,
        threads=modes.threads,
        waiting=modes.waiting,
        latency_ms=found.value * tie,
        latency_ci_ms=(found.low * tie, found.high * tie),
        p50_ms=percentiles.p50,
        p90_ms=percentiles.p90,
        p95_ms=percentiles.p95,
        p99_ms=percentiles.p99,
        rounds_ms=tuple(tuple(row) for row in member.rounds_ms),
        drift=tuple(drift),
        tie=tie,
        stopped=stopped,
        max_s=modes.max_s,
        verdict=stats.verdict(
            found.relative_width,
            moved,
            steal=contention.get("steal"),
            others=contention.get("others"),
            involuntary_per_s=contention.get("involuntary_per_s"),
            tail=seen["tail"],
        ),
        contention=seen,
    )


def _runs_per_visit(member: Member, clock: Callable[[], float]) -> int:
    """How many runs fill a visit; the run that finds out is also the warm-up."""
    member.run()
    started = clock()
    member.run()
    one_s = max(1e-6, clock() - started)
    return int(min(MOST_RUNS_PER_VISIT, max(2, VISIT_S // one_s)))


def _visit(member: Member, runs: int, clock: Callable[[], float]) -> float:
    """One row of samples for a member; returns the seconds it took."""
    began = clock()
    member.run()
    row = []
    for _ in range(runs):
        started = clock()
        member.run()
        row.append((clock() - started) * 1e3)
    member.rounds_ms.append(row)
    return clock() - began


def _rotated(members: List[Member], by: int) -> List[Member]:
    """Starts each round with another member, so that none always follows the same one."""
    if not members:
        return members
    by %= len(members)
    return members[by:] + members[:by]
