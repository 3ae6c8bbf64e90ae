"""Paired accuracies and their intervals, against likelihoods and coverages worked out another way."""

import math

import numpy as np
import pytest

from pomt_trt.core.errors import InputError
from pomt_trt.core.metrics import classification
from pomt_trt.core.metrics.pair import Pair


def logits_for(predictions, classes=3):
    """Rows whose largest logit is the wanted class."""
    return np.eye(classes, dtype=np.float32)[np.asarray(predictions)] * 4


def test_counts_what_only_one_of_the_two_gets_right():
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    reference = logits_for([0, 1, 2, 0, 1, 2, 1, 2])  # six right
    candidate = logits_for([0, 1, 2, 1, 2, 2, 0, 2])  # five right: two lost, one gained
    estimate = classification.paired("top1", Pair(reference, candidate, labels), "r004", "host-fp32")
    assert estimate.accuracy == 5 / 8 and estimate.drop == 1 / 8 and estimate.samples == 8
    assert estimate.drop_ci == classification.drop_interval(2, 1, 8)
    assert estimate.accuracy_ci == classification.wilson(5, 8)
    assert (estimate.kind, estimate.candidate_id, estimate.source) == ("top1", "r004", "host-fp32")


def test_agreement_counts_matches_with_the_unreduced_model():
    reference, candidate = logits_for([0, 1, 2, 0]), logits_for([0, 1, 2, 1])
    estimate = classification.paired("agreement", Pair(reference, candidate), "r004", "engine")
    low, high = classification.wilson(3, 4)
    assert estimate.accuracy == 0.75 and estimate.drop == 0.25
    assert estimate.drop_ci == (1 - high, 1 - low)


def test_agreement_ignores_labels_that_are_at_hand():
    estimate = classification.paired(
        "agreement", Pair(logits_for([0, 1]), logits_for([0, 1]), np.array([2, 2])), "r000", "engine"
    )
    assert estimate.accuracy == 1.0


def test_the_unreduced_model_against_itself_has_no_drop_and_an_interval_around_it():
    logits = logits_for([0, 1, 2, 0])
    estimate = classification.paired("top1", Pair(logits, logits, np.array([0, 1, 2, 1])), "r000", "engine")
    assert estimate.drop == 0 and estimate.kl_divergence == 0
    assert estimate.drop_ci[0] < 0 < estimate.drop_ci[1]


def test_no_discordant_pair_leaves_an_interval_that_narrows_with_the_images():
    for count in (1, 10, 1000):
        low, high = classification.drop_interval(0, 0, count)
        expected = classification.Z_95**2 / (count + classification.Z_95**2)
        assert high == pytest.approx(expected) and low == pytest.approx(-expected)


def test_intervals_mirror_when_the_two_models_change_places():
    for lost, gained, count in [(0, 0, 5), (3, 0, 5), (5, 0, 5), (7, 2, 50), (150, 86, 1600)]:
        low, high = classification.drop_interval(lost, gained, count)
        mirrored_low, mirrored_high = classification.drop_interval(gained, lost, count)
        assert (low, high) == pytest.approx((-mirrored_high, -mirrored_low), abs=1e-9)
        assert -1 <= low <= (lost - gained) / count <= high <= 1


def test_large_samples_give_the_textbook_interval():
    lost, gained, count = 1500, 860, 16000
    half = classification.Z_95 * math.sqrt(lost + gained - (lost - gained) ** 2 / count) / count
    low, high = classification.drop_interval(lost, gained, count)
    assert low == pytest.approx(0.04 - half, abs=5e-5) and high == pytest.approx(0.04 + half, abs=5e-5)


