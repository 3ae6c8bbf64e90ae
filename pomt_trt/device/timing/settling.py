"""Estimates the latencies of a device's engines anew, from all groups that they were timed in.

A profile holds what the newest group and its references told. Afterwards the model of core/statistics/across_groups
takes all groups together, and the profiles are written again where that changes them. So a group that was off, R = 0's
first one too, is put right by later groups.

Latency in ms: the ratio to R = 0 times the latency of R = 0. The latter is that of the first clean group, so that no
later group rescales what others have read; how far clean groups differ is in its interval. Where none is clean, the
interval holds what any group said. Where R = 0 was only a reference in all groups, its profile came from elsewhere and
stays as it is: latencies are compared with others that are relative to it.
"""

import functools
import math
import os
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from pomt_trt.core.errors import UnstableMeasurement
from pomt_trt.core.records import Builds, LatencyProfile, TimedGroup, TimedMember
from pomt_trt.core.statistics import across_groups, within_group
from pomt_trt.core.statistics.across_groups import FREEDOM, Fit, quantile
from pomt_trt.core.statistics.estimate import quick
from pomt_trt.core.statistics.stats import Location
from pomt_trt.core.statistics.within_group import GroupLogs
from pomt_trt.core.storage import store
from pomt_trt.device.timing.engine_records import EngineRecords
from pomt_trt.device.timing.turns.engine_group import judged, known_ratio
from pomt_trt.device.timing.worker_protocol import GROUPS, latency_inputs, timing_inputs

UNCHANGED = 1e-9  # relative: smaller changes are not written


class Located(NamedTuple):
    """A group by the keys of its engines."""

    logs: GroupLogs
    own: Dict[str, Location]  # in ms, by its own times from the rounds that count
    references: Tuple[str, ...]  # the engines that had a latency before


class Settled(NamedTuple):
    """What all groups say together."""

    fit: Fit
    unit: Location  # R = 0, in ms
    clean: Dict[str, bool]  # engine -> whether it was timed in undisturbed rounds


def key_of(one: Union[LatencyProfile, TimedMember]) -> str:
    """What an engine is called here: two candidates may have the same bytes, and a candidate an engine built anew."""
    return "{} {}".format(one.candidate_id, one.engine_sha256)


def settle(records: EngineRecords, unit_id: str) -> None:
    """Writes each profile anew that all groups together change.

    Args:
        unit_id: the candidate id of R = 0.
    """
    profiles = _profiles(records)
    unit = records.latency(unit_id)
    if unit is None:
        return
    groups = [group for group in groups_of(records) if key_of(unit) in group.logs.logs]
    if not groups:
        return
    settled = _settled(groups, unit, profiles)
    revised = [_revised(profile, settled, profile is unit) for profile in profiles]
    changed = [after for before, after in zip(profiles, revised) if _differs(before, after)]
    for profile in changed:
        path = records.work.latency(records.device.id, profile.candidate_id)
        store.write_record(path, profile, latency_inputs(profile.engine_sha256, records.settings))
    _scale_builds(records, profiles, settled.unit.value / unit.latency_ms)
    records.renew(profile.candidate_id for profile in changed)


def groups_of(records: EngineRecords) -> List[Located]:
    """The groups of these settings in which engines were timed, in their order; none that has no usable time."""
    folder = os.path.join(records.latency_folder, GROUPS)
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    paths = [os.path.join(folder, name) for name in names]
    read = [records.once(GROUPS, path, functools.partial(_read, records, path)) for path in paths]
    return [group for group in read if group is not None]


def group_counts(records: EngineRecords) -> Dict[str, int]:
    """In how many groups each candidate's engine was timed, by candidate id."""
    groups = groups_of(records)
    return {
        profile.candidate_id: sum(key_of(profile) in group.logs.logs for group in groups)
        for profile in _profiles(records)
    }


def clean_groups(records: EngineRecords, unit_id: str) -> Optional[List[Dict[str, Tuple[float, float]]]]:
    """Of each clean group: candidate id -> log latency in it, and its variance with that of c[e, g].

    A difference of two engines of one group has the sum of their variances. None where no group was recorded.
    """
    unit, groups = records.latency(unit_id), groups_of(records)
    if unit is None or not groups:
        return None
    groups = [group for group in groups if group.logs.clean and key_of(unit) in group.logs.logs]
    if not groups:
        return []
    ids = {key_of(profile): profile.candidate_id for profile in _profiles(records)}
    fit = across_groups.fit([group.logs for group in groups], key_of(unit))
    found = []
    for (logs, variances, _), sd in zip((group.logs for group in groups), fit.group_sds):
        pairs = {name: (log, fit.variance_within(variances[name], sd)) for name, log in logs.items()}
        found.append({ids[name]: pair for name, pair in pairs.items() if name in ids})
    return found


