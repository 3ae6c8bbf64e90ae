"""The engines' own accuracy on real files: paired, with intervals, and called agreement where it is that."""

import logging

import pytest

from pomt_trt.core.errors import InputError, UsageError
from pomt_trt.core.metrics import classification
from pomt_trt.device.deploy.evaluate import ImageSource, evaluate
from tests import fakes

pytest.importorskip("onnxruntime", reason="runs ONNX Runtime engines")
HARD = 148  # bright enough for R = 0 to see, too dark for the engine that halves the last quadrant


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return fakes.quadrant_bundle(tmp_path_factory.mktemp("bundle"))


def labelled(root, wrong=0):
    """Sixteen pictures in folders of classes 0 to 3; of the last class three are hard, `wrong` are mislabelled."""
    for index in range(16):
        kind, turn = index % 4, index // 4
        folder = root / str(kind)
        folder.mkdir(parents=True, exist_ok=True)
        shown = (kind + 1) % 3 if kind < 3 and turn < wrong else kind
        brightness = HARD if kind == 3 and turn < 3 else 255
        fakes.picture(shown, brightness).save(str(folder / "{}.png".format(turn)))
    return str(root)


def test_pairs_the_engine_with_the_unreduced_one_on_the_same_images(bundle, tmp_path):
    result = evaluate(bundle, ImageSource(labelled(tmp_path / "data"), 1000, 0))
    assert (result.engine.kind, result.engine.source, result.engine.samples) == ("top1", "engine", 16)
    assert result.unreduced.accuracy == 1.0 and result.unreduced.candidate_id == "r000"
    assert result.engine.accuracy == 13 / 16 and result.engine.candidate_id == "r004"
    assert result.engine.drop == 3 / 16 and result.engine.drop_ci == classification.drop_interval(3, 0, 16)
    assert result.unreduced.drop == 0 and result.skipped == ()


def test_gives_the_hosts_estimate_beside_the_engines(bundle, tmp_path):
    result = evaluate(bundle, ImageSource(labelled(tmp_path / "data"), 1000, 0))
    assert result.host.id == "r004" and result.host.accuracy == 0.75 and result.host_kind == "top1"
    assert result.host_expected is True  # 13 of 16 has an interval that holds 0.75


def test_says_where_the_host_expected_something_else(bundle, tmp_path):
    result = evaluate(bundle, ImageSource(labelled(tmp_path / "data", wrong=4), 1000, 0))
    assert result.engine.accuracy == 1 / 16 and result.host_expected is False


def test_doubts_labels_by_which_the_unreduced_engine_only_guesses(bundle, tmp_path, caplog):
    assert evaluate(bundle, ImageSource(labelled(tmp_path / "right"), 1000, 0)).unreduced.constant_accuracy == 0.25
    assert not caplog.records
    evaluate(bundle, ImageSource(labelled(tmp_path / "wrong", wrong=4), 1000, 0))
    assert caplog.text.count("no better than one answer to all, the commonest label (25.0%). Likely causes") == 1


def test_images_without_labels_give_agreement(bundle, tmp_path):
    for index in range(4):
        fakes.picture(3, HARD if index else 255).save(str(tmp_path / "{}.png".format(index)))
    result = evaluate(bundle, ImageSource(str(tmp_path), 1000, 0))
    assert result.engine.kind == "agreement" and result.engine.accuracy == 0.25
    assert result.engine.kl_divergence > 0 and result.unreduced.kl_divergence == 0
    assert result.host_expected is None  # the host's row is of another kind


def test_random_weights_give_agreement_even_with_labels(tmp_path):
    bundle = fakes.quadrant_bundle(tmp_path, model=fakes.quadrant_model(weights="random (seed 0)"))
    assert evaluate(bundle, ImageSource(labelled(tmp_path / "data"), 1000, 0)).engine.kind == "agreement"


@pytest.mark.parametrize("samples", [1, 7, 16, 100])
def test_batches_change_nothing_whatever_the_number_of_images(bundle, tmp_path, samples):
    data = labelled(tmp_path / "data")
    four = fakes.quadrant_bundle(tmp_path, batch=4)
    one_by_one, by_four = evaluate(bundle, ImageSource(data, samples, 5)), evaluate(four, ImageSource(data, samples, 5))
    assert one_by_one.engine.samples == min(samples, 16)
    assert one_by_one.engine.kl_divergence == pytest.approx(by_four.engine.kl_divergence, abs=1e-6)
    assert one_by_one.engine._replace(kl_divergence=0) == by_four.engine._replace(kl_divergence=0)


def test_skips_what_it_cannot_read_and_says_so(bundle, tmp_path, caplog):
    data = labelled(tmp_path / "data")
    (tmp_path / "data" / "2" / "broken.png").write_bytes(b"broken")
    with caplog.at_level(logging.WARNING):
        result = evaluate(bundle, ImageSource(data, 1000, 0))
    assert [path[-12:] for path in result.skipped] == ["2/broken.png"] and result.engine.samples == 16
    assert "broken.png: not an image" in caplog.text


def test_progress_ends_at_the_number_of_images(bundle, tmp_path):
    seen = []
    source = ImageSource(labelled(tmp_path / "data"), 1000, 0)
    evaluate(bundle, source, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (16, 16)


def test_explains_data_that_cannot_be_used(bundle, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"broken")
    with pytest.raises(InputError, match="none of the 1 images in .* can be read. Replace them"):
        evaluate(bundle, ImageSource(str(tmp_path), 10, 0))
    with pytest.raises(InputError):
        evaluate(bundle, ImageSource(str(tmp_path / "absent"), 10, 0))
    with pytest.raises(UsageError):
        evaluate(bundle, ImageSource(labelled(tmp_path / "data"), 0, 0))
