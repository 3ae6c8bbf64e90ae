"""The methods by themselves: counts in plain integers, rankings, and what becomes of the rows."""

import io

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pomt_trt.core.errors import UsageError
from pomt_trt.core.records import Schedule
from pomt_trt.core.schedules import schedule as schedules
from pomt_trt.host import reducers
from pomt_trt.host.reducers import METHODS, Shape, Signals, Site, Tokens, pomt
from pomt_trt.host.reducers.common import ranking
from pomt_trt.host.reducers.random import kept_indices
from tests.host import tiny

PREFIXES = (0, 1, 2, 5)
ACTING = ("random", "topk", "pomt", "pomt-shift", "tome")


def most(method, tokens, prefix):
    """The valid range by methods.md, written down a second time."""
    if method == "tome":
        return (tokens - prefix) // 2
    return tokens - prefix - (2 if method.startswith("pomt") else 1)


def plan(method, tokens, prefix, removed):
    return METHODS[method].plan(Site.MID, 3, tokens, tokens - removed, prefix)


def signals(batch, tokens, prefix, heads=2, width=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    attn = torch.rand(batch, heads, tokens, tokens, generator=generator).softmax(-1)
    values = torch.randn(batch, heads, tokens, width, generator=generator)
    keys = torch.randn(batch, tokens, width, generator=generator)
    change = torch.randn(batch, tokens, width, generator=generator)
    return Signals(keys=keys, values=values, attn=attn, attn_cls=attn[:, :, 0, prefix:].mean(1), change=change)


def rows(batch, tokens):
    """Rows that tell their image and position: (batch, tokens, 2)."""
    image, position = torch.meshgrid(torch.arange(batch), torch.arange(tokens), indexing="ij")
    return torch.stack([image, position], 2).float()


@pytest.mark.parametrize("method, prefix", [(m, p) for m in ACTING for p in PREFIXES if m != "topk" or p > 0])
def test_every_plan_is_what_reduce_does(method, prefix):
    sizes = [(n, range(1, most(method, n, prefix) + 1)) for n in range(5, 41, 3)]
    sizes += [(n, (1, 56, most(method, n, prefix))) for n in (196, 197, 198, 201)]
    for tokens, all_removed in sizes:
        sig = signals(1, tokens, prefix)
        for removed in all_removed:
            step = plan(method, tokens, prefix, removed)
            assert step is not None
            reduced = METHODS[method](step).reduce(Tokens(rows(1, tokens)), sig).x
            assert reduced.shape == (1, tokens - removed, 2) and step.tokens_out == tokens - removed
            assert reduced[0, :prefix, 1].tolist() == list(range(prefix))


@pytest.mark.parametrize("method", ACTING)
@given(
    tokens=st.sampled_from([*range(5, 41), 196, 197, 198, 201, 1025]), prefix=st.sampled_from(PREFIXES), data=st.data()
)
def test_refuses_what_is_out_of_range_and_says_the_range(method, tokens, prefix, data):
    prefix = max(prefix, 1) if method == "topk" else prefix
    limit = max(most(method, tokens, prefix), 0)
    removed = data.draw(st.one_of(st.integers(-9, -1), st.integers(limit + 1, tokens)))
    with pytest.raises(UsageError, match=rf"cannot remove {removed} of {tokens} tokens.* Choose 0 to {limit} there"):
        plan(method, tokens, prefix, removed)


@pytest.mark.parametrize("method", METHODS)
def test_removing_nothing_is_no_step(method):
    schedule = reducers.schedule_for(method, Shape(197, 12, 1), 0, None, tiny.learned(method, 12))
    assert reducers.plan(method, schedule) == [None] * 12


def test_none_refuses_to_remove():
    with pytest.raises(UsageError, match="none cannot remove 1 of 197 .* Choose 0 to 0"):
        plan("none", 197, 1, 1)


def test_topk_says_why_it_needs_a_prefix_token():
    with pytest.raises(UsageError, match="class token's attention.*Use pomt or random"):
        plan("topk", 196, 0, 4)


def test_unknown_method_names_the_known_ones():
    with pytest.raises(UsageError, match="'prune'.*none, random, topk, pomt"):
        reducers.find("prune")


def test_deit_small_example_of_the_paper():
    step = plan("pomt", 197, 1, 56)
    assert (step.kept_patches, step.tokens_out) == (139, 141)


# Schedules


def test_one_number_becomes_a_schedule():
    assert reducers.schedule_for("pomt", Shape(197, 12, 1), 56) == schedules.single_layer(197, 12, 1, 3, 56)
    assert reducers.schedule_for("pomt", Shape(197, 12, 1), 56, layer=5) == schedules.single_layer(197, 12, 1, 5, 56)
    assert reducers.schedule_for("random", Shape(197, 12, 1), 56) == schedules.single_layer(197, 12, 1, 0, 56)
    assert reducers.schedule_for("topk", Shape(197, 12, 1), 50) == schedules.even(197, 12, 1, 50)
    assert reducers.schedule_for("none", Shape(197, 12, 1), 0) == schedules.constant(197, 12, 1)


def test_a_schedule_that_the_method_cannot_follow_is_refused_at_once():
    with pytest.raises(UsageError, match="Choose 0 to 194"):
        reducers.schedule_for("pomt", Shape(197, 12, 1), 195)
    with pytest.raises(UsageError, match="layer 12 is out of range.* 0 to 11"):
        reducers.schedule_for("pomt", Shape(197, 12, 1), 56, layer=12)


@pytest.mark.parametrize("method, layer", [("pomt", 4), ("pomt", None), ("random", 4), ("topk", None)])
def test_a_schedule_says_itself_in_which_blocks_it_acts(method, layer):
    steps = reducers.plan(method, schedules.per_block(197, 1, [0, 0, 0, 56, 0, 8, 8, 0, 0, 0, 0, 0]), layer)
    assert [(s.layer, s.tokens_in, s.tokens_out) for s in steps if s] == [(3, 197, 141), (5, 141, 133), (6, 133, 125)]
    assert {s.site for s in steps if s} == {Site.MID}


def test_what_acts_before_the_first_block_acts_nowhere_else():
    with pytest.raises(UsageError, match=r"removes tokens in blocks \[3\], but without a layer .* Give a layer"):
        reducers.plan("random", schedules.single_layer(197, 12, 1, 3, 56))


def test_topk_takes_no_layer():
    with pytest.raises(UsageError, match="none to a method that acts in every block"):
        reducers.schedule_for("topk", Shape(197, 12, 1), 48, layer=3)


# Ranking


few_values = st.integers(0, 3).map(float)  # ties are the rule


@given(st.lists(st.lists(few_values, min_size=7, max_size=7), min_size=1, max_size=3), st.integers(1, 7))
def test_ranks_by_score_and_then_by_lower_index(scores, k):
    expected = [sorted(range(7), key=lambda i: (-row[i], i))[:k] for row in scores]
    assert ranking.rank(torch.tensor(scores), k).tolist() == expected


def test_half_precision_scores_are_ranked_alike():
    scores = torch.rand(4, 196, generator=torch.Generator().manual_seed(1)).half()
    assert torch.equal(ranking.rank(scores, 196), ranking.rank(scores.float(), 196))


def test_nan_scores_still_give_each_index_once():
    scores = torch.tensor([[1.0, float("nan"), 0.5, float("nan"), 2.0]])
    assert sorted(ranking.rank(scores, 5)[0].tolist()) == [0, 1, 2, 3, 4]


def test_margin_is_the_relative_gap_at_the_cut():
    scores = torch.tensor([[0.5, 2.0, 1.0, 0.25], [1.0, 1.0, 1.0, 1.0]])
    assert ranking.margin(scores, 2).tolist() == [0.5, 0.0]


def test_gathers_each_images_own_rows():
    taken = ranking.gather_rows(rows(2, 5), torch.tensor([[4, 0], [1, 1]]))
    assert taken.tolist() == [[[0, 4], [0, 0]], [[1, 1], [1, 1]]]


class Ranks(torch.nn.Module):
    def forward(self, scores):
        return ranking.rank(scores, 5)


@pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript-based ONNX export:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The feature will be removed:DeprecationWarning")
@pytest.mark.parametrize("opset", [13, 17])
def test_onnx_runtime_ranks_as_torch_does(opset):
    scores = torch.randint(0, 4, (3, 40), generator=torch.Generator().manual_seed(2)).float()  # many ties
    file = io.BytesIO()
    torch.onnx.export(Ranks(), (scores,), file, dynamo=False, opset_version=opset, input_names=["scores"])
    graph = onnx.load_from_string(file.getvalue()).graph
    assert {node.op_type for node in graph.node} <= {"TopK", "Constant", "Cast", "Identity"}
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    assert np.array_equal(session.run(None, {"scores": scores.numpy()})[0], Ranks()(scores).numpy())


# POMT


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
    got = pomt.scores(sig.attn, sig.values, prefix)
    for image in range(3):
        expected = scores_by_hand(sig.attn[image].double().numpy(), sig.values[image].double().numpy(), prefix)
        assert np.allclose(got[image], expected, atol=1e-6)


@settings(deadline=None)
@given(tokens=st.integers(8, 24), prefix=st.sampled_from(PREFIXES), seed=st.integers(0, 99), data=st.data())
def test_pomt_keeps_the_best_by_score_and_the_mean_of_the_rest(tokens, prefix, seed, data):
    removed = data.draw(st.integers(1, most("pomt", tokens, prefix)))
    sig = signals(2, tokens, prefix, seed=seed)
    reduced = METHODS["pomt"](plan("pomt", tokens, prefix, removed)).reduce(Tokens(rows(2, tokens)), sig).x
    for image in range(2):
        score = pomt.scores(sig.attn, sig.values, prefix)[image].tolist()
        best = [prefix + i for i in sorted(range(tokens - prefix), key=lambda i: (-score[i], i))]
        kept = tokens - prefix - removed - 1
        assert reduced[image, prefix:-1, 1].tolist() == best[:kept]
        assert reduced[image, -1, 1].item() == pytest.approx(np.mean(best[kept:]), abs=1e-5)


@given(st.integers(4, 30), st.integers(0, 3), st.integers(0, 1000), st.data())
def test_every_token_finds_the_one_that_it_was_merged_into(tokens, prefix, seed, data):
    """Rows that say what a token is made of: each original gets back the mean of a group that it is in."""
    first = data.draw(st.integers(0, most("tome", tokens, prefix)))
    second = data.draw(st.integers(0, most("tome", tokens - first, prefix)))
    schedule = Schedule((tokens, tokens - first, tokens - first - second), prefix)
    steps = reducers.plan("tome", schedule)
    acting = reducers.made("tome", steps, 0)
    now = Tokens(torch.eye(tokens).expand(2, -1, -1), merges=())
    for step in steps:
        if step is not None:
            keys = torch.randn(2, step.tokens_in, 3, generator=torch.Generator().manual_seed(seed + step.layer))
            now = acting[str(step.layer)].reduce(now, Signals(keys=keys))
    found = reducers.restored(now, now.x, tokens)  # (2, tokens, tokens)
    assert found.shape == (2, tokens, tokens) and len(now.merges) == (first > 0) + (second > 0)
    own = found.diagonal(dim1=1, dim2=2)  # 1 / size of its group
    sizes = (found > 0).sum(2)
    assert torch.allclose(own * sizes, torch.ones(2, tokens)) and bool((sizes[:, :prefix] == 1).all())


def test_pomt_shift_keeps_what_attention_changes_most():
    change = torch.tensor([[9.0, 0], [3, 4], [0, 1], [0, 0], [0, -6], [2, 0]])[None]
    reducer = METHODS["pomt-shift"](plan("pomt-shift", 6, 1, 2))
    reduced = reducer.reduce(Tokens(rows(1, 6)), Signals(change=change)).x
    assert reduced[0, :, 1].tolist() == [0, 4, 1, pytest.approx((5 + 2 + 3) / 3)]


# Top-K


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


# ToMe


def merged_by_hand(keys, count, prefix):
    """Members of each token that leaves, by the definition: methods.md section 3, steps 1 to 6; one image (N, dh)."""
    unit = keys / np.linalg.norm(keys, axis=1, keepdims=True)
    even, odd = ([i for i in range(prefix, len(keys)) if i % 2 == parity] for parity in (0, 1))
    partner = {i: max(odd, key=lambda j, i=i: (unit[i] @ unit[j], -j)) for i in even}
    merged = sorted(even, key=lambda i: (-(unit[i] @ unit[partner[i]]), i))[:count]
    own = {j: {j, *(i for i in merged if partner[i] == j)} for j in odd}
    return [{i} for i in range(prefix)] + [{i} for i in even if i not in merged] + list(own.values())


def tome_on_positions(step, keys, size=None):
    """(members, tokens) where each row that enters tells its position."""
    positions = torch.eye(step.tokens_in).expand(len(keys), -1, -1)
    tokens = METHODS["tome"](step).reduce(Tokens(positions, size), Signals(keys=keys))
    return [[set(row.nonzero()[:, 0].tolist()) for row in image] for image in tokens.x], tokens


def test_two_equal_keys_make_one_token_at_the_place_of_the_odd_one():
    keys = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1], [-1, 0.5, 0]])[None]
    members, tokens = tome_on_positions(plan("tome", 5, 1, 1), keys)
    assert members == [[{0}, {4}, {1}, {2, 3}]] and tokens.size.flatten().tolist() == [1, 1, 1, 2]


