"""Cropr in training: counts, fusion, what learns from which loss, and the folding of queries into one vector."""

import pytest
import torch

from pomt_trt.core.errors import UsageError
from pomt_trt.host.models.token_reduction import reduce_tokens
from pomt_trt.host.training.cropr import Cropr, Scorer
from tests.host import tiny

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3])
DENSE = {"patches": {"global_pool": ""}, "patches and registers": {"global_pool": "", "reg_tokens": 4}}
LABEL_MAPS = torch.randint(5, (4, 16, 16), generator=torch.Generator().manual_seed(1)).byte()


def entering(trainee):
    """Tokens that enter each block."""
    counts = []
    hooks = [
        block.register_forward_pre_hook(lambda _, arguments: counts.append(arguments[0].shape[1]))
        for block in trainee.vit.blocks
    ]
    trainee.predict(IMAGES)
    for hook in hooks:
        hook.remove()
    return counts


@pytest.mark.parametrize("llf, expected", [(True, [17, 12, 8, 17]), (False, [17, 12, 8, 4])])
def test_each_module_removes_r_and_the_first_one_more(llf, expected):
    assert entering(Cropr(tiny.vit(), 4, llf=llf)) == expected


@pytest.mark.parametrize("kind", ["plain", "distilled", "registers", "average pooling"])
def test_every_kind_of_model_learns(kind):
    trainee = Cropr(tiny.vit(**tiny.KINDS[kind]), 2).train()
    terms = trainee(IMAGES, LABELS)
    terms["loss"].backward()
    assert terms["loss"].isfinite() and all(scorer.queries.grad.abs().sum() > 0 for scorer in trainee.scorers)


@pytest.mark.parametrize("kind", DENSE)
def test_every_patch_has_a_query_that_learns_its_label(kind):
    trainee = Cropr(tiny.vit(**DENSE[kind]), 2).train()
    terms = trainee(IMAGES, LABEL_MAPS)
    terms["loss"].backward()
    assert terms["loss"].isfinite()
    assert all(scorer.queries.shape == (16, 24) for scorer in trainee.scorers)
    assert all((scorer.queries.grad.abs().sum(1) > 0).all() for scorer in trainee.scorers)


def test_a_model_that_labels_patches_needs_them_back():
    with pytest.raises(UsageError, match="Leave --no-llf out"):
        Cropr(tiny.vit(global_pool=""), 2, llf=False)


def test_an_auxiliary_loss_teaches_its_own_module_alone():
    trainee = Cropr(tiny.vit(), 3)
    trainee.run(IMAGES)[1][1].sum().backward()
    learning = {name for name, parameter in trainee.named_parameters() if parameter.grad is not None}
    assert learning and all(name.startswith("scorers.1.") for name in learning)


def test_the_main_loss_teaches_the_backbone_and_no_module():
    trainee = Cropr(tiny.vit(), 3)
    trainee.run(IMAGES)[0].sum().backward()
    assert trainee.vit.blocks[0].attn.qkv.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in trainee.scorers.parameters())


def test_a_frozen_backbone_stays():
    trainee = Cropr(tiny.vit(), 3, freeze_backbone=True).train()
    trainee(IMAGES, LABELS)["loss"].backward()
    assert all(parameter.grad is None for parameter in trainee.vit.parameters())
    assert not trainee.vit.training


def test_one_vector_ranks_as_the_queries_do():
    scorer = Scorer(24, 5, queries=7)
    x = torch.randn(3, 40, 24, generator=torch.Generator().manual_seed(2))
    scores, _ = scorer(x)
    assert torch.equal(scores.argsort(1), (x @ scorer.folded()).argsort(1))
    assert scorer.folded().norm().item() == pytest.approx(1)


@pytest.mark.parametrize("removed", [-1, 8])
def test_too_few_tokens_left_is_refused(removed):
    with pytest.raises(UsageError, match=r"cannot remove -?\d+ of 16.*Choose 0 to 7"):
        Cropr(tiny.vit(), removed)


@pytest.mark.parametrize(
    "kind, llf",
    [("plain", True), ("plain", False), ("registers", True), ("registers", False)] + [(kind, True) for kind in DENSE],
)
def test_the_folded_vectors_run_as_the_trained_model_does(kind, llf):
    trainee = Cropr(tiny.vit(**{**tiny.KINDS, **DENSE}[kind]), 3, llf=llf).eval()
    modules = len(trainee.scorers)
    removed = [4] + [3] * (modules - 1) + [0] * (4 - modules)  # the first module removes one more in training
    reduced = reduce_tokens(trainee.vit, "cropr", removed=removed, scorers=trainee.folded(), llf=llf)
    with torch.no_grad():
        assert torch.allclose(reduced(IMAGES), trainee.predict(IMAGES), rtol=1e-5, atol=1e-5)
