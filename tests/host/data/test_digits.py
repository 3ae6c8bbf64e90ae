"""The digits as data, and the bundled model that was trained on them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pomt_trt
from pomt_trt.core.errors import MissingDependency
from pomt_trt.host.data import bundled, digits

SHIPPED = Path(pomt_trt.__file__).resolve().parent / "zoo" / "digits"


def test_held_out_samples_never_appear_in_training():
    samples, labels = digits._load()
    kept_back = digits._split(labels, held_out=True)
    trained = digits._split(labels, held_out=False)
    assert set(kept_back).isdisjoint(trained)
    assert len(kept_back) + len(trained) == len(labels)
    looks = {samples[number].tobytes() for number in trained}  # nor as a duplicate under another number
    assert not any(samples[number].tobytes() in looks for number in kept_back)


def test_pictures_are_drawn_from_their_own_side_of_the_split():
    samples, labels = digits._load()
    for draw, held_out in ((digits.held_out, True), (digits.training, False)):
        chosen = digits._split(labels, held_out=held_out)
        images, drawn_labels = draw(seed=3)
        assert np.array_equal(drawn_labels, labels[chosen])
        for number in (0, 100, 400):
            ink = digits._enlarge(samples[chosen[number]]).astype(int).sum()
            assert images[number].astype(int).sum() == ink


def test_every_class_is_held_out_to_a_quarter():
    held, kept = (np.bincount(labels) for _, labels in (digits.held_out(), digits.training()))
    assert np.array_equal(held, [round(int(n) / 4) for n in held + kept])


def test_the_first_ten_pictures_show_every_digit():
    assert sorted(digits.held_out()[1][:10]) == list(range(10))


def test_same_seed_gives_same_pictures():
    for draw in (digits.held_out, digits.training):
        for first, second in zip(draw(seed=5), draw(seed=5), strict=True):
            assert np.array_equal(first, second)


def test_another_seed_moves_the_digits_but_keeps_their_order():
    images, labels = digits.training(seed=1)
    moved, same_labels = digits.training(seed=2)
    assert not np.array_equal(images, moved)
    assert np.array_equal(labels, same_labels)


def test_a_picture_is_one_digit_on_a_black_canvas():
    images, labels = digits.held_out()
    assert images.shape == (450, 28, 28) and images.dtype == np.uint8
    assert labels.shape == (450,) and labels.dtype == np.int64
    for image in images:
        rows, columns = np.nonzero(image)
        assert np.ptp(rows) < digits.DIGIT_PX and np.ptp(columns) < digits.DIGIT_PX
    assert images.max() > 240


def test_digits_reach_every_edge_of_the_canvas():
    seen = digits.held_out()[0].max(axis=0)  # (28, 28)
    assert seen[0].any() and seen[-1].any() and seen[:, 0].any() and seen[:, -1].any()


def test_without_scikit_learn_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)  # None makes the import fail
    with pytest.raises(MissingDependency, match=r"scikit-learn.*pip install 'pomt-trt\[host\]'"):
        digits.held_out()


@pytest.fixture(scope="module")
def shipped():
    timm = pytest.importorskip("timm", reason="the bundled model is loaded through timm")
    return timm.create_model(f"local-dir:{SHIPPED}", pretrained=True).eval()


def test_shipped_model_classifies_held_out_pictures(shipped, tmp_path):
    """Through files and timm's own transform, as a user's pictures go."""
    import timm
    import torch

    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(shipped))
    bundled.write_folder("digits", tmp_path, count=200)  # of 450, for time
    files = sorted(tmp_path.glob("*/*.png"))
    batch = torch.stack([transform(Image.open(file)) for file in files])  # (200, 1, 28, 28)
    labels = torch.tensor([int(file.parent.name) for file in files])
    with torch.inference_mode():
        guesses = torch.cat([shipped(images).argmax(dim=1) for images in batch.split(50)])
    right = (guesses == labels).float().mean().item()
    assert right >= 0.97


def test_shipped_model_is_a_plain_vit_of_197_tokens(shipped):
    import timm
    import torch

    assert type(shipped) is timm.models.VisionTransformer
    assert shipped.pos_embed.shape == (1, 197, 64) and len(shipped.blocks) == 12
    assert {parameter.dtype for parameter in shipped.parameters()} == {torch.float32}


def test_shipped_model_says_how_to_feed_it(shipped):
    import timm

    config = timm.data.resolve_model_data_config(shipped)
    assert config["input_size"] == (1, 28, 28)
    assert (tuple(config["mean"]), tuple(config["std"])) == ((0.5,), (0.5,))
    assert (config["interpolation"], config["crop_pct"], config["crop_mode"]) == ("bicubic", 1.0, "center")
    labels = json.loads((SHIPPED / "config.json").read_text())["pretrained_cfg"]["label_names"]
    assert labels == [str(digit) for digit in range(10)]


def test_shipped_files_stay_small():
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 2_000_000
