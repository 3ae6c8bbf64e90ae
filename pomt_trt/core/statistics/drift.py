"""How much slower the machine was in each round than in its fast state, as all that ran in these rounds show.

Makes factors to divide samples by, from numbers alone, on any machine. Leaves out the location of what is left
(core/statistics/stats).
"""

import math
from typing import Sequence, Tuple

import numpy as np

Rounds = Sequence[Sequence[float]]

FAST_QUANTILE = 0.20  # of the rounds' levels: the fast state, which holds a fifth of the rounds at least
WINDOW_ROUNDS = 9  # of one member: drift is slower than this; what is faster is noise of its own
POLISHES = 3  # of levels into members and rounds; it rests after two or three


def slow_drift(group: Sequence[Rounds]) -> Tuple[float, ...]:
    """Factor per round by which the machine was slower than in its fast state; exactly 1 where that is only noise.

    To be had once for all that ran in these rounds: members that were sampled in different parts of them are then told
    in the same state of the machine.

    Args:
        group: each member's rounds from the first on, in any unit; one that is settled has fewer.
            A round's factor is the middle of what its members say (Tukey's median polish of the logarithms of their
            fastest runs in it). Each is timed a few times a round, and dividing by a few as they are would add their
            noise to every sample: so the fewer they are, the more rounds a running median takes together, and it is
            believed only where it moves twice as much as their noise explains.
    """
    own, raw, logs = _polished(group)
    if not len(raw):
        return ()
    members = float(np.median(np.isfinite(logs).sum(axis=0)))
    if not members:
        return (1.0,) * len(raw)
    window = 2 * int(math.ceil(WINDOW_ROUNDS / members) // 2) + 1
    padded = np.pad(raw, window // 2, mode="edge")
    smooth = np.median(np.stack([padded[i : i + len(raw)] for i in range(window)]), axis=0)
    left = np.abs(logs - own[:, None] - smooth)
    noise = 1.48 * np.median(left[np.isfinite(left)]) * 1.25 / math.sqrt(window * members)
    factors = np.exp(smooth - np.percentile(smooth, 100 * FAST_QUANTILE))
    return tuple(factors.tolist()) if np.std(smooth) > 2 * noise else (1.0,) * len(raw)


def levels(group: Sequence[Rounds]) -> np.ndarray:
    """Logarithm of how slow each round was, around 0: as slow_drift, but every round by itself, noise and all.

    To be taken from what ran in a round before it is compared with what else did.

    Returns: (rounds,); 0 where nothing usable was timed.
    """
    return _polished(group)[1]


def _polished(group: Sequence[Rounds]) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logarithms as members' own levels (members,) plus rounds' levels (rounds,), which lie around 0, plus noise.

    Returns: own, those of rounds, and the logarithms (members, rounds), NaN where nothing usable was timed.
    """
    logs = np.full((len(group), max([len(rounds) for rounds in group] + [0])), np.nan)
    for row, rounds in zip(logs, group):
        values = np.array([min(samples) for samples in rounds], dtype=float)
        usable = positive(values)
        row[: len(values)][usable] = np.log(values[usable])
    own, raw = np.zeros(len(logs)), np.zeros(logs.shape[1])
    for _ in range(POLISHES):
        own = _medians(logs - raw)
        raw = _medians((logs - own[:, None]).T)
    return own, raw, logs


def _medians(table: np.ndarray) -> np.ndarray:
    """Of each row what is no NaN; 0 for a row without."""
    if table.size and np.isfinite(table).all():
        return np.asarray(np.median(table, axis=1))
    return np.array([np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else 0.0 for row in table])


def positive(values: np.ndarray) -> np.ndarray:
    """Which values are positive and finite; old releases of numpy warn when NaN is compared."""
    usable = np.isfinite(values)
    usable[usable] = values[usable] > 0
    return np.asarray(usable)
