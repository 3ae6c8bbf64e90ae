"""What a search measures before it knows where the best count lies.

Accuracies around the constraint; R = 0; the ends of the curve, which bound all counts; multiples of 32, 16 and 8 beside
the counts below them, which show whether there are valleys; and where builds differ, a few counts again.
"""

from typing import Callable, Dict, Hashable, Iterable, List, Optional

from pomt_trt.core.search.search_state import VALLEY_PERIODS, Batch, Bounds, are_deep, measured_pairs, valley_pairs

CALIBRATION_BUILDS = 3  # of each of three counts, to learn how much builds differ
SCAN_FIRST = 6  # intervals of the first scan for steps
COARSE = 1.0 / 16  # of the grid: counts between known accuracies before the first build, around the constraint


def around_constraint(bounds: Bounds) -> Optional[Batch]:
    """Halves the widest range below the fewest tokens known to be allowed, in which counts could be allowed too."""
    if not bounds.state.accuracy_on_demand or bounds.goal.max_accuracy_drop is None:
        return None
    least = min(t for t in bounds.grid if t in bounds.state.accuracy and bounds.may_keep_accuracy(t))
    below = [t for t in bounds.admissible if t < least and t not in bounds.state.accuracy]
    if below and below[-1] == bounds.grid[-1]:
        return Batch("accuracy", bounds.grid[-1:], "does the accuracy constraint exclude any count")
    gaps = grouped(below, bounds.accuracy_gap)
    widest = max(gaps, key=lambda gap: (len(gap), -gap[0]), default=[])
    if len(widest) <= COARSE * len(bounds.grid):
        return None
    why = "the accuracy constraint ends between {} and {} tokens".format(widest[0], widest[-1])
    return Batch("accuracy", (widest[len(widest) // 2],), why)


def needed(bounds: Bounds) -> List[int]:
    """Counts that any search needs: of each kind the fewest tokens allowed, where nothing bounds them yet; a candidate;
    what shows whether there are valleys; and for the step rule a first scan.
    """
    counts: List[int] = []
    for kind in (False, True):
        counts += [t for t in bounds.admissible if bounds.is_valley(t) is kind and bounds.below(t) is None][-1:]
    if not bounds.candidates:
        counts += [t for t in bounds.admissible if bounds.knows_accuracy(t)][-1:]
    counts += _probe(bounds) + _first_scan(bounds)
    return [t for i, t in enumerate(counts) if t not in bounds.state.points and t not in counts[:i]]


def _probe(bounds: Bounds) -> List[int]:
    """A multiple of 32 and the count below it; where these are valleys, of 16, then of 8."""
    if len(bounds.admissible) < 8:
        return []
    allowed = set(bounds.admissible)
    for period in VALLEY_PERIODS:
        measured = measured_pairs(bounds.state, period)
        if not measured:
            pairs = [pair for pair in valley_pairs(bounds.grid, period) if allowed.issuperset(pair)]
            return list(pairs[-1]) if pairs else []
        if not are_deep(bounds.state, measured):
            break
    return []


def _first_scan(bounds: Bounds) -> List[int]:
    """For the step rule: the upper end of the curve; before anything is measured, a scan too."""
    if bounds.goal.rule != "step" or not bounds.admissible:
        return []
    counts, measured = bounds.admissible, [t for t in bounds.grid[1:] if t in bounds.points]
    if measured:
        return counts[:1] if measured[0] < counts[0] else []
    return [counts[i * (len(counts) - 1) // SCAN_FIRST] for i in range(SCAN_FIRST)]


def calibrate(bounds: Bounds) -> Optional[Batch]:
    """Builds R = 0 and two other counts three times, to learn how much builds differ; and twice what shows valleys."""
    built_often = [p for p in bounds.state.points.values() if len(p.builds_ms) >= CALIBRATION_BUILDS]
    if not bounds.state.builds_vary or not bounds.admissible:
        return None
    wanted = [bounds.grid[0], bounds.admissible[-1], bounds.admissible[len(bounds.admissible) // 2]]
    new = [t for t in wanted if t not in bounds.state.points]
    if new and len(built_often) < 3:
        return Batch("build", tuple(new), "how much do builds differ")
    points = [bounds.state.points[t] for t in wanted if t in bounds.state.points]
    again = [p.tokens for p in points if not p.failed and len(p.builds_ms) < CALIBRATION_BUILDS]
    again = again if len(built_often) < 3 else []
    if not again and bounds.period is not None:
        pairs = [pair for period in VALLEY_PERIODS for pair in measured_pairs(bounds.state, period)[-1:]]
        again = [p.tokens for pair in pairs for p in pair if len(p.builds_ms) < 2]
    return Batch("rebuild", tuple(sorted(set(again), reverse=True)), "how much do builds differ") if again else None


def grouped(counts: Iterable[int], key: Callable[[int], Hashable]) -> List[List[int]]:
    """Counts with equal keys together, in their order."""
    groups: Dict[Hashable, List[int]] = {}
    for tokens in counts:
        groups.setdefault(key(tokens), []).append(tokens)
    return list(groups.values())
