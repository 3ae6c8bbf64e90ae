"""How far logits are from those expected, and which images may say so."""

import math

import numpy as np
import pytest

from pomt_trt.core.errors import InputError
from pomt_trt.core.metrics import parity

EXPECTED = np.array([[1.0, -4.0], [2.0, 0.0], [8.0, 1.0], [1.0, 1.0]], np.float32)


def off_by(*relative):
    """EXPECTED, each row's first logit off by that part of its largest."""
    logits = EXPECTED.copy()
    logits[:, 0] += np.array(relative) * np.abs(EXPECTED).max(axis=1)
    return logits


def test_the_error_is_the_median_of_each_images_worst_logit_over_its_largest():
    assert parity.compare(EXPECTED, EXPECTED).error == 0.0
    assert parity.compare(off_by(0.1, 0.2, 0.3, 0.9), EXPECTED).error == pytest.approx(0.25, rel=1e-5)


def test_images_whose_cut_is_closer_than_rounding_are_not_compared():
    margins = np.array([1e-7, 0.5, 0.5, 1e-6])
    assert parity.compare(off_by(0.9, 0.1, 0.2, 0.9), EXPECTED, margins).error == pytest.approx(0.15, rel=1e-5)
    result = parity.compare(off_by(0.9, 0.0, 0.0, 0.9), EXPECTED, margins)
    assert (result.images, result.compared, result.passed) == (4, 2, True)


def test_a_coarser_format_rounds_closer_cuts_and_may_differ_more():
    margins = np.full(4, 1e-4)
    logits = off_by(0.01, 0.01, 0.01, 0.01)
    assert not parity.compare(logits, EXPECTED, None, "fp32").passed
    assert parity.compare(logits, EXPECTED, None, "fp16").passed
    assert parity.compare(logits, EXPECTED, margins, "fp32").compared == 4
    assert parity.compare(logits, EXPECTED, margins, "fp16").compared == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_one_logit_that_is_not_finite_is_never_right_even_where_no_cut_is_clear(value):
    logits = EXPECTED.copy()
    logits[2, 1] = value
    for margins in (None, np.zeros(4)):
        result = parity.compare(logits, EXPECTED, margins, "fp16")
        assert result.error == math.inf and not result.passed


def test_shapes_that_do_not_match_are_explained():
    for logits in (EXPECTED[:2], EXPECTED[:0], EXPECTED[0]):
        with pytest.raises(InputError, match="cannot be compared"):
            parity.compare(logits, EXPECTED if len(logits) else EXPECTED[:0])
