"""Polygraphy's verdicts on logits, beside those of core/metrics/parity."""

import numpy as np
import pytest

pytest.importorskip("polygraphy", reason="compares by Polygraphy, which needs Python 3.8")

from pomt_trt.core.metrics import parity
from pomt_trt.device.checks import polygraphy_judge
from tests import fakes

EXPECTED = np.random.RandomState(0).rand(10, 4).astype(np.float32)


def off_by(errors):
    """EXPECTED with the last logit of each image off by a share of the image's largest logit."""
    logits = EXPECTED.copy()
    logits[:, -1] += np.array(errors) * EXPECTED.max(axis=1)
    return logits


@pytest.mark.parametrize("error, passed", [(0.0, True), (0.9e-3, True), (1.1e-3, False), (0.1, False)])
def test_the_verdict_is_that_of_parity(error, passed, capfd):
    logits = off_by([error] * 10)
    assert polygraphy_judge.passes(logits, EXPECTED, 1e-3) == parity.compare(logits, EXPECTED).passed == passed
    assert capfd.readouterr().out == ""  # stdout is for results


@pytest.mark.parametrize("wrong, passed", [(4, True), (6, False)])
def test_the_median_image_decides(wrong, passed):
    assert polygraphy_judge.passes(off_by([0.5] * wrong + [0.0] * (10 - wrong)), EXPECTED, 1e-3) == passed


@pytest.mark.parametrize(
    "engine, release, supported",
    [("tensorrt", "8.2.3", 0), ("tensorrt", "8.5.2", 1), ("tensorrt", "10.3.0", 1), ("onnxruntime", "1.9", 1)],
)
def test_polygraphy_supports_tensorrt_from_8_5_on(engine, release, supported):
    assert polygraphy_judge.supports(fakes.DEVICE._replace(engine=engine, engine_version=release)) == supported
