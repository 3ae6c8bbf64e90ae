"""NVIDIA's own parser and builder take all graphs of export: every method, task, precision, batch, model and R.

It shows that the graphs are read and built ahead of time, and nothing of kernels or speed.
"""

import itertools

import pytest

from tests import suite
from tests.rtx import cover

QUICK = 10


def test_the_cover_meets_every_pair_that_can_be_and_is_no_larger_than_agreed():
    every = filter(cover.possible, map(cover.Case._make, itertools.product(*cover.PROPERTIES.values())))
    possible = set().union(*map(cover._pairs, every))
    chosen = cover.cases()
    assert set().union(*map(cover._pairs, chosen)) == possible
    assert QUICK < len(chosen) <= cover.MOST_CASES and len(set(chosen)) == len(chosen)
    assert {(name, value) for name, value in itertools.chain(*map(_values, chosen))} == {
        (name, value) for name, values in cover.PROPERTIES.items() for value in values
    }


def _values(case):
    return list(zip(cover.PROPERTIES, case))


def check(found):
    assert found.refused == ""
    assert found.plan_bytes > 0 and found.warnings == ()


@pytest.mark.parametrize("case", suite.sampled(cover.few(QUICK), cover.few(QUICK)[::3]), ids=lambda case: case.name)
def test_a_small_model_is_built_without_a_warning(case, trt, tmp_path):
    check(cover.tried(case, cover.SMALL, tmp_path))


@pytest.mark.long
@pytest.mark.parametrize("case", cover.cases(), ids=lambda case: case.name)
def test_a_model_of_real_width_is_built_without_a_warning(case, trt, tmp_path):
    check(cover.tried(case, cover.WHOLE, tmp_path))
