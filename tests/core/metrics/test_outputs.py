"""core/metrics/outputs: AUROC, F1, R2 and mean absolute error are scikit-learn's, paired, with intervals that hold."""

import numpy as np
import pytest
from sklearn import metrics as reference

from pomt_trt.core.errors import InputError
from pomt_trt.core.metrics import outputs
from pomt_trt.core.metrics.pair import Pair
from pomt_trt.core.records import AUROC, F1, FIDELITY, MAE, R2, SIDE_AGREEMENT


def drawn(images=200, labels=3, seed=0):
    """(targets of 0 and 1, outputs that know something of them and have ties)."""
    random = np.random.RandomState(seed)
    targets = (random.rand(images, labels) < [0.5, 0.2, 0.05][:labels]).astype(float)
    return targets, np.round(targets + random.normal(size=targets.shape), 1).astype(np.float32)


def paired(kind, targets, own, unreduced=None):
    pair = Pair(own if unreduced is None else unreduced, own, targets)
    return outputs.paired(kind, pair, "r001", "engine")


@pytest.mark.parametrize("labels", [1, 3])
def test_auroc_and_f1_are_scikit_learns(labels):
    targets, own = drawn(labels=labels)
    estimate = paired(AUROC, targets, own)
    assert estimate.accuracy == pytest.approx(reference.roc_auc_score(targets, own, average="macro"), abs=1e-12)
    assert [one.kind for one in estimate.others] == [F1]
    average = "binary" if labels == 1 else "macro"
    assert estimate.others[0].value == pytest.approx(reference.f1_score(targets, own > 0, average=average), abs=1e-12)


def test_r2_and_the_mean_absolute_error_are_scikit_learns():
    targets = np.random.RandomState(1).normal(20, 5, size=(150, 2))
    own = (targets + np.random.RandomState(2).normal(size=targets.shape)).astype(np.float32)
    estimate = paired(R2, targets, own)
    assert estimate.accuracy == pytest.approx(reference.r2_score(targets, own), abs=1e-9)
    assert estimate.others[0].kind == MAE
    assert estimate.others[0].value == pytest.approx(reference.mean_absolute_error(targets, own), abs=1e-9)


def test_a_weight_is_as_good_as_an_image_drawn_again():
    targets, own = drawn(40)
    weights = np.random.RandomState(3).multinomial(40, np.full(40, 1 / 40), size=5).astype(float)
    for name, metric in outputs.METRICS.items():
        for row, value in zip(weights, metric(own.astype(float), targets, weights)):
            again = np.repeat(np.arange(40), row.astype(int))
            if name == AUROC and (targets[again].max(axis=0) == targets[again].min(axis=0)).any():
                continue  # scikit-learn has no value there
            alone = metric(own[again].astype(float), targets[again], np.ones((1, len(again))))[0]
            assert value == pytest.approx(alone, abs=1e-9), name


@pytest.mark.parametrize("kind", [AUROC, SIDE_AGREEMENT, R2, FIDELITY])
def test_the_unreduced_model_has_no_drop_against_itself(kind):
    targets, own = drawn()
    estimate = paired(kind, targets, own)
    assert estimate.drop == 0 and estimate.drop_ci == (0, 0) and estimate.kl_divergence == pytest.approx(0, abs=1e-12)
    if kind in (SIDE_AGREEMENT, FIDELITY):
        assert estimate.accuracy == 1


def test_the_interval_of_a_drop_is_narrower_than_those_of_two_models_apart():
    targets, unreduced = drawn(400, 1)
    own = unreduced + np.random.RandomState(5).normal(0, 0.3, unreduced.shape).astype(np.float32)
    estimate = paired(AUROC, targets, own, unreduced)
    low, high = estimate.drop_ci
    assert low < estimate.drop < high
    assert high - low < (estimate.accuracy_ci[1] - estimate.accuracy_ci[0]) / 2


def test_intervals_hold_the_true_value_about_as_often_as_they_say():
    """Outputs are N(0, 1) and N(1, 1): the AUROC of all images there could be is Phi(1 / sqrt 2)."""
    true, held, trials = 0.7602499389065233, 0, 60
    for seed in range(trials):
        random = np.random.RandomState(seed)
        targets = (np.arange(150) % 2).astype(float)[:, np.newaxis]
        own = (targets + random.normal(size=targets.shape)).astype(np.float32)
        low, high = paired(AUROC, targets, own).accuracy_ci
        held += low <= true <= high
    assert 0.87 <= held / trials <= 1


@pytest.mark.parametrize("kind", [AUROC, R2])
def test_an_output_that_is_not_finite_is_as_wrong_as_can_be(kind):
    targets, own = drawn(50, 1)
    broken = own.copy()
    broken[np.argmax(targets)] = np.nan
    worst = own.copy()
    worst[np.argmax(targets)] = -1e6 if kind == AUROC else 0
    assert paired(kind, targets, broken).accuracy == pytest.approx(paired(kind, targets, worst).accuracy)


def test_a_constant_answer_is_at_chance():
    targets, own = drawn(50, 1)
    estimate = paired(AUROC, targets, np.zeros_like(own))
    assert estimate.accuracy == estimate.constant_accuracy == 0.5


def test_labels_that_do_not_fit_are_refused():
    targets, own = drawn(10, 2)
    with pytest.raises(InputError, match="there are no labels of the 10 images. Give one an image"):
        paired(AUROC, None, own)
    with pytest.raises(InputError, match=r"labels of shape \(10, 1\) do not match outputs of shape \(10, 2\)"):
        paired(AUROC, targets[:, 0], own)
    with pytest.raises(InputError, match="all 10 images have the same label, .*Add such images, or raise --samples"):
        paired(AUROC, np.ones((10, 2)), own)
