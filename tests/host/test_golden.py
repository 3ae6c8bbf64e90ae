"""Numbers recorded from the research code (tests/data/golden): same logits, same tokens kept, in the same order."""

import copy

import pytest
import torch

from pomt_trt.host.models.token_reduction import reduce_tokens
from pomt_trt.host.reducers.common.contract import Site
from tests.host import golden

CASES = sorted(path.stem for path in golden.FOLDER.glob("*.json"))
TOLERANCE = 2e-5  # absolute, fp32; every cut in the cases has a relative margin above 1e-4


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """(description, arrays, timm model, reduced model)"""
    about, arrays, vit = golden.read(request.param)
    return about, arrays, vit, REDUCED.get(about["method"], by_removed)(vit, about, arrays)


def by_removed(vit, about, arrays):
    return reduce_tokens(vit, about["method"], layer=about["params"].get("layer"), removed=about["params"]["r"])


def by_ltmp(vit, about, arrays):
    """Per-image counts of the dynamic function, as a static schedule."""
    return reduce_tokens(vit, "ltmp", merged=about["merged"], pruned=about["pruned"])


def by_cropr(vit, about, arrays):
    """One more is removed by the first module; the research code averages the class token in."""
    blocks = sorted(int(name.split(".")[1]) for name in arrays if name.endswith("cross_attn.queries"))
    queries = [arrays[f"extra/cropr.{block}.cross_attn.queries"].float() for block in blocks]  # (1, M, C) each
    model = copy.deepcopy(vit)
    model.pool_include_prefix = vit.global_pool == "avg"
    removed = [about["params"]["r"] if block in blocks else 0 for block in range(len(vit.blocks))]
    removed[0] = about["params"]["first_module_rate"]
    scorers = torch.stack([q.sum((0, 1)) for q in queries])
    return reduce_tokens(model, "cropr", removed=removed, scorers=scorers, llf=about["params"]["llf"])


REDUCED = {"ltmp": by_ltmp, "cropr": by_cropr}


def members(reduced, layer, tokens):
    """Which tokens entering a block are in each one that leaves it: a list of sets an image.

    The block's reducer is given rows that tell their position, with the signals that it had for the real ones.
    """
    reducer, seen = reduced.reducers[str(layer)], {}
    reduce = type(reducer).reduce

    def watch(tokens, signals):
        seen.update(tokens=tokens, signals=signals)
        return reduce(reducer, tokens, signals)

    reducer.reduce = watch
    reduced.run(tokens, layer, layer + 1)
    del reducer.reduce
    batch, count = seen["tokens"].x.shape[:2]
    positions = torch.eye(count).expand(batch, -1, -1)  # (B, N, N)
    shares = reducer.reduce(seen["tokens"]._replace(x=positions), seen["signals"]).x  # (B, K, N)
    return [[set(row.nonzero()[:, 0].tolist()) for row in image] for image in shares]


def recorded_members(arrays, layer, image):
    """The same by the records: rows kept, in their order, and what was merged into them."""
    into = {position: {position} for position in arrays[f"kept_indices/{layer}"][image].tolist()}
    if f"merged_src/{layer}" in arrays:
        pairs = zip(arrays[f"merged_src/{layer}"][image].tolist(), arrays[f"merged_dst/{layer}"][image].tolist())
        for source, target in pairs:
            into[target].add(source)
    return list(into.values())


@torch.no_grad()
def test_logits_and_class_rows_are_the_recorded_ones(case):
    _, arrays, vit, reduced = case
    tokens = reduced.embed(arrays["input"])
    for layer in range(len(vit.blocks)):
        tokens = reduced.run(tokens, layer, layer + 1)
        assert tokens.x.shape[1] == arrays[f"tokens_out/{layer}"]
        assert torch.allclose(tokens.x[:, 0], arrays[f"cls_out/{layer}"], rtol=0, atol=TOLERANCE)
    assert torch.allclose(reduced.finish(tokens), arrays["logits"], rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_the_recorded_tokens_are_kept_and_merged_in_every_layer(case):
    about, arrays, vit, reduced = case
    tokens, checked = reduced.embed(arrays["input"]), 0
    for layer in range(len(vit.blocks)):
        if f"kept_indices/{layer}" in arrays and reduced.steps[layer] is not None and about["method"] == "cropr":
            kept, origin = arrays[f"kept_indices/{layer}"].long(), tokens.origin
            left = reduced.run(tokens, layer, layer + 1).origin
            assert torch.equal(left, kept if origin is None else origin.gather(1, kept))
            checked += 1
        elif f"kept_indices/{layer}" in arrays:
            for image, rows in enumerate(members(reduced, layer, tokens)):
                expected = recorded_members(arrays, layer, image)
                assert rows[: len(expected)] == expected and len(rows) - len(expected) in (0, 1)  # pomt's mean token
            checked += 1
        tokens = reduced.run(tokens, layer, layer + 1)
        if f"size_out/{layer}" in arrays:
            assert torch.equal(tokens.size[..., 0], arrays[f"size_out/{layer}"])
    assert checked == sum(step is not None and step.site is not Site.INPUT for step in reduced.steps)


@torch.no_grad()
def test_the_margin_is_the_recorded_one(case):
    about, arrays, _, reduced = case
    if about["method"] == "ltmp":
        pytest.skip("recorded margins are distances from thresholds, which a static schedule does not have")
    margin = reduced.forward_with_margin(arrays["input"])[1]
    assert margin.min().item() == pytest.approx(about["margins"]["min"], rel=1e-2)
