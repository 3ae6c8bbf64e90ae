"""The best schedules that a model's blocks allow: for every latency, the one expected to lose the least accuracy.

Makes Found schedules from costs of single blocks by dynamic programming over the blocks; a state is the count that
enters a block. Any machine. Leaves out where costs come from (core/schedules/block_costs, Sensitivity), and what the
real engines are like: costs are taken to add up over the blocks, which latencies nearly do and accuracies do roughly.

Cutting tokens in a block from N to N' is expected to lose what cutting there down to N' loses in the unreduced model,
less what cutting there down to N does: whatever was removed before is taken to be what this block would have removed
first. So a cut in a single block is expected to lose exactly what it was seen to lose.
"""

from typing import List, NamedTuple, Sequence, Tuple

import numpy as np

from pomt_trt.core.records import Sensitivity

RESOLUTION = 1 / 2000  # of the unreduced latency: schedules closer than this in one block are not told apart


class Costs(NamedTuple):
    """What each way through each block costs; infinite where there is none."""

    counts: Tuple[int, ...]  # descending, the model's own first
    ms: np.ndarray  # (counts, counts): of a block that the row's count enters and the column's leaves
    loss: np.ndarray  # (blocks, counts, counts)


class Found(NamedTuple):
    """A schedule and what is expected of it."""

    tokens: Tuple[int, ...]  # entering each block, then leaving the last
    latency_ms: float
    loss: float


class _Labels(NamedTuple):
    """Ways to a state, none better than another in latency and loss: by ascending latency and descending loss."""

    ms: np.ndarray
    loss: np.ndarray
    state: np.ndarray  # where each way was before the last block ...
    label: np.ndarray  # ... and which of the ways to there it went on from


def losses(sensitivity: Sensitivity, counts: Sequence[int]) -> np.ndarray:
    """Costs.loss: what each cut in each block is expected to lose, by linear interpolation that never falls.

    Args:
        counts: descending, the model's own first.
    """
    removed = np.subtract.outer(counts, counts)
    allowed = (removed >= 0) & (removed <= np.array(sensitivity.removable)[np.array(counts), None])
    known = np.array((counts[0],) + sensitivity.counts)
    cut = []
    for row in sensitivity.kl:
        kl = np.maximum.accumulate(np.array((0.0,) + row))  # NaN stays from where it begins
        reached = np.isfinite(kl)
        down_to = np.interp(counts, known[reached][::-1], kl[reached][::-1])
        down_to[np.array(counts) < known[reached][-1]] = np.inf
        with np.errstate(invalid="ignore"):  # infinity less infinity: no way leads there
            cut.append(down_to[None, :] - down_to[:, None])
    found = np.stack(cut)
    found[~(np.isfinite(found) & allowed)] = np.inf
    stay = np.arange(len(counts))
    found[:, stay, stay] = 0.0
    return found


def front(costs: Costs, resolution_ms: float = 0.0) -> Tuple[Found, ...]:
    """The Pareto set of all schedules that never grow, by ascending latency and so descending loss; equals once.

    Args:
        resolution_ms: of the ways to a state, those within such a slot of latency are one: the one that loses least.
            0 is exact, and takes a time that explodes with the number of blocks.
    """
    layers = [[_start() if state == 0 else _nowhere() for state in range(len(costs.counts))]]
    for loss in costs.loss:
        layers.append([_best(_ways(layers[-1], costs.ms, loss, state), resolution_ms) for state in range(len(loss))])
    ends = _joined([labels._replace(state=_all(labels, s), label=_each(labels)) for s, labels in enumerate(layers[-1])])
    ends = _best(ends, 0.0)
    return tuple(
        Found(_path(layers, costs.counts, int(state), int(label)), float(ms), float(loss))
        for ms, loss, state, label in zip(*ends)
    )


def within(found: Sequence[Found], budget_ms: float) -> List[Found]:
    """The schedule that loses least among those expected to take no more than the budget, if there is one."""
    return [one for one in found if one.latency_ms <= budget_ms][-1:]


def _start() -> _Labels:
    return _Labels(np.zeros(1), np.zeros(1), np.zeros(1, dtype=int), np.zeros(1, dtype=int))


def _nowhere() -> _Labels:
    return _Labels(np.zeros(0), np.zeros(0), np.zeros(0, dtype=int), np.zeros(0, dtype=int))


def _ways(before: Sequence[_Labels], ms: np.ndarray, loss: np.ndarray, state: int) -> _Labels:
    """All ways through one block into a state."""
    usable = [s for s in range(state + 1) if len(before[s].ms) and np.isfinite(ms[s, state] + loss[s, state])]
    if not usable:
        return _nowhere()
    return _joined(
        [
            _Labels(before[s].ms + ms[s, state], before[s].loss + loss[s, state], _all(before[s], s), _each(before[s]))
            for s in usable
        ]
    )


def _best(ways: _Labels, resolution_ms: float) -> _Labels:
    """Those that no other beats; of equals the one that kept more tokens for longer."""
    order = np.lexsort((ways.label, ways.state, ways.loss, ways.ms))
    ways = _taken(ways, order)
    least = np.minimum.accumulate(ways.loss)
    ways = _taken(ways, np.flatnonzero(np.concatenate([[True], ways.loss[1:] < least[:-1]]) if len(order) else order))
    if resolution_ms > 0 and len(ways.ms):
        slots = np.floor(ways.ms / resolution_ms)
        ways = _taken(ways, np.flatnonzero(np.append(slots[1:] > slots[:-1], True)))
    return ways


def _taken(ways: _Labels, positions: np.ndarray) -> _Labels:
    return _Labels(*(column[positions] for column in ways))


def _joined(parts: Sequence[_Labels]) -> _Labels:
    return _Labels(*(np.concatenate(columns) for columns in zip(*parts)))


def _all(labels: _Labels, state: int) -> np.ndarray:
    return np.full(len(labels.ms), state)


def _each(labels: _Labels) -> np.ndarray:
    return np.arange(len(labels.ms))


def _path(layers: Sequence[Sequence[_Labels]], counts: Sequence[int], state: int, label: int) -> Tuple[int, ...]:
    tokens = []
    for labels in reversed(layers):
        tokens.append(counts[state])
        state, label = int(labels[state].state[label]), int(labels[state].label[label])
    return tuple(reversed(tokens))
