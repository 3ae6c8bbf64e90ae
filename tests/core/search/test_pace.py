"""The pace of a search: it never takes longer than the exhaustive one would."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from pomt_trt.core.search.pace import Pace
from pomt_trt.core.search.search_state import Batch


def batch(kind, counts):
    return Batch(kind, tuple(range(counts)), "")


def test_nothing_is_predicted_before_the_first_build():
    pace = Pace()
    pace.add(batch("accuracy", 1), 1000.0)
    assert pace.exhaustive_s(100, accuracies=True) == math.inf
    assert pace.allows(batch("build", 8), 100, accuracies=True)


def test_eight_engines_beside_four_known_ones_take_twelve_engines_time():
    pace = Pace()
    pace.add(batch("build", 6), 6.0)
    assert pace.exhaustive_s(80, accuracies=False) == 120.0
    pace.add(batch("accuracy", 2), 4.0)
    assert pace.exhaustive_s(80, accuracies=True) == 280.0
    pace.add(batch("build", 8), 12.0)
    assert pace.exhaustive_s(80, accuracies=False) == 120.0


def test_a_batch_that_would_end_after_the_exhaustive_search_is_not_allowed():
    pace = Pace()
    pace.add(batch("build", 12), 12.0)
    assert pace.allows(batch("time", 8), 24, accuracies=False)  # 12 + 24 of 36 s
    assert not pace.allows(batch("time", 8), 23, accuracies=False)
    pace.add(batch("time", 8), 24.0)
    assert not pace.allows(batch("build", 1), 24, accuracies=False)


KINDS = st.sampled_from(["build", "rebuild", "time", "accuracy"])
SECONDS = {"build": 1.0, "time": 2.0}


def seconds(kind, counts):
    """What a call takes at an even pace of one second an engine and three an accuracy."""
    if kind == "accuracy":
        return 3.0 * counts
    return 5.0 * counts if kind == "rebuild" else SECONDS[kind] * (counts + 4 * math.ceil(counts / 8))


@given(st.lists(st.tuples(KINDS, st.integers(1, 8)), min_size=1, max_size=40), st.integers(12, 150))
@settings(max_examples=100, deadline=None)
def test_at_an_even_pace_no_search_takes_longer_than_the_exhaustive_one(steps, counts):
    pace = Pace()
    pace.add(batch("accuracy", 1), 3.0)
    pace.add(batch("build", 8), 8.0)
    for kind, size in steps:
        if pace.allows(batch(kind, size), counts, accuracies=True):
            pace.add(batch(kind, size), seconds(kind, size))
    assert pace.spent_s <= seconds("build", counts) + 3.0 * counts + 1e-9
