"""timm's models, shrunken, export as graphs that agree with timm's own logits and with ours in PyTorch."""

import itertools
import os

import pytest
import torch

from pomt_trt.core.errors import UsageError
from pomt_trt.core.metrics import parity
from pomt_trt.core.targets import PRECISIONS, TARGETS
from pomt_trt.host import backbones, reducers
from pomt_trt.host.graphs import comparison
from pomt_trt.host.models.token_reduction import reduce_tokens
from tests import suite
from tests.host import shrunken, tiny

METHODS = {"pomt": 1, "pomt-shift": 1, "topk": None, "tome": None, "ltmp": None, "cropr": None, "random": None}  # layer
# One name for each norm and MLP that timm's accepted models are built of besides LayerNorm and the two-layer MLP.
SPECIAL = {
    "vit_giant_patch14_dinov2": {"GluMlp"},
    "aimv2_1b_patch14_224": {"RmsNorm", "SwiGLU"},
    "aimv2_3b_patch14_224": {"RmsNorm", "SwiGLU"},
}
STRUCTURES = {  # one name of each adapter, position, pooling and stem -> a form
    "vit_base_patch16_siglip_224": "op13-fp32",  # attention pooling
    "vit_small_patch16_36x1_224": "op17-fp32",
    "vit_small_patch16_18x2_224": "op13-fp32",  # parallel blocks
    "vit_intern300m_patch14_448": "op17-fp32",  # any image size
    "vit_base_patch16_dinov3": "op13-fp32",  # rotary positions, registers, halves turned
    "vit_base_patch16_rope_mixed_224": "op17-fp32",  # of each block and head
    "vit_base_patch16_sapiens2": "op13-fp32",  # grouped queries
    "vit_pe_core_base_patch16_224": "op17-fp32",  # attention pooling and rotary positions
    "eva02_base_patch14_224": "op13-fp32",
    "beit_base_patch16_224": "op17-fp32",  # relative positions
    "vit_srelpos_small_patch16_224": "op13-fp32",
    "naflexvit_base_patch16_map": "op17-fp32",
}
FORMS = {  # how graphs are written -> a target and a precision that want them so
    target.form(precision): (target.name, precision)
    for target in reversed(TARGETS.values())
    for precision in PRECISIONS
    if not target.lacks(precision)
}
OTHERS = ("pomt-shift", "cropr", "random")  # their graphs differ least from those of the first four
MINUTES = pytest.mark.skipif(not os.environ.get("POMT_EVERY_MODEL"), reason="takes minutes: set POMT_EVERY_MODEL=1")
PLAIN = {"Identity", "Dropout", "Sequential", "ModuleList", "Linear", "LayerNorm", "LayerScale", "Mlp"}
PLAIN |= {"GELU", "GELUTanh", "QuickGELU"}


def check(name, method, form, folder, may_be_unclear=False):
    """Exports R = 0 and R = 3; compares the former with timm, and the latter with the reduced model in PyTorch.

    Args:
        may_be_unclear: in fp16 and bf16 rounding may decide which tokens every image of so small a model loses. Then
            R = 3 is exported and checked, and not compared.
    """
    model, (target, precision) = shrunken.made(name), FORMS[form]
    how = {"layer": METHODS[method], "target": target, "precision": precision}
    made = tiny.exported(folder, model, [0, 3], method, **how)  # checks each graph as well
    with torch.inference_mode():
        timms = model(made.batch).numpy()
    least_margin = parity.LEAST_MARGIN[made.plan.written]
    for candidate in made.family.candidates:
        ours, margins = made.expected(candidate)
        expected = timms if candidate.schedule.removed == 0 else ours
        if may_be_unclear and candidate.schedule.removed and not (margins > least_margin).any():
            continue
        assert (margins > least_margin).any()
        error = parity.compare(made.logits(candidate), expected, margins, made.plan.written).error
        assert error < comparison.TOLERANCE[made.plan.written], candidate.id
    return made


