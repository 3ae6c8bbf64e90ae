"""The Pareto set of schedules: for every latency, the schedule that is expected to lose the least accuracy.

Dynamic programming over the blocks. A state is the count N that enters a block. Its labels are the ways to reach it
that no other way beats in both latency and loss:
    labels(b + 1, N') = Pareto set over N >= N' of  labels(b, N) + (ms(N, N'), loss_b(N, N'))
Why this is exact: both costs are sums over blocks, so a beaten way to a state stays beaten. Latencies nearly add up
(block_costs); losses do roughly.

loss_b(N, N') = KL_b(N') - KL_b(N), where KL_b(n) is what the unreduced model loses when only block b cuts, down to n.
Why: tokens that were removed before are taken to be those that this block would have removed first.
"""

from typing import List, NamedTuple, Sequence, Tuple

import numpy as np

from pomt_trt.core.records import Sensitivity

RESOLUTION = 1 / 2000  # of the unreduced latency: closer ways to a state count as equal


class Costs(NamedTuple):
    """The cost of each way through each block; infinite where there is no such way."""

    counts: Tuple[int, ...]  # descending, the model's own first
    ms: np.ndarray  # (counts, counts): the row's count enters the block, the column's leaves it
    loss: np.ndarray  # (blocks, counts, counts)


class ParetoSchedule(NamedTuple):
    """A schedule, its expected latency and its expected loss."""

    tokens: Tuple[int, ...]  # entering each block, then leaving the last
    latency_ms: float
    loss: float


class _Labels(NamedTuple):
    """Ways to a state, by ascending latency and descending loss."""

    ms: np.ndarray
    loss: np.ndarray
    state: np.ndarray  # before the last block
    label: np.ndarray  # index among the labels of that state


def losses(sensitivity: Sensitivity, counts: Sequence[int]) -> np.ndarray:
    """Costs.loss by the formula above; KL_b is made non-decreasing and interpolated linearly between measured counts.

    Args:
        counts: descending, the model's own first.
    """
    removed = np.subtract.outer(counts, counts)
    allowed = (removed >= 0) & (removed <= np.array(sensitivity.removable)[np.array(counts), None])
    measured = np.array((counts[0],) + sensitivity.counts)
    blocks = []
    for row in sensitivity.kl:
        kl = np.maximum.accumulate(np.array((0.0,) + row))  # NaN continues to the end
        reached = np.isfinite(kl)
        down_to = np.interp(counts, measured[reached][::-1], kl[reached][::-1])
        down_to[np.array(counts) < measured[reached][-1]] = np.inf
        with np.errstate(invalid="ignore"):  # infinity minus infinity: no way leads there
            blocks.append(down_to[None, :] - down_to[:, None])
    loss = np.stack(blocks)
    loss[~(np.isfinite(loss) & allowed)] = np.inf
    stay = np.arange(len(counts))
    loss[:, stay, stay] = 0.0
    return loss


def front(costs: Costs, resolution_ms: float = 0.0) -> Tuple[ParetoSchedule, ...]:
    """The Pareto set of all schedules whose counts never grow, by ascending latency and so descending loss.

    Args:
        resolution_ms: of the ways to a state within one slot of this latency, only the one with the least loss is kept.
            0 is exact, and its time grows exponentially with the number of blocks.
    """
    start, nowhere = (_labels(np.zeros(ways), np.zeros(ways), 0) for ways in (1, 0))
    layers = [[start] + [nowhere] * (len(costs.counts) - 1)]
    for loss in costs.loss:
        layers.append([_best(_ways(layers[-1], costs.ms, loss, state), resolution_ms) for state in range(len(loss))])
    ends = _best(_joined([_labels(labels.ms, labels.loss, s) for s, labels in enumerate(layers[-1])]), 0.0)
    return tuple(
        ParetoSchedule(_path(layers, costs.counts, int(state), int(label)), float(ms), float(loss))
        for ms, loss, state, label in zip(*ends)
    )


def within(schedules: Sequence[ParetoSchedule], budget_ms: float) -> List[ParetoSchedule]:
    """The schedule of a Pareto set with the least loss within the budget, or []."""
    return [one for one in schedules if one.latency_ms <= budget_ms][-1:]


def _ways(before: Sequence[_Labels], ms: np.ndarray, loss: np.ndarray, state: int) -> _Labels:
    """All ways through one block into a state."""
    usable = [s for s in range(state + 1) if np.isfinite(ms[s, state] + loss[s, state])]
    parts = [
        _labels(before[s].ms + ms[s, state], before[s].loss + loss[s, state], s) for s in usable if len(before[s].ms)
    ]
    return _joined(parts or [_labels(np.zeros(0), np.zeros(0), 0)])


def _labels(ms: np.ndarray, loss: np.ndarray, state: int) -> _Labels:
    """Labels that continue all labels of a state, in their order."""
    return _Labels(ms, loss, np.full(len(ms), state), np.arange(len(ms)))


def _best(ways: _Labels, resolution_ms: float) -> _Labels:
    """The Pareto set of ways; of equal ones, the way that kept more tokens for longer."""
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


def _path(layers: Sequence[Sequence[_Labels]], counts: Sequence[int], state: int, label: int) -> Tuple[int, ...]:
    tokens = []
    for labels in reversed(layers):
        tokens.append(counts[state])
        state, label = int(labels[state].state[label]), int(labels[state].label[label])
    return tuple(reversed(tokens))
