"""Cropr spreads R over its modules."""

import pytest

from pomt_trt.host import reducers
from pomt_trt.host.reducers.common.contract import Shape
from tests.host import tiny


@pytest.mark.parametrize("llf", [True, False])
@pytest.mark.parametrize("tokens, prefix, removed", [(17, 1, 9), (197, 1, 77), (198, 2, 100), (20, 0, 0)])
def test_cropr_spreads_r_over_its_modules(llf, tokens, prefix, removed):
    learned = tiny.learned("cropr", 6, llf=llf)
    found = reducers.schedule_for("cropr", Shape(tokens, 6, prefix), removed, None, learned)
    modules = 4 if llf else 5
    gone = [tokens - count for count in found.tokens[1 : modules + 1]]
    assert gone == [int((i + 1) * removed / modules + 0.5) for i in range(modules)]
    assert found.tokens[modules + 1 :] == ((tokens - removed, tokens) if llf else (tokens - removed,))
    assert (found.removed, found.tokens_after) == (removed, tokens - removed)