@pytest.mark.long
def test_what_is_special_is_all_there_is():
    """A norm or MLP that timm adds shows here before a user meets it."""
    others = {name: shrunken.parts(name) - PLAIN for name in shrunken.kinds()}
    known = set().union(*SPECIAL.values(), {"SiLU", "ReLU", "Sigmoid", "GeGluMlp", "RelPosMlp", "RelPosBias"})
    known |= {kind.__name__ for adapter in backbones.ADAPTERS for kind in (*adapter.whole_blocks, *adapter.attentions)}
    assert {name: found for name, found in others.items() if not found <= known} == {}
    assert all(found <= others[name] for name, found in SPECIAL.items())


@pytest.mark.parametrize("form", suite.sampled(FORMS, list(FORMS)[:2]))
@pytest.mark.parametrize("name", ["vit_giant_patch14_dinov2", "aimv2_1b_patch14_224"])
def test_swiglu_and_rms_norm_export_in_every_form(name, form, tmp_path):
    made = check(name, "pomt", form, tmp_path)
    graph = made.graph(made.reduced).graph
    assert {"Shape", "If", "Loop"} & {node.op_type for node in graph.node} == set()


@pytest.mark.parametrize("method", [name for name in METHODS if name != "pomt"])
@pytest.mark.parametrize("name", suite.sampled(SPECIAL, ["aimv2_1b_patch14_224"]))
def test_swiglu_and_rms_norm_export_with_every_method(name, method, tmp_path):
    if backbones.of(shrunken.made(name)).lacks(reducers.find(method)):
        with pytest.raises(UsageError, match="topk ranks .* class token's attention"):
            check(name, method, "op17-fp32", tmp_path)
        return
    check(name, method, "op17-fp32", tmp_path)


@pytest.mark.parametrize("name", STRUCTURES)
def test_each_structure_exports(name, tmp_path):
    check(name, "random" if backbones.of(shrunken.made(name)).undivided(1) else "pomt", STRUCTURES[name], tmp_path)


@torch.no_grad()
@pytest.mark.parametrize("method", ["none", "random", "pomt", "tome", "ltmp"])
def test_removing_nothing_is_timms_model(method):
    for name in STRUCTURES:
        model = shrunken.made(name)
        backbone = backbones.of(model)
        if backbone.lacks(reducers.find(method)):
            continue
        counts = {"merged": [0] * 3, "pruned": [0] * 3} if method == "ltmp" else {"removed": 0}
        layer = {"layer": METHODS[method]} if METHODS.get(method) is not None else {}
        images = torch.randn(2, 3, *backbone.image_px, generator=torch.Generator().manual_seed(3))
        ours, timms = reduce_tokens(model, method, **counts, **layer)(images), model(images)
        assert (ours - timms).abs().max() <= 1e-5 * timms.abs().max(), name


@pytest.mark.long
@pytest.mark.parametrize("method", [pytest.param(name, marks=[MINUTES] if name in OTHERS else []) for name in METHODS])
def test_every_kind_of_model_exports_by_every_method_in_one_form_after_the_other(method, tmp_path):
    for name, form in zip(shrunken.kinds(), itertools.cycle(FORMS)):
        if backbones.of(shrunken.made(name)).lacks(reducers.find(method), METHODS[method]):
            continue
        backbone = backbones.of(shrunken.made(name))
        # With random weights, blocks that normalise last change patches so little that all stay alike.
        alike = any(type(block) in backbone.post_norm for block in backbone.vit.blocks)
        check(name, method, form, tmp_path / name, may_be_unclear=alike or not form.endswith("fp32"))


@pytest.mark.long
@MINUTES
def test_every_name_exports(tmp_path):
    assert len(shrunken.accepted()) >= 270  # of timm 1.0.31
    for name in shrunken.accepted():
        divided = backbones.of(shrunken.made(name)).undivided(1) is None
        check(name, "pomt" if divided else "random", "op17-fp32", tmp_path / name)
