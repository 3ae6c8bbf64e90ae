"""The schedules that are traced tell all counts of a schedule apart."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pomt_trt.core.schedules import schedule
from pomt_trt.host.graphs import graph_set, probes


def counts(schedules):
    return np.array([graph_set.counts(one) for one in schedules])


def test_the_ends_and_the_middle_tell_all_where_one_block_acts_or_none_does():
    one_block = [schedule.single_layer(17, 4, 1, 2, removed) for removed in range(1, 9)]
    none = [schedule.constant(tokens, 4, 1) for tokens in range(17, 8, -1)]
    assert probes.telling(counts(one_block)) == [0, 4, 7] and probes.telling(counts(none)) == [0, 4, 8]


@given(st.lists(st.lists(st.integers(1, 4), min_size=3, max_size=3), min_size=4, max_size=12))
def test_no_two_counts_move_alike_between_the_chosen_that_do_not_between_all(removed):
    table = counts([schedule.per_block(17, 1, each) for each in removed])
    chosen = probes.telling(table)
    assert chosen == sorted(chosen) and len(chosen) >= 3
    moves, seen = (rows[1:] - rows[0] for rows in (table, table[chosen]))
    for one in range(table.shape[1]):
        for other in range(one):
            alike = np.linalg.matrix_rank(seen[:, [one, other]]) < 2
            assert alike == (np.linalg.matrix_rank(moves[:, [one, other]]) < 2)
