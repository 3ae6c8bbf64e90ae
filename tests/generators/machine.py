"""A simulated machine that times engines in groups: noise, drift, other programs, and groups that are off.

It is made up, but its errors have the sizes that were measured on a shared virtual machine of two cores: noise of 2 % a
run, c[e, g] of 0.4 %, a speed that walks by 3 % a round, bursts of disturbance, and hogs that slow small engines more.
"""

from typing import NamedTuple

import numpy as np

from pomt_trt.core.statistics.within_group import group_logs

UNIT = 197  # tokens of R = 0


class Machine(NamedTuple):
    """The errors of a machine, relative unless said otherwise."""

    noise: float = 0.02  # of a run
    engine_in_group: float = 0.004  # c[e, g]
    walk: float = 0.03  # of the machine's speed, a round
    hogged: tuple = (0.0, 0.0)  # from which to which part of the groups other programs run, 0 to 1
    seen: bool = True  # whether the counters show these programs
    off: float = 0.0  # share of groups that are off though nothing shows it


class Compiled(NamedTuple):
    """What a sweep over the counts has recorded."""

    truth: dict  # tokens -> log latency
    groups: list  # GroupLogs by tokens


def times(rng, machine, log_latency, hog, rounds):
    """(rounds, 3) of an engine; a hog takes a core from some rounds, and costs a small engine relatively more."""
    slowed = hog * (1.5 - 0.3 * log_latency) * (0.5 + rng.rand(rounds, 1))
    bursts = 0.3 * (rng.rand(rounds, 3) < 0.05)
    return log_latency + machine.noise * rng.randn(rounds, 3) + slowed + bursts


def sweep(counts, latency, machine, seed, rounds=16, block=9):
    """Times all counts in groups of neighbours, as device/timing/profiling does, and again what was disturbed.

    Args:
        latency: tokens -> ms; the first of the counts is R = 0.
    """
    rng = np.random.RandomState(seed)
    truth = {count: float(np.log(latency(count))) for count in counts}
    groups, done, todo = [], [], list(counts)
    total = 1 + max(0, -(-(len(todo) - 13) // block))
    while todo:
        new, todo = (todo[:13], todo[13:]) if not groups else (todo[:block], todo[block:])
        known = [] if not groups else [counts[0]] + [done[(2 * i + 1) * len(done) // 6] for i in range(3)]
        members = list(dict.fromkeys([*known, *new]))
        groups.append(one_group(rng, machine, {t: truth[t] for t in members}, len(groups) / total, rounds))
        done += [count for count in new if count != counts[0]]
    clean = {count for group in groups if group.clean for count in group.logs}
    lost = [count for count in counts if count not in clean]
    for first in range(0, len(lost), block):  # as pipeline/refine times disturbed candidates again, beside known ones
        members = dict.fromkeys([counts[0], *done[:: max(1, len(done) // 3)][:3], *lost[first : first + block]])
        groups.append(one_group(rng, machine, {t: truth[t] for t in members}, 1.0, rounds))
    return Compiled(truth, groups)


def one_group(rng, machine, members, when, rounds=16):
    """What a group of members (tokens -> log latency) says, timed at a part 0 to 1 of the run."""
    hog = machine.hogged[0] <= when < machine.hogged[1]
    level = 0.1 * rng.randn() + np.cumsum(machine.walk * rng.randn(rounds, 1), axis=0)
    is_off = rng.rand() < machine.off
    spread = machine.engine_in_group * (2 if is_off else 1)
    stretch = rng.uniform(-0.1, 0.3) if is_off else 0.0
    group = {}
    for count, log in members.items():
        own = times(rng, machine, log, float(hog), rounds) + spread * rng.randn() + stretch * log
        group[count] = np.exp(own + level).tolist()
    return group_logs(group, [hog and machine.seen] * rounds)
