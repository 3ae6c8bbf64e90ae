"""Times again what could change the choice, each time in one new group whose members then compare without its error.

1. Candidates that were timed only while other programs disturbed them. A busy machine is waited for a minute.
2. Both sides of steps that were never timed in one group. A step that does not hold there is none.
3. The winner and those that the intervals do not tell from it. Near the choice a second group is worth its time; far
   from it, it is not.
"""

import math
import time
from typing import List, Sequence

from pomt_trt.core.choice.rules import Goal, loses_too_much
from pomt_trt.core.errors import ConstraintUnmet, InputError
from pomt_trt.core.progress import Progress
from pomt_trt.core.records import Row
from pomt_trt.core.search.held_steps import sides, unproved_steps
from pomt_trt.device.timing import profiling, settling
from pomt_trt.device.timing.engine_records import Action
from pomt_trt.pipeline.select import choose_winner
from pomt_trt.pipeline.session import Session

MOST = 9  # candidates of a batch: with R = 0 and known ones they make one group
WAIT_S = 60.0  # for a machine that stays disturbed
LONGER = 2  # times the settings' limit of the timing of one candidate


def refine(session: Session, choice: Goal, once: bool = True) -> None:
    """See above. Without accuracies, nothing is chosen yet, and the third is left out.

    Args:
        once: leaves out what has its second group, so that a command that is run again changes nothing; False: times
            what is disturbed again, however often that was done.
    """
    _wait_for_quiet(session, _disturbed(session, once))
    for asked in (_step_sides(session), _rivals(session, choice)):
        if _have_one_group(session, asked[:MOST]):
            _time_again(session, asked[:MOST])


def _wait_for_quiet(session: Session, ids: Sequence[str]) -> None:
    """Times disturbed candidates again, until none is, or that was in vain for WAIT_S."""
    in_vain_s = 0.0
    while ids and in_vain_s < WAIT_S:
        began_s = time.monotonic()
        _time_again(session, ids[:MOST])
        still = [each for each in ids if each in set(_disturbed(session, False))]
        if set(still) & set(ids[:MOST]):
            in_vain_s += time.monotonic() - began_s
        ids = still


def _time_again(session: Session, ids: Sequence[str]) -> None:
    """One group of these candidates. An engine that was removed since is built again."""
    batch = [session.candidate(each) for each in ids]
    if batch:
        longer = session.engines.within(LONGER * session.settings.max_s)
        with Progress("confirm", len(batch)) as progress:
            profiling.profile(longer, batch, progress, Action.RETIME)
        session.renew()


def _measured(session: Session) -> List[Row]:
    """All but R = 0, which is in every group."""
    return [row for row in session.rows() if row.status == "measured" and row.removed]


def _disturbed(session: Session, once: bool) -> List[str]:
    ids = [row.id for row in _measured(session) if row.verdict == "contended"]
    return _have_one_group(session, ids) if once else ids


def _have_one_group(session: Session, ids: Sequence[str]) -> List[str]:
    """Those that were timed in one group only."""
    counts = settling.group_counts(session.engines)
    return [each for each in ids if counts[session.candidate(each).id] < 2]


def _step_sides(session: Session) -> List[str]:
    """The counts nearest to each unproved step; the largest step first."""
    groups, points = session.clean_groups(), session.curve()
    if groups is None:
        return []
    steps = sorted(unproved_steps(points, session.unreduced.schedule.tokens_after, groups), key=lambda s: -s.drop_ms)
    ids = {row.tokens_after: row.id for row in _measured(session) if row.schedule is None}
    counts = [t for step in steps for side in sides(step, list(ids)) for t in side]
    return [ids[t] for t in dict.fromkeys(counts)]


def _rivals(session: Session, choice: Goal) -> List[str]:
    """The winner and the candidates that may be chosen and do not differ from it, the nearest first."""
    try:
        winner = choose_winner(session, choice).chosen
    except (ConstraintUnmet, InputError):
        return []
    known = (row for row in _measured(session) if row.accuracy_drop is not None)
    allowed = [row for row in known if not loses_too_much(row.accuracy_drop, choice.max_accuracy_drop)]
    near = sorted((row for row in allowed if _is_near(row, winner)), key=lambda row: abs(_log_ratio(row, winner)))
    return [row.id for row in near] if len(near) > 1 else []


def _is_near(row: Row, winner: Row) -> bool:
    return winner.removed > 0 and abs(_log_ratio(row, winner)) <= math.hypot(_half(row), _half(winner))


def _log_ratio(row: Row, winner: Row) -> float:
    assert row.latency_ms and winner.latency_ms
    return math.log(row.latency_ms / winner.latency_ms)


def _half(row: Row) -> float:
    """Half-width of the interval of the log latency."""
    assert row.latency_ci_ms
    return 0.5 * math.log(row.latency_ci_ms[1] / row.latency_ci_ms[0])