def _read(records: EngineRecords, path: str) -> Optional[Located]:
    group = store.read_matching(path, TimedGroup, timing_inputs(records.settings))
    if group is None:
        return None
    rounds = {key_of(member): member.rounds_ms for member in reversed(group.members)}  # a twin: the first one
    used = within_group.counted(rounds, group.disturbed)
    counting = {name: used.rounds(name, rows) for name, rows in rounds.items()}
    try:
        logs = within_group.group_logs(rounds, group.disturbed)
        references = tuple(map(key_of, group.members[: group.references]))
        return Located(logs, {name: quick(name, counting) for name in logs.logs}, references)
    except UnstableMeasurement:
        return None


def _profiles(records: EngineRecords) -> List[LatencyProfile]:
    found = (records.latency(candidate.id) for candidate in records.graph_set.candidates)
    return [profile for profile in found if profile is not None]


def _settled(groups: Sequence[Located], unit: LatencyProfile, profiles: Sequence[LatencyProfile]) -> Settled:
    clean: Dict[str, bool] = {}
    for group in groups:
        for name in group.logs.logs:
            clean[name] = clean.get(name, False) or group.logs.clean
    apart = (profile for profile in profiles if key_of(profile) not in clean)
    known = {key_of(profile): known_ratio(profile, unit.latency_ms) for profile in apart}
    fit = across_groups.fit([group.logs for group in groups], key_of(unit), known)
    if all(key_of(unit) in group.references for group in groups):
        return Settled(fit, Location(unit.latency_ms, *unit.latency_ci_ms), clean)
    return Settled(fit, unit_location(groups, key_of(unit)), clean)


def unit_location(groups: Sequence[Located], name: str) -> Location:
    """The latency of R = 0 with its 95 % interval, from the groups that it was timed in; see above."""
    clean = [group.own[name] for group in groups if group.logs.clean]
    every = [group.own[name] for group in groups]
    if not clean:
        return Location(every[0].value, min(each.low for each in every), max(each.high for each in every))
    logs = np.log([each.value for each in clean])
    within = float(np.mean([math.log(each.high / each.low) / (2 * 1.96) for each in clean]))
    degrees = FREEDOM + len(logs) - 1
    half = quantile(degrees) * math.sqrt((FREEDOM * within**2 + float(((logs - logs.mean()) ** 2).sum())) / degrees)
    value = clean[0].value
    return Location(value, value * math.exp(-half), value * math.exp(half))


def _revised(profile: LatencyProfile, settled: Settled, is_unit: bool) -> LatencyProfile:
    name = key_of(profile)
    if is_unit:
        latency = settled.unit
    else:
        latency = settled.fit.location(name, settled.unit.value)
    own_ms = profile.latency_ms / profile.tie
    revised = profile._replace(
        latency_ms=latency.value, latency_ci_ms=(latency.low, latency.high), tie=latency.value / own_ms
    )
    if name not in settled.clean:
        return revised
    return judged(revised, profile.contention, settled.clean[name], is_unit)


def _differs(before: LatencyProfile, after: LatencyProfile) -> bool:
    old, new = ((each.latency_ms, *each.latency_ci_ms) for each in (before, after))
    return before.verdict != after.verdict or not np.allclose(old, new, rtol=UNCHANGED, atol=0)


def _scale_builds(records: EngineRecords, profiles: Sequence[LatencyProfile], factor: float) -> None:
    """The latencies of engines that were not kept, when R = 0 has another latency: they are relative to it too."""
    for profile in profiles if abs(factor - 1) > UNCHANGED else ():
        path = records.work.builds(records.device.id, profile.candidate_id)
        if os.path.isfile(path):
            stored = store.read_record(path, Builds)
            others_ms: Tuple[float, ...] = tuple(factor * ms for ms in stored.record.others_ms)
            store.write_record(path, stored.record._replace(others_ms=others_ms), stored.inputs)
