"""LTMP in training: masks stand for removal, thresholds get gradients, cost is the formula's."""

import pytest
import torch

from pomt_trt.core.errors import InputError, UsageError
from pomt_trt.host.training.ltmp import Ltmp, masked_attention, passed, remaining_cost
from tests.host import tiny

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3])


def test_a_value_passes_above_the_threshold_only():
    value = torch.tensor([0.1, 0.5, 0.50001, 0.9])
    assert passed(value, torch.tensor(0.5), 0.5).tolist() == [0, 0, 1, 1]


def test_the_threshold_learns_by_the_slope_of_the_sigmoid():
    value, threshold = torch.tensor([0.3, 0.8], requires_grad=True), torch.tensor(0.5, requires_grad=True)
    passed(value, threshold, 0.1).sum().backward()
    soft = torch.sigmoid((value.detach() - 0.5) / 0.1)
    slope = soft * (1 - soft) / 0.1
    assert torch.allclose(value.grad, slope) and torch.allclose(threshold.grad, -slope.sum())


def test_attention_is_that_of_the_masked_softmax():
    """Values and gradients, against the formula written out."""
    generator = torch.Generator().manual_seed(4)
    logits, values = torch.randn(2, 3, 9, 9, generator=generator) * 3, torch.randn(2, 3, 9, 4, generator=generator)
    mask = (torch.rand(2, 9, generator=generator) < 0.6).float()
    found, expected = [], []
    for outcomes, function in ((found, masked_attention), (expected, written_out)):
        inputs = [tensor.clone().requires_grad_() for tensor in (logits, values, mask)]
        mixed, importance = function(*inputs)
        (mixed.sin().sum() + importance.square().sum()).backward()
        outcomes += [mixed, importance, *(tensor.grad for tensor in inputs)]
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def written_out(logits, values, mask):
    raised = (logits - logits.amax(3, keepdim=True)).exp() * mask[:, None, None]
    weights = (raised + 1e-5 / 9) / (raised.sum(3, keepdim=True) + 1e-5)
    return weights @ values, weights.mean((1, 2))


def test_cost_is_that_of_the_formula():
    tokens, channels = 10, 8
    masks = [torch.ones(2, tokens), torch.ones(2, tokens)]
    assert remaining_cost(masks, channels).item() == pytest.approx(1.0)
    masks[0][:, 5:] = 0  # half is gone after block 0
    half = 2 * 1 * 10 * 64 + 100 * 8 + 4 * 0.5 * 10 * 64
    other = 2 * 0.5 * 10 * 64 + 25 * 8 + 4 * 10 * 64
    assert remaining_cost(masks, channels).item() == pytest.approx((half + other) / 2 / (6 * 10 * 64 + 100 * 8))


def test_nothing_masked_is_the_model_itself():
    vit = tiny.vit()
    logits, masks = Ltmp(vit, first=(1.0, 0.0)).masked(IMAGES)
    assert all(mask.eq(1).all() for mask in masks)
    assert torch.allclose(logits, vit(IMAGES), rtol=1e-4, atol=1e-4)


def test_masks_only_ever_lose_tokens_and_prefix_tokens_stay():
    trainee = Ltmp(tiny.vit(reg_tokens=4), first=(0.3, 0.03))
    _, masks = trainee.masked(IMAGES)
    left = [mask.sum(1) for mask in masks]
    assert all((after <= before).all() for before, after in zip(left, left[1:], strict=False))
    assert left[-1].min() < 20 and all(mask[:, :5].eq(1).all() for mask in masks)


def test_the_first_block_removes_what_inference_removes():
    """Later ones need not: what is masked shifts the pairs, which the paper's training accepts."""
    from pomt_trt.host.training.dynamic import run

    trainee = Ltmp(tiny.vit(), first=(0.4, 0.05))
    left = trainee.masked(IMAGES)[1][0].sum(1)
    removed = run(trainee.vit, trainee.thresholds(), IMAGES)[1]
    assert left.tolist() == (17 - removed.merged[:, 0] - removed.pruned[:, 0]).tolist()


def test_thresholds_learn_and_the_model_does_not():
    trainee = Ltmp(tiny.vit(), first=(0.4, 0.03)).train()
    trainee(IMAGES, LABELS)["loss"].backward()
    assert trainee.prune.grad.ne(0).all() and trainee.merge.grad.ne(0).any()
    assert all(parameter.grad is None for parameter in trainee.vit.parameters())


def test_the_budget_pulls_thresholds_towards_less_computation():
    trainee = Ltmp(tiny.vit(), target=0.4, first=(0.9, 0.0)).train()
    optimizer = torch.optim.SGD([{"params": [trainee.merge], "lr": 0.5}, {"params": [trainee.prune], "lr": 1e-2}])
    before = trainee(IMAGES, LABELS)["cost"].item()
    for _ in range(20):
        optimizer.zero_grad()
        trainee(IMAGES, LABELS)["loss"].backward()
        optimizer.step()
        trainee.after_step()
    assert trainee(IMAGES, LABELS)["cost"].item() < before - 0.05
    assert ((trainee.prune >= 0) & (trainee.prune <= 1) & (trainee.merge >= 0) & (trainee.merge <= 1)).all()


def test_models_that_average_tokens_are_refused():
    with pytest.raises(InputError, match=r"pools its tokens.*Choose another model"):
        Ltmp(tiny.vit(global_pool="avg"))


def test_a_model_that_labels_patches_is_refused():
    with pytest.raises(UsageError, match=r"ltmp does not fit a model that labels every patch.*tome or cropr"):
        Ltmp(tiny.vit(global_pool=""))
