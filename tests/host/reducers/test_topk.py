"""Top-K keeps what the class token attends to."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pomt_trt.host.reducers import METHODS
from pomt_trt.host.reducers.common.contract import Tokens
from tests.host.reducers.made import PREFIXES, most, plan, rows, signals


@settings(deadline=None)
@given(tokens=st.integers(7, 24), prefix=st.sampled_from(PREFIXES[1:]), seed=st.integers(0, 99), data=st.data())
def test_topk_keeps_what_the_class_token_attends_to(tokens, prefix, seed, data):
    removed = data.draw(st.integers(1, most("topk", tokens, prefix)))
    sig = signals(2, tokens, prefix, seed=seed)
    reduced = METHODS["topk"](plan("topk", tokens, prefix, removed)).reduce(Tokens(rows(2, tokens)), sig).x
    for image in range(2):
        score = sig.attn_cls[image].tolist()
        best = [prefix + i for i in sorted(range(tokens - prefix), key=lambda i: (-score[i], i))]
        assert reduced[image, prefix:, 1].tolist() == best[: tokens - prefix - removed]
