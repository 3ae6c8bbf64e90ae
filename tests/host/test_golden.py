"""Numbers recorded from the research code (tests/data/golden): same logits, same tokens kept, in the same order."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from pomt_trt.host.surgery import reduce_tokens

GOLDEN = Path(__file__).parent.parent / "data" / "golden"
CASES = sorted(path.stem for path in GOLDEN.glob("*.json"))
TOLERANCE = 2e-5  # absolute, fp32; every cut in the cases has a relative margin above 1e-4


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """(description, arrays, timm model, reduced model)"""
    about = json.loads((GOLDEN / f"{request.param}.json").read_text())
    with np.load(GOLDEN / f"{request.param}.npz") as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files}
    vit = VisionTransformer(**about["model"]).eval()
    weights = {name[len("weights/") :]: value.float() for name, value in arrays.items() if name.startswith("weights/")}
    vit.load_state_dict(weights, strict=True)
    params = about["params"]
    return about, arrays, vit, reduce_tokens(vit, about["method"], layer=params.get("layer"), removed=params["r"])


def kept_rows(block, reduced, layer, tokens):
    """Which rows of the whole block's output survive in the reduced block's: (B, rows matched).

    The MLP acts on each row alone, so a kept row leaves the reduced block with the value it has in the whole one.
    """
    whole = block(tokens.x)  # (B, N, C)
    left = reduced.run(tokens, layer, layer + 1).x  # (B, K, C)
    distance = (left[:, :, None] - whole[:, None]).abs().amax(3)  # (B, K, N)
    nearest = distance.min(2)
    return [nearest.indices[image][nearest.values[image] < TOLERANCE].tolist() for image in range(len(left))]


@torch.no_grad()
def test_logits_and_class_rows_are_the_recorded_ones(case):
    _, arrays, vit, reduced = case
    tokens = reduced.embed(arrays["input"])
    for layer in range(len(vit.blocks)):
        tokens = reduced.run(tokens, layer, layer + 1)
        assert tokens.x.shape[1] == arrays[f"tokens_out/{layer}"]
        assert torch.allclose(tokens.x[:, 0], arrays[f"cls_out/{layer}"], rtol=0, atol=TOLERANCE)
    assert torch.allclose(reduced.finish(tokens), arrays["logits"], rtol=0, atol=TOLERANCE)
    assert torch.allclose(reduced(arrays["input"]), arrays["logits"], rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_the_recorded_tokens_are_kept_in_every_layer(case):
    _, arrays, vit, reduced = case
    tokens, checked = reduced.embed(arrays["input"]), 0
    for layer, block in enumerate(vit.blocks):
        if f"kept_indices/{layer}" in arrays:
            assert kept_rows(block, reduced, layer, tokens) == arrays[f"kept_indices/{layer}"].tolist()
            checked += 1
        tokens = reduced.run(tokens, layer, layer + 1)
    assert checked == sum(step is not None for step in reduced.steps)


@torch.no_grad()
def test_the_margin_is_the_recorded_one(case):
    about, arrays, _, reduced = case
    margin = reduced.forward_with_margin(arrays["input"])[1]
    assert margin.min().item() == pytest.approx(about["margins"]["min"], rel=1e-2)


@torch.no_grad()
def test_the_plain_model_is_the_recorded_one(case):
    _, arrays, vit, _ = case
    assert torch.allclose(vit(arrays["input"]), arrays["logits_unreduced"], rtol=0, atol=TOLERANCE)