@settings(deadline=None)
@given(tokens=st.integers(6, 24), prefix=st.sampled_from(PREFIXES), seed=st.integers(0, 99), data=st.data())
def test_tome_merges_the_pairs_that_are_most_alike_by_their_sizes(tokens, prefix, seed, data):
    if most("tome", tokens, prefix) < 1:
        return
    removed = data.draw(st.integers(1, most("tome", tokens, prefix)))
    keys = signals(2, tokens, prefix, width=8, seed=seed).keys
    size = torch.randint(1, 5, (2, tokens, 1), generator=torch.Generator().manual_seed(seed)).float()
    members, left = tome_on_positions(plan("tome", tokens, prefix, removed)._replace(sized=True), keys, size)
    for image in range(2):
        assert members[image] == merged_by_hand(keys[image].double().numpy(), removed, prefix)
        assert left.size[image].sum() == size[image].sum()
    assert torch.allclose(left.x.sum(2), torch.ones(2, tokens - removed), atol=1e-6), "the weights of a mean"
    assert torch.allclose((left.x * left.size).sum(1), size[..., 0], atol=1e-5), "each token counts by its size"


def test_merging_by_matmul_is_adding_by_index():
    step = plan("tome", 197, 1, 60)._replace(sized=True)
    generator = torch.Generator().manual_seed(5)
    x, keys = torch.randn(2, 197, 24, generator=generator), torch.randn(2, 197, 8, generator=generator)
    size = torch.randint(1, 9, (2, 197, 1), generator=generator).float()
    reducer = METHODS["tome"](step)
    match = reducer.match(keys)
    left = reducer.reduce(Tokens(x, size), Signals(keys=keys))
    for image in range(2):
        target, source = match.into[image].argmax(1), match.merged[image]
        even, odd = x[image, 2::2], x[image, 1::2]
        size_even, size_odd = size[image, 2::2], size[image, 1::2]
        total = size_odd.index_add(0, target, size_even[source])
        summed = (odd * size_odd).index_add(0, target, (even * size_even)[source])
        assert (left.x[image, -98:] - summed / total).abs().max() < 1e-6
        assert torch.equal(left.size[image, -98:], total)


