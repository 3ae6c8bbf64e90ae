"""Curves that tests search, and how they are served to a search."""

from pomt_trt.core.search.replay import drive
from pomt_trt.core.search.search import next_batch
from pomt_trt.core.search.search_state import Point, SearchState

GRID = tuple(range(197, 60, -1))


def stairs(tokens, edges=(176, 128, 96), drop=0.12):
    """Flat treads with a slight slope, in ms."""
    return 10.0 * (1 - drop) ** sum(tokens <= edge for edge in edges) + 0.002 * tokens


def slope_with_valleys(tokens):
    return (2.0 + 0.05 * tokens) * (0.92 if tokens % 16 == 0 else 1.0)


def accuracy_at(tokens):
    return 0.8 - 0.06 * (1 - tokens / 197.0) ** 2


def each(point):
    """Serves the counts of a batch one by one."""
    return lambda kind, counts: [point(kind, tokens) for tokens in counts]


def exact(curve, failing=()):
    """Serves a curve without noise; the counts in `failing` cannot be built."""

    @each
    def serve(kind, tokens):
        if tokens in failing:
            return Point(tokens)
        ms = curve(tokens)
        return Point(tokens, ms, (ms * 0.999, ms * 1.001), (ms,))

    return serve


def remembering(steps):
    """The search's strategy, which also adds each step to a list."""

    def strategy(state):
        steps.append(next_batch(state))
        return steps[-1]

    return strategy


def searched(curve, goal, grid=GRID, failing=(), strategy=next_batch, **others):
    """State and end of a search; accuracy known beforehand unless it is on demand."""
    accuracy = {tokens: accuracy_at(tokens) for tokens in grid}
    at_first = {} if others.get("accuracy_on_demand") else accuracy
    return drive(SearchState(grid, goal, {}, at_first, **others), exact(curve, failing), accuracy, strategy)
