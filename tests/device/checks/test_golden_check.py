"""The golden check on engines with made-up logits."""

import numpy as np
import pytest

from pomt_trt.core.errors import CorruptArtifact
from pomt_trt.device.checks import golden_check
from pomt_trt.device.deploy.preprocess import normalise
from pomt_trt.device.engines.contract import Runner
from tests import fakes

LOOK = fakes.quadrant_model().preprocessing
COUNT, CLASSES = 10, 4


class Linear(Runner):
    """Logits are the sums of a picture's quadrants, times `scale`, plus what `spoil` adds."""

    def __init__(self, batch=1, spoil=lambda logits: logits):
        self.input_shape, self._spoil, self.calls = (batch, 1, 8, 8), spoil, 0

    def run(self, batch):
        assert batch.shape == self.input_shape and batch.flags["C_CONTIGUOUS"] and batch.dtype == np.float32
        self.calls += 1
        return self._spoil(logits_of(batch))


def logits_of(images):
    halves = images[:, 0].reshape(len(images), 2, 4, 2, 4)
    return halves.sum(axis=(2, 4)).reshape(len(images), CLASSES).astype(np.float32)


@pytest.fixture
def golden():
    pixels = np.random.RandomState(0).randint(0, 256, (COUNT, 8, 8, 1)).astype(np.uint8)
    images = normalise(pixels, LOOK)
    return golden_check.Golden(pixels, logits_of(images))


@pytest.fixture
def expected(tmp_path, golden):
    """Writes a candidate's own logits and margins; returns the file."""

    def write(margins=None):
        path = str(tmp_path / "r004.npz")
        margins = np.full(COUNT, 0.1, np.float32) if margins is None else np.array(margins, np.float32)
        np.savez(path, logits=golden.logits, margins=margins)
        return path

    return write


def off_by(relative):
    return lambda logits: logits + relative * np.abs(logits).max(axis=1, keepdims=True)


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_an_engine_that_computes_what_is_expected_passes(golden, expected, batch):
    verdict = golden_check.judge(Linear(batch), golden, LOOK, "fp16", expected())
    assert verdict.passed and verdict.details()["images"] == COUNT and verdict.details()["source"] == "r004.npz"


@pytest.mark.parametrize("precision, allowed", [("fp32", 1e-3), ("fp16", 2e-2), ("bf16", 8e-2)])
def test_an_engine_passes_up_to_its_precisions_bound_and_fails_beyond_it(golden, expected, precision, allowed):
    within = golden_check.judge(Linear(spoil=off_by(0.9 * allowed)), golden, LOOK, precision, expected())
    beyond = golden_check.judge(Linear(spoil=off_by(1.1 * allowed)), golden, LOOK, precision, expected())
    assert within.passed and not beyond.passed
    assert "{:.1e}".format(1.1 * allowed) in beyond.reason() and "{:.0e} is allowed".format(allowed) in beyond.reason()
    assert "--precision fp32" in beyond.reason()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_logit_that_is_not_finite_is_enough_to_fail(golden, expected, value):
    def spoil(logits):
        return np.where(np.arange(CLASSES) == 1, np.float32(value), logits)

    for known in (expected(), None):
        verdict = golden_check.judge(Linear(spoil=spoil), golden, LOOK, "fp16", known)
        assert not verdict.passed and "not finite" in verdict.reason()


def test_images_whose_cut_is_closer_than_rounding_are_not_compared(golden, expected):
    close = [1e-6] * 6 + [0.1] * 4

    def spoil(logits):
        spoil.seen += 1
        return logits + 100.0 if spoil.seen <= 6 else logits  # another token was kept

    spoil.seen = 0
    verdict = golden_check.judge(Linear(spoil=spoil), golden, LOOK, "fp16", expected(close))
    assert verdict.passed and verdict.parity.compared == 4


def test_the_unreduced_model_is_compared_with_the_golden_logits_themselves(golden):
    verdict = golden_check.judge(Linear(), golden, LOOK, "fp32", None, is_unreduced=True)
    assert verdict.passed and verdict.details()["source"] == "golden.npz"
    assert not golden_check.judge(Linear(spoil=off_by(0.1)), golden, LOOK, "fp32", None, is_unreduced=True).passed


def test_a_candidate_whose_logits_nobody_knows_has_only_to_be_finite(golden, tmp_path):
    verdict = golden_check.judge(Linear(spoil=off_by(5.0)), golden, LOOK, "fp16", str(tmp_path / "r004.npz"))
    assert verdict.passed and verdict.details() == {"finite": True}


def test_golden_inputs_are_read_as_export_writes_them(tmp_path, golden):
    path = str(tmp_path / "golden.npz")
    np.savez_compressed(path, pixels=golden.pixels, logits=golden.logits)
    assert (golden_check.golden(path).pixels == golden.pixels).all()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", None])
def test_golden_inputs_that_cannot_be_read_are_damaged(tmp_path, content):
    path = tmp_path / "golden.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CorruptArtifact, match="golden.npz.*pomt-trt export"):
        golden_check.golden(str(path))