@pytest.mark.parametrize(
    "removed, expected",
    [
        (16, [16] * 11 + [10]),
        ((16, -1), [32, 29, 26, 23, 20, 17, 14, 11, 8, 5, 2, 0]),
        ((8, 0), [8] * 12),
        ([0, 98, 98] + [0] * 9, [0, 98, 49] + [0] * 9),
    ],
    ids=str,
)
def test_tome_clips_to_what_a_block_can_merge_and_says_so(removed, expected, caplog):
    found = METHODS["tome"].schedule_from(reducers.UserCounts(removed), Shape(197, 12, 1), None)
    assert [before - after for before, after in zip(found.tokens, found.tokens[1:])] == expected
    clipped = sum(expected) < (192 if removed == 16 else 196 if isinstance(removed, list) else 0)
    assert ("tome merges" in caplog.text) == clipped


def test_a_slope_that_leads_below_zero_is_refused():
    with pytest.raises(UsageError, match=r"removed is \(16, -2\): give a count of 0 or more, and -1 to 1"):
        METHODS["tome"].schedule_from(reducers.UserCounts((16, -2)), Shape(197, 12, 1), None)


# LTMP


@given(
    tokens=st.sampled_from([17, 50, 197]),
    depth=st.integers(1, 12),
    prefix=st.sampled_from(PREFIXES),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_ltmp_spreads_r_by_what_its_thresholds_remove(tokens, depth, prefix, seed, data):
    generator = np.random.RandomState(seed)
    merged, pruned = (tuple(generator.uniform(0.1, 9, depth).tolist()) for _ in range(2))
    learned = tiny.learned("ltmp", depth)._replace(merged_mean=merged, pruned_mean=pruned)
    removed = data.draw(st.integers(0, tokens - prefix - 1))
    try:
        found = reducers.schedule_for("ltmp", Shape(tokens, depth, prefix), removed, None, learned)
    except UsageError:
        assert removed > (tokens - prefix) // 2, "half can always be merged, or as many pruned"
        return
    assert found.removed == removed and found.tokens_before == tokens and len(found.merged) == depth
    total = sum(merged) + sum(pruned)
    if removed <= min((tokens - prefix) // 4, total):
        gone, wanted = 0, 0.0
        for block in range(depth):
            wanted += (merged[block] + pruned[block]) * removed / total
            gone += found.tokens[block] - found.tokens[block + 1]
            assert abs(gone - wanted) <= 0.5 + 1e-9, "sums are rounded, not counts"


def test_thresholds_that_remove_nothing_spread_nothing():
    none = (0.0,) * 4
    learned = tiny.learned("ltmp")._replace(merged_mean=none, pruned_mean=none)
    with pytest.raises(UsageError, match="the learned thresholds of ltmp cannot remove 3 of 17 tokens. Choose less"):
        reducers.schedule_for("ltmp", Shape(17, 4, 1), 3, None, learned)
    for method, message in (("ltmp", "by learned thresholds. Train them"), ("cropr", "by learned scorers")):
        with pytest.raises(UsageError, match=message):
            reducers.schedule_for(method, Shape(17, 4, 1), 3)


def test_blocks_after_the_last_that_removes_are_left_alone_and_those_before_it_bring_patches_into_order():
    schedule = METHODS["ltmp"].schedule_from(reducers.UserCounts(None, [0, 2, 0], [0, 0, 0]), Shape(9, 3, 1), None)
    steps = reducers.plan("ltmp", schedule)
    assert steps[2] is None and (steps[0].merged, steps[0].pruned, steps[1].merged) == (0, 0, 2)
    left = METHODS["ltmp"](steps[0]).reduce(Tokens(rows(1, 9)), Signals()).x
    assert left[0, :, 1].tolist() == [0, 2, 4, 6, 8, 1, 3, 5, 7]


@settings(deadline=None)
@given(
    tokens=st.integers(8, 24),
    prefix=st.sampled_from(PREFIXES),
    merged=st.integers(0, 3),
    pruned=st.integers(0, 2),
    seed=st.integers(0, 99),
)
def test_ltmp_merges_and_then_prunes_what_is_least_attended_to(tokens, prefix, merged, pruned, seed):
    if merged > (tokens - prefix) // 2 or tokens - prefix - merged - pruned < 1:
        return
    sig = signals(2, tokens, prefix, width=8, seed=seed)
    counts = reducers.UserCounts(None, [merged], [pruned])
    step = reducers.plan("ltmp", METHODS["ltmp"].schedule_from(counts, Shape(tokens, 1, prefix), None))[0]
    if step is None:
        return
    left = METHODS["ltmp"](step).reduce(Tokens(torch.eye(tokens).expand(2, -1, -1)), sig)
    for image in range(2):
        received = sig.attn[image].double().mean((0, 1)).numpy()
        members = merged_by_hand(sig.keys[image].double().numpy(), merged, prefix)
        ranked = sorted(range(prefix, len(members)), key=lambda i: (-max(received[list(members[i])]), i))
        kept = [*range(prefix), *sorted(ranked[: len(ranked) - pruned])]
        assert [set(row.nonzero()[:, 0].tolist()) for row in left.x[image]] == [members[i] for i in kept]
        if merged:
            assert left.size[image, :, 0].tolist() == [len(members[i]) for i in kept]


# Cropr


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


# Random


@given(prefix=st.sampled_from(PREFIXES), removed=st.integers(1, 30), seed=st.integers(0, 2**31))
def test_random_keeps_the_prefix_and_an_ascending_subset_nested_in_r(prefix, removed, seed):
    kept = kept_indices(plan("random", 40, prefix, removed), seed).tolist()
    assert kept == sorted(set(kept)) and len(kept) == 40 - removed and kept[:prefix] == list(range(prefix))
    assert set(kept) >= set(kept_indices(plan("random", 40, prefix, removed + 1), seed).tolist())


def test_random_draws_by_its_seed_and_leaves_the_global_one_alone():
    step = plan("random", 197, 1, 56)
    before = torch.get_rng_state()
    assert torch.equal(kept_indices(step, 7), kept_indices(step, 7))
    assert not torch.equal(kept_indices(step, 7), kept_indices(step, 8))
    assert torch.equal(torch.get_rng_state(), before)
