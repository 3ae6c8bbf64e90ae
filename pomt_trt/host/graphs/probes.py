"""Which schedules to trace, so that the graph of any other of their structure follows from theirs (graph_set).

Makes a choice among rows of integers. On the workstation. Leaves out tracing, and what the integers count.
"""

import numpy as np


def telling(counts: np.ndarray) -> list[int]:
    """Which rows to take, three or more: no two columns move alike between them that do not in all rows.

    Args:
        counts: (schedules, counts).
    """
    chosen = [0, len(counts) // 2, len(counts) - 1]
    while _told_apart(counts[chosen]) < _told_apart(counts):
        chosen.append(max(range(len(counts)), key=lambda more: _told_apart(counts[[*chosen, more]])))
    return sorted(chosen)


def _told_apart(counts: np.ndarray) -> int:
    """How many of the counts move between schedules, plus how many ways of moving there are.

    Args:
        counts: (schedules, counts). Two move alike if one is offset + slope x the other.
    """
    moves = (counts[1:] - counts[0]).T  # (counts, schedules - 1)
    moving = moves[moves.any(axis=1)]
    if not len(moving):
        return 0
    lowest = moving // np.gcd.reduce(moving, axis=1, keepdims=True)
    leading = lowest[np.arange(len(lowest)), (lowest != 0).argmax(axis=1)]
    return len(moving) + len(np.unique(lowest * np.sign(leading)[:, None], axis=0))
