"""Accuracy paired with the unreduced model: sharing what comes before the cut changes no number."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from pomt_trt.core.errors import VerificationFailed
from pomt_trt.core.metrics import classification
from pomt_trt.core.metrics.pair import Pair
from pomt_trt.core.records import MIOU
from pomt_trt.core.targets import named
from pomt_trt.host import accuracy
from pomt_trt.host.data import image_batches
from pomt_trt.host.graphs import comparison, export
from pomt_trt.host.models import loading
from tests.host import tiny

METHODS = {"pomt": 2, "random": None, "topk": None, "tome": None}  # layer


def made(method="pomt", model=None):
    """(plan, images, candidates) with as many images as do not divide into batches."""
    model = tiny.vit() if model is None else model
    plan, spec, images = tiny.plan(model, method, METHODS.get(method))
    generator = np.random.RandomState(0)
    stored = generator.randint(256, size=(accuracy.IMAGES_AT_ONCE * 4 + 5, 16, 16, 3)).astype(np.uint8)
    labels = torch.from_numpy(generator.randint(5, size=len(stored)))
    grid = tiny.grid(plan, spec, [0] if method == "none" else [0, 3, 8])
    return plan, dataclasses.replace(images, stored=stored, labels=labels), grid


def estimated(plan, images, candidates, kind=classification.TOP1):
    return list(accuracy.Estimator(plan, candidates[0], images, kind).estimate(candidates))


def alone(plan, images, candidate):
    """Logits (n, classes) of one candidate, all blocks computed."""
    with torch.inference_mode():
        return plan.reduced(candidate.schedule)(torch.cat(list(images.batches(1000)))).numpy()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [classification.TOP1, classification.AGREEMENT])
def test_estimates_are_those_of_candidates_run_alone(method, kind):
    plan, images, candidates = made(method)
    labels = images.labels.numpy()
    unreduced = alone(plan, images, candidates[0])
    for done, candidate in zip(estimated(plan, images, candidates, kind), candidates, strict=True):
        logits = alone(plan, images, candidate)
        expected = classification.paired(kind, Pair(unreduced, logits, labels), candidate.id, "host-fp32")
        assert done.candidate == candidate and done.estimate.candidate_id == candidate.id
        assert done.estimate._replace(kl_divergence=0.0) == expected._replace(kl_divergence=0.0)
        assert done.estimate.kl_divergence == pytest.approx(expected.kl_divergence, abs=1e-5)
        np.testing.assert_allclose(done.golden_logits, logits[:64], rtol=1e-4, atol=1e-4)
        assert done.golden_logits.shape == (64, 5) and done.golden_margins.shape == (64,)
        assert candidate.schedule.removed or np.isinf(done.golden_margins).all()


def test_blocks_before_the_cut_run_once_for_all_candidates():
    model = tiny.vit()
    calls = {0: 0, 3: 0}
    for number in calls:

        def count(*_, number=number):
            calls[number] += 1

        model.blocks[number].register_forward_hook(count)
    plan, images, candidates = made(model=model)
    calls.update({0: 0, 3: 0})
    estimated(plan, images, candidates)
    batches = -(-len(images) // accuracy.IMAGES_AT_ONCE)
    assert calls[0] <= 3 * batches < calls[3]


@pytest.mark.parametrize("kept_bytes", [accuracy.KEPT_TOKENS_BYTES, 1])
def test_candidates_one_by_one_are_candidates_together(kept_bytes, monkeypatch):
    plan, images, candidates = made()
    monkeypatch.setattr(accuracy, "CANDIDATES_AT_ONCE", 2)
    together = estimated(plan, images, candidates)
    monkeypatch.setattr(accuracy, "KEPT_TOKENS_BYTES", kept_bytes)
    estimator = accuracy.Estimator(plan, candidates[0], images, classification.TOP1)
    one_by_one = [next(iter(estimator.estimate([candidate]))) for candidate in reversed(candidates)][::-1]
    for one, other in zip(one_by_one, together, strict=True):
        assert one.estimate._replace(kl_divergence=0.0) == other.estimate._replace(kl_divergence=0.0)
        np.testing.assert_allclose(one.golden_logits, other.golden_logits, rtol=1e-5, atol=1e-5)


def test_label_maps_are_compared_at_the_models_input_size(monkeypatch):
    plan, images, candidates = made("none", model=tiny.vit(global_pool=""))
    labels = torch.from_numpy(np.random.RandomState(1).randint(5, size=(len(images), 16, 16)).astype(np.uint8))
    images = dataclasses.replace(images, labels=labels)
    (done,) = estimated(plan, images, candidates, MIOU)
    upsampled = functional.interpolate(torch.from_numpy(alone(plan, images, candidates[0])), 16, mode="bilinear")
    hits = torch.tensor([((labels == one) & (upsampled.argmax(1) == one)).sum() for one in range(5)])
    unions = torch.tensor([((labels == one) | (upsampled.argmax(1) == one)).sum() for one in range(5)])
    assert done.estimate.accuracy == pytest.approx((hits / unions).mean().item(), abs=1e-6)
    assert done.estimate.kind == "miou" and done.golden_logits.shape == (64, 5, 4, 4)
    monkeypatch.setattr(accuracy, "MOST_LOGITS_BYTES", 1)  # room for one candidate in a pass at least
    assert estimated(plan, images, candidates, MIOU)[0].estimate == done.estimate


def test_labels_in_another_order_than_the_classes_are_doubted_once(caplog):
    module, spec = loading.load("digits")
    images = image_batches.load(None, spec, 60, 0)
    plan = export.Plan(module, "pomt", None, 1, 0, named("onnxruntime"))
    grid = tiny.grid(plan, spec, [0, 100])
    assert estimated(plan, images, grid)[0].estimate.accuracy > 0.9 and not caplog.records
    permuted = dataclasses.replace(images, labels=(images.labels + 1) % 10)
    assert estimated(plan, permuted, grid)[0].estimate.accuracy < 0.1
    assert caplog.text.count("Likely causes: the labels' classes are in another order than the model's") == 1


def test_progress_says_how_many_images_are_done():
    plan, images, candidates = made()
    notes = []
    list(accuracy.Estimator(plan, candidates[0], images, classification.TOP1).estimate(candidates, notes.append))
    assert notes[-1] == f"{len(images)} of {len(images)} images, 3 candidates"


@pytest.mark.parametrize("method", METHODS)
def test_each_graph_is_verified_with_the_logits_at_hand(method, tmp_path):
    plan, images, candidates = made(method)
    export.export(plan, candidates, images, tmp_path)
    folder = tmp_path / "onnx" / "op17-fp32"
    for done in estimated(plan, images, candidates):
        assert accuracy.verify(plan, done, images, folder) < comparison.TOLERANCE["fp32"]
    tampered = done._replace(golden_logits=done.golden_logits * 1.01)
    with pytest.raises(VerificationFailed, match=r"r008.onnx: logits on ONNX Runtime differ"):
        accuracy.verify(plan, tampered, images, folder)
