"""Interleaved sampling: members take turns in rounds until the latency of each is known well enough.

A burst is a few consecutive runs of one member, after one run that is not counted; a round is one burst of each member.
Each round begins with another member. Why rounds: a shared machine changes speed while it is measured, and all members
of a round see the same machine. Why another first member: no member always follows the same one.
"""

import functools
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

from pomt_trt.core.statistics import estimate
from pomt_trt.core.statistics.estimate import Group
from pomt_trt.core.statistics.stats import Location, StoppingRule

Clock = Callable[[], float]  # seconds
RUNS_PER_BURST = (2, 8)  # fewest, most


class Member:
    """Something to time, such as an engine. What a burst is, and what happens after it, is said by its back-end.

    Attributes: name (unique in its group), rounds_ms (one burst a row, from the first round on).
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.rounds_ms: List[List[float]] = []

    def warm_up(self) -> int:
        """Runs it; returns how many runs its bursts have."""
        raise NotImplementedError

    def burst(self, runs: int) -> List[float]:
        """Milliseconds of each of `runs` runs, after one that is not counted."""
        raise NotImplementedError

    def rest(self) -> None:
        """What is done between its burst and the next member's; it is not part of the member's own time."""


class Sampling(NamedTuple):
    """How members are sampled."""

    rule: StoppingRule
    quick: Callable[[str, Group], Location] = estimate.quick  # (name, group) -> what the rule looks at
    clock: Clock = time.perf_counter
    watch: Callable[[], bool] = lambda: False  # called after each round: whether something disturbed it
    # True: all members are in every round, and share the rule's time. Why: their ratios compare equal times.
    # False: a settled member sits out the rest, and each has the rule's time for itself. Why: a group is done sooner.
    together: bool = False
    progress: Callable[[str], None] = lambda text: None


def fitting_runs(run_ms: float, burst_ms: float) -> int:
    """How many runs fill a burst, within RUNS_PER_BURST."""
    fewest, most = RUNS_PER_BURST
    return int(min(most, max(fewest, burst_ms // max(1e-3, run_ms))))


def rounds_of(members: Sequence[Member], disturbed: Sequence[bool] = ()) -> Dict[str, List[List[float]]]:
    """name -> rounds: the group that an estimate reads; without the disturbed rounds."""
    left_out = {number for number, is_disturbed in enumerate(disturbed) if is_disturbed}
    return {
        member.name: [row for number, row in enumerate(member.rounds_ms) if number not in left_out]
        for member in members
    }


def sample(references: Sequence[Member], members: Sequence[Member], sampling: Sampling) -> Dict[str, str]:
    """Makes rounds until the rule stops each of `members`, and fills everyone's rounds_ms.

    References are in every round. Without references the first member is, since the others are compared with it.
    Disturbed rounds count neither as samples nor as time, until they have taken the rule's time once more.

    Returns: name -> why its sampling stopped: settled, time cap.
    Raises: what a burst raises.
    """
    everyone = [*references, *members]
    stays = {member.name for member in (everyone if sampling.together else references or everyone[:1])}
    runs = {member.name: member.warm_up() for member in everyone}
    spent_s = {True: dict.fromkeys(runs, 0.0), False: dict.fromkeys(runs, 0.0)}  # by whether rounds were disturbed
    stopped: Dict[str, str] = {}
    disturbed: List[bool] = []
    while len(stopped) < len(members):
        running = [member for member in everyone if member.name in stays or member.name not in stopped]
        began_s, bursts_s = sampling.clock(), {}
        for member in _rotated(running, len(disturbed)):
            bursts_s[member.name] = _take_burst(member, runs[member.name], sampling.clock)
        disturbed.append(sampling.watch())
        round_s = sampling.clock() - began_s
        for name, burst_s in bursts_s.items():
            spent_s[disturbed[-1]][name] += round_s if sampling.together else burst_s
        for member in (member for member in members if member.name not in stopped):
            charged_s = spent_s[False][member.name] + max(0.0, spent_s[True][member.name] - sampling.rule.max_s)
            reason = _reason(member, everyone, sampling, disturbed, charged_s)
            if reason is not None:
                stopped[member.name] = reason
        sampling.progress("{} of {} settled".format(len(stopped), len(members)))
    return stopped


def _reason(
    member: Member, everyone: Sequence[Member], sampling: Sampling, disturbed: Sequence[bool], charged_s: float
) -> Optional[str]:
    """Why to stop a member's sampling; None to go on. At the cap, the rounds that there are must do."""
    clean = rounds_of(everyone, disturbed if charged_s < sampling.rule.max_s else ())
    return sampling.rule.decide(clean[member.name], functools.partial(sampling.quick, member.name, clean), charged_s)


def _take_burst(member: Member, runs: int, clock: Clock) -> float:
    """One row for a member; returns the seconds that it took, rest excluded."""
    began_s = clock()
    member.rounds_ms.append(member.burst(runs))
    spent_s = clock() - began_s
    member.rest()
    return spent_s


def _rotated(members: Sequence[Member], by: int) -> List[Member]:
    by %= max(1, len(members))
    return [*members[by:], *members[:by]]
