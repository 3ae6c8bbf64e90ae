"""Random draws nested subsets by its seed."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from pomt_trt.host.reducers.random import Random
from tests.host.reducers.made import PREFIXES, plan


@given(prefix=st.sampled_from(PREFIXES), removed=st.integers(1, 30), seed=st.integers(0, 2**31))
def test_random_keeps_the_prefix_and_an_ascending_subset_nested_in_r(prefix, removed, seed):
    kept = Random(plan("random", 40, prefix, removed), seed).kept_indices.tolist()
    assert kept == sorted(set(kept)) and len(kept) == 40 - removed and kept[:prefix] == list(range(prefix))
    assert set(kept) >= set(Random(plan("random", 40, prefix, removed + 1), seed).kept_indices.tolist())


def test_random_draws_by_its_seed_and_leaves_the_global_one_alone():
    step = plan("random", 197, 1, 56)
    before = torch.get_rng_state()
    assert torch.equal(Random(step, 7).kept_indices, Random(step, 7).kept_indices)
    assert not torch.equal(Random(step, 7).kept_indices, Random(step, 8).kept_indices)
    assert torch.equal(torch.get_rng_state(), before)
