"""What labels teach: cross-entropy of images or of labelled pixels, and accuracy as the package has it."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from pomt_trt.core.errors import InputError
from pomt_trt.core.metrics import segmentation
from pomt_trt.core.metrics.pair import Pair
from pomt_trt.host.training.objective import Classification, Segmentation, objective_of
from tests.host import tiny

PIXELS = Segmentation(3, (2, 4), prefix_tokens=2)


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def label_maps(images=5, size=(8, 16)):
    labels = np.random.RandomState(0).randint(3, size=(images, *size)).astype(np.uint8)
    labels[:, :3, :5] = segmentation.IGNORED
    return torch.from_numpy(labels)


def test_a_models_head_says_what_it_is_for():
    assert isinstance(objective_of(tiny.vit()), Classification) and objective_of(tiny.vit()).queries == 1
    dense = objective_of(tiny.vit(global_pool="", reg_tokens=2))
    assert dense == Segmentation(5, (4, 4), prefix_tokens=3) and dense.queries == 16


def test_images_are_right_or_wrong():
    logits, labels = drawn(0, 6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    tally = Classification().tally(logits, labels)
    assert Classification().accuracy(tally) == pytest.approx((logits.argmax(1) == labels).float().mean().item())


def test_logits_are_those_of_patches_row_by_row():
    outputs = drawn(1, 2, 10, 3)
    logits = PIXELS.logits(outputs)
    assert logits.shape == (2, 3, 2, 4)
    assert torch.equal(logits[1, :, 1, 2], outputs[1, 2 + 4 + 2])


def test_pixels_are_upsampled_and_those_without_a_class_left_out():
    logits, labels = drawn(2, 5, 3, 2, 4), label_maps()
    known = labels != segmentation.IGNORED
    upsampled = functional.interpolate(logits, size=(8, 16), mode="bilinear").movedim(1, 3)[known]
    expected = functional.cross_entropy(upsampled, labels[known].long())
    assert PIXELS.loss(logits, labels).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_patch_has_the_label_at_its_centre():
    labels = torch.zeros(1, 8, 16, dtype=torch.uint8)
    labels[0, 6, 10] = 2  # of patches of 4 x 4 pixels, the centre of the second row's third
    sure = torch.full((1, 8, 3), -20.0)
    sure[0, :, 0] = 20.0
    wrong = PIXELS.auxiliary_loss(sure, labels)
    sure[0, 6] = torch.tensor([-20.0, -20.0, 20.0])
    assert PIXELS.auxiliary_loss(sure, labels).item() < 1e-6 and wrong.item() == pytest.approx(40 / 8)


def test_images_without_a_label_teach_nothing_and_break_nothing():
    nothing = torch.full((2, 8, 16), segmentation.IGNORED, dtype=torch.uint8)
    logits = drawn(3, 2, 3, 2, 4).requires_grad_()
    loss = PIXELS.loss(logits, nothing) + PIXELS.auxiliary_loss(logits.flatten(2).transpose(1, 2), nothing)
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()
    with pytest.raises(InputError, match="no pixel of the images is labelled. Give"):
        PIXELS.accuracy(PIXELS.tally(logits.detach(), nothing))


def test_mean_iou_is_the_one_that_accuracy_has_batch_by_batch():
    logits, labels = drawn(4, 5, 3, 2, 4), label_maps()
    parts = zip(logits.split(2), labels.split(2), strict=True)
    found = PIXELS.accuracy(torch.cat([PIXELS.tally(*part) for part in parts]))
    both = [logits.numpy()] * 2
    expected = segmentation.paired("miou", Pair(*both, labels.numpy()), (8, 16), "r000", "host-fp32")
    assert found == pytest.approx(expected.accuracy)