@pytest.mark.parametrize("lost, gained, count, delta", [(3, 1, 20, 0.02), (0, 2, 12, 0.3), (5, 5, 40, -0.2)])
def test_the_score_uses_the_likeliest_share_under_the_tested_difference(lost, gained, count, delta):
    shares = np.linspace(max(0, -delta), (1 - delta) / 2, 400001)[1:-1]  # of gained; lost has delta more
    with np.errstate(divide="ignore", invalid="ignore"):
        likelihood = (
            lost * np.log(shares + delta)
            + gained * np.log(shares)
            + (count - lost - gained) * np.log1p(-2 * shares - delta)
        )
    share = shares[np.nanargmax(likelihood)]
    expected = (lost - gained - count * delta) / math.sqrt(count * (2 * share + delta - delta**2))
    assert classification._tango_score(lost, gained, count, delta) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("lost_share, gained_share", [(0.02, 0.02), (0.05, 0.01), (0.15, 0.02), (0.005, 0.0)])
def test_drop_interval_covers_the_true_drop_as_often_as_it_says(lost_share, gained_share):
    count, covered = 60, 0.0
    for lost in range(30):
        for gained in range(25):
            low, high = classification.drop_interval(lost, gained, count)
            if low <= lost_share - gained_share <= high:
                covered += _multinomial(count, lost, gained, lost_share, gained_share)
    assert covered > 0.93


def _multinomial(count, lost, gained, lost_share, gained_share):
    rest = count - lost - gained
    ways = math.factorial(count) // (math.factorial(lost) * math.factorial(gained) * math.factorial(rest))
    return ways * lost_share**lost * gained_share**gained * (1 - lost_share - gained_share) ** rest


def test_wilson_is_exact_at_both_ends_and_never_a_point():
    square = classification.Z_95**2
    assert classification.wilson(0, 10) == (0.0, pytest.approx(square / (10 + square)))
    assert classification.wilson(10, 10) == (pytest.approx(10 / (10 + square)), 1.0)
    assert classification.wilson(81, 263) == (
        pytest.approx(0.2553, abs=1e-4),
        pytest.approx(0.3662, abs=1e-4),
    )  # Newcombe 1998


def test_kl_divergence_is_that_of_the_definition_and_stands_large_logits():
    p, q = np.array([[0.7, 0.2, 0.1]]), np.array([[0.5, 0.25, 0.25]])
    expected = float((p * np.log(p / q)).sum())
    assert classification.kl_divergence(np.log(p) + 5e4, np.log(q) - 5e4) == pytest.approx(expected, abs=1e-9)


def test_a_row_that_is_not_finite_is_wrong_and_never_an_agreement():
    broken = logits_for([0, 1])
    broken[0, 0] = np.nan
    top1 = classification.paired("top1", Pair(logits_for([0, 1]), broken, np.array([0, 1])), "r004", "engine")
    agreed = classification.paired("agreement", Pair(broken, broken), "r004", "engine")
    assert top1.accuracy == agreed.accuracy == 0.5 and math.isnan(top1.kl_divergence)


def test_ties_go_to_the_lower_class():
    assert classification.top1(np.array([[1.0, 2.0, 2.0], [0.0, 0.0, 0.0]])).tolist() == [1, 0]


def test_says_which_shapes_do_not_match_and_what_to_do():
    with pytest.raises(InputError, match=r"\(2, 3\) .* \(3, 3\).*Compute both anew"):
        classification.paired("agreement", Pair(logits_for([0, 1, 2]), logits_for([0, 1])), "r004", "engine")
    with pytest.raises(InputError, match="1 labels .* 2 images.*Give one label an image"):
        classification.paired("top1", Pair(logits_for([0, 1]), logits_for([0, 1]), np.array([0])), "r004", "engine")
    with pytest.raises(InputError, match="no labels"):
        classification.paired("top1", Pair(logits_for([0, 1]), logits_for([0, 1])), "r004", "engine")
    with pytest.raises(InputError, match="no images.*at least one"):
        classification.paired("agreement", Pair(np.zeros((0, 3)), np.zeros((0, 3))), "r004", "engine")
