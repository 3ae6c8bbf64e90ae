"""POMT keeps the best patches by score, and the mean of the others."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pomt_trt.host.reducers import METHODS
from pomt_trt.host.reducers.common.contract import Signals, Tokens
from tests.host.reducers.made import PREFIXES, most, plan, rows, signals


def scores_by_hand(attn, values, prefix):
    """The definition, one loop a sum: methods.md section 1, steps 1 to 4; one image, (H, N, N) and (H, N, dh)."""
    heads, tokens, width = values.shape
    patches = range(prefix, tokens)
    received = [sum(max(attn[h, i, j] for h in range(heads)) for i in patches) for j in patches]
    strength = [sum(max(values[h, t, d] for h in range(heads)) for d in range(width)) for t in range(tokens)]
    exps = np.exp(np.array(strength) - max(strength))
    return np.array(received) / max(received) + (exps / exps.sum())[prefix:]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_pomt_scores_are_as_defined_image_by_image(prefix):
    sig = signals(3, 9, prefix)
    got = METHODS["pomt"](plan("pomt", 9, prefix, 1)).scores(sig)
    for image in range(3):
        expected = scores_by_hand(sig.attn[image].double().numpy(), sig.values[image].double().numpy(), prefix)
        assert np.allclose(got[image], expected, atol=1e-6)


@settings(deadline=None)
@given(tokens=st.integers(8, 24), prefix=st.sampled_from(PREFIXES), seed=st.integers(0, 99), data=st.data())
def test_pomt_keeps_the_best_by_score_and_the_mean_of_the_rest(tokens, prefix, seed, data):
    removed = data.draw(st.integers(1, most("pomt", tokens, prefix)))
    sig = signals(2, tokens, prefix, seed=seed)
    reducer = METHODS["pomt"](plan("pomt", tokens, prefix, removed))
    reduced = reducer.reduce(Tokens(rows(2, tokens)), sig).x
    for image in range(2):
        score = reducer.scores(sig)[image].tolist()
        best = [prefix + i for i in sorted(range(tokens - prefix), key=lambda i: (-score[i], i))]
        kept = tokens - prefix - removed - 1
        assert reduced[image, prefix:-1, 1].tolist() == best[:kept]
        assert reduced[image, -1, 1].item() == pytest.approx(np.mean(best[kept:]), abs=1e-5)


def test_pomt_shift_keeps_what_attention_changes_most():
    change = torch.tensor([[9.0, 0], [3, 4], [0, 1], [0, 0], [0, -6], [2, 0]])[None]
    reducer = METHODS["pomt-shift"](plan("pomt-shift", 6, 1, 2))
    reduced = reducer.reduce(Tokens(rows(1, 6)), Signals(change=change)).x
    assert reduced[0, :, 1].tolist() == [0, 4, 1, pytest.approx((5 + 2 + 3) / 3)]
