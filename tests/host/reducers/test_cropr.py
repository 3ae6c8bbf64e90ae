"""Cropr spreads R over its modules, and ranks by one vector."""

import pytest
import torch

from pomt_trt.host import reducers
from pomt_trt.host.reducers import METHODS, Shape, Signals, Site, Tokens
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


def test_a_full_query_score_ranks_as_its_folded_vector():
    """Sum over heads and queries of q . (K x), one product a head, against x . (K^T sum of queries)."""
    generator = torch.Generator().manual_seed(11)
    x, queries, key = (torch.randn(*shape, generator=generator).double() for shape in ((40, 24), (8, 24), (24, 24)))
    heads = [slice(0, 12), slice(12, 24)]
    full = sum((queries[:, h] @ (x @ key.T)[:, h].T).sum(0) for h in heads)  # (40,)
    folded = key.T @ queries.sum(0)
    step = METHODS["cropr"].plan(Site.END, 0, 40, 25, 0)
    reducer = METHODS["cropr"](step, 0, reducers.Scorers(folded.float()[None], False))
    left = reducer.reduce(Tokens(x.float()[None]), Signals())
    best = full.argsort(descending=True)[:25]
    assert torch.equal(left.origin[0], best) and torch.equal(left.x[0], x.float()[best])
