"""Drift: how much slower the machine was in each round than in its fast state.

With f[e, r] = log of the fastest time in the burst of engine e in round r, Tukey's median polish splits

    f[e, r] = own[e] + level[r] + noise[e, r]

into what belongs to the engine and what belongs to the round. Why: a shared machine changes speed between rounds, and
all engines of a round see it. smooth[r] is the running median of level over about WINDOW_ROUNDS / (number of engines)
rounds. Why: the noise of a few engines must not become drift. Then

    drift[r] = exp(smooth[r] - 20th percentile of smooth)

Why the 20th percentile: contention only adds time, so the fast state is the undisturbed one.
"""

import math
from typing import Sequence, Tuple

import numpy as np

Rounds = Sequence[Sequence[float]]  # one row a round: the times of one burst

FAST_QUANTILE = 0.20
WINDOW_ROUNDS = 9  # of a single engine: drift is slower than this
POLISHES = 3  # the medians no longer change after two or three


def slow_drift(group: Sequence[Rounds]) -> Tuple[float, ...]:
    """drift[r] of every round; 1 in all rounds if the spread of `smooth` is at most twice what the noise explains.

    Args:
        group: the rounds of each engine from the first round on, in any unit. An engine that is settled has fewer.
    """
    own, level, logs = _polished(group)
    if not len(level):
        return ()
    engines = float(np.median(np.isfinite(logs).sum(axis=0)))
    if not engines:
        return (1.0,) * len(level)
    window = 2 * int(math.ceil(WINDOW_ROUNDS / engines) // 2) + 1
    padded = np.pad(level, window // 2, mode="edge")
    smooth = np.median(np.stack([padded[i : i + len(level)] for i in range(window)]), axis=0)
    left = np.abs(logs - own[:, None] - smooth)
    noise = 1.48 * np.median(left[np.isfinite(left)]) * 1.25 / math.sqrt(window * engines)
    drift = np.exp(smooth - np.percentile(smooth, 100 * FAST_QUANTILE))
    return tuple(drift.tolist()) if np.std(smooth) > 2 * noise else (1.0,) * len(level)


def levels(group: Sequence[Rounds]) -> np.ndarray:
    """level[r] of every round (rounds,), not smoothed: what to subtract before engines are compared round by round.

    A round without a usable time has level 0.
    """
    return _polished(group)[1]


def _polished(group: Sequence[Rounds]) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """own (engines,), level (rounds,) and f (engines, rounds), which is NaN where no time is usable."""
    logs = np.full((len(group), max([len(rounds) for rounds in group] + [0])), np.nan)
    for row, rounds in zip(logs, group):
        fastest = np.array([min(burst) for burst in rounds], dtype=float)
        usable = positive(fastest)
        row[: len(fastest)][usable] = np.log(fastest[usable])
    own, level = np.zeros(len(logs)), np.zeros(logs.shape[1])
    for _ in range(POLISHES):
        own = _medians(logs - level)
        level = _medians((logs - own[:, None]).T)
    return own, level, logs


def _medians(table: np.ndarray) -> np.ndarray:
    """The median of each row without its NaNs; 0 for a row of NaNs."""
    if table.size and np.isfinite(table).all():
        return np.asarray(np.median(table, axis=1))
    return np.array([np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else 0.0 for row in table])


def positive(values: np.ndarray) -> np.ndarray:
    """Which values are positive and finite. Old releases of numpy warn when NaN is compared."""
    usable = np.isfinite(values)
    usable[usable] = values[usable] > 0
    return np.asarray(usable)
