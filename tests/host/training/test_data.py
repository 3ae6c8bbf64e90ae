"""Pictures to train on: split once, in an order and with an augmentation that seed, epoch and picture decide."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from pomt_trt.core.errors import InputError, UsageError
from pomt_trt.host.data import bundled, image_batches
from pomt_trt.host.models import loading
from pomt_trt.host.training import data
from tests import compiled
from tests.host import tiny


def folder():
    return os.path.join(compiled.source(), "data")


@pytest.fixture(scope="module")
def spec():
    return loading.load(tiny.vit()).spec


def load(spec, **changes):
    return data.load(**{"data": folder(), "spec": spec, "validation": 0.3, "augment": True, "seed": 0, **changes})


def everything(pictures):
    return [pictures[number] for number in range(len(pictures))]


def test_every_picture_is_in_one_set(spec):
    sets = load(spec, augment=False)
    assert (len(sets.training), len(sets.validation), len(sets.calibration)) == (7, 3, 7)
    seen = {
        tuple(image.flatten()[:20].tolist()) for image, _ in everything(sets.training) + everything(sets.validation)
    }
    assert len(seen) == 10


def test_a_picture_of_an_epoch_is_the_same_however_it_is_asked_for(spec):
    once, again = load(spec).training, load(spec).training
    once.begin(2)
    again.begin(2)
    torch.rand(3)
    backwards = [again[number] for number in reversed(range(len(again)))][::-1]
    for (image, label), (other, same) in zip(everything(once), backwards, strict=True):
        assert torch.equal(image, other) and label == same


def test_epochs_differ_in_order_and_augmentation(spec):
    pictures = load(spec).training
    first = everything(pictures)
    pictures.begin(1)
    assert any(
        not torch.equal(image, other) for (image, _), (other, _) in zip(first, everything(pictures), strict=True)
    )
    assert [label for _, label in first] != [label for _, label in everything(pictures)]


def test_drawing_leaves_the_callers_randomness_alone(spec):
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    load(spec).training[0]
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("pooling", ["token", ""])
def test_validation_pictures_are_seen_as_models_are_evaluated(pooling, tmp_path):
    """With their labels or label maps."""
    spec, path = loading.load(tiny.vit(global_pool=pooling)).spec, str(tmp_path / "data")
    write, classes = (compiled.write_pictures, {}) if pooling else (compiled.write_label_maps, {"classes": 5})
    write(path, **classes)
    known = image_batches.load(path, spec, 100, 0)
    whole = next(known.batches(100))
    for image, label in everything(load(spec, data=path).validation):
        at = [number for number, other in enumerate(whole) if torch.allclose(image, other, atol=1e-6)]
        assert at and torch.equal(known.labels[at[0]], torch.as_tensor(label))


def test_the_fingerprint_knows_names_labels_and_sizes(spec, tmp_path):
    compiled.write_pictures(str(tmp_path / "a"))
    compiled.write_pictures(str(tmp_path / "b"))
    same = load(spec, data=str(tmp_path / "a")).sha256, load(spec, data=str(tmp_path / "b")).sha256
    os.rename(str(tmp_path / "b" / "0" / "0.png"), str(tmp_path / "b" / "1" / "7.png"))
    assert same[0] == same[1] != load(spec, data=str(tmp_path / "b")).sha256


@pytest.mark.parametrize("name", bundled.BUNDLED)
def test_bundled_pictures_are_new_in_every_epoch_of_training_alone(name):
    sets = data.load(None, loading.load(name).spec, validation=0.2, augment=True, seed=0)
    assert sets.source == name and len(sets.training) + len(sets.validation) == 1797 - 450  # held out
    looks = []
    for epoch in (0, 1):
        for pictures in sets[:3]:
            pictures.begin(epoch)
        looks.append([{image.numpy().tobytes() for image, _ in everything(pictures)} for pictures in sets[:3]])
    training, *others = [len(first & second) / len(first) for first, second in zip(*looks, strict=True)]
    assert training < 0.05 and others == [1, 1]


def test_bundled_pictures_of_another_size_are_refused():
    with pytest.raises(InputError, match="digits has pictures of 28 pixels, not 56. Give --data DIR"):
        data.load(None, loading.load("digits", image_size=56).spec, validation=0.2, augment=True, seed=0)


def test_a_scene_has_its_own_label_map():
    sets = data.load(None, loading.load("scenes").spec, validation=0.2, augment=True, seed=0)
    for pixels, labels in everything(sets.validation)[:20]:
        assert pixels.shape == (1, 28, 28) and labels.shape == (28, 28) and labels.max() > 0
        assert (pixels[0][labels > 0] > -0.5).all() and (pixels[0][labels == 0] < -0.49).all()


@pytest.fixture(scope="module")
def dense():
    return loading.load(tiny.vit(global_pool="")).spec


def halves(folder):
    """Pictures whose left is black and of class 0, whose right is white and of class 1."""
    for kind, bright in (("images", 255), ("labels", 1)):
        (folder / kind).mkdir(parents=True)
        for number in range(6):
            pixels = np.zeros((30 + number, 40), np.uint8)
            pixels[:, 20:] = bright
            Image.fromarray(pixels).save(folder / kind / f"{number}.png")
    return str(folder)


def test_a_label_map_is_cropped_and_mirrored_with_its_image(dense, tmp_path):
    sets = load(dense, data=halves(tmp_path))
    seen = set()
    for epoch in range(4):
        sets.training.begin(epoch)
        for pixels, labels in everything(sets.training):
            assert labels.dtype == torch.uint8 and labels.shape == (16, 16)
            inner = labels[:, 1:-1]
            alone = (inner == labels[:, :-2]) & (inner == labels[:, 2:])  # next to the edge an image is grey
            assert torch.equal((pixels.mean(0)[:, 1:-1] > 0)[alone], inner.bool()[alone])
            seen.add((int(labels[0, 0]), int(labels.sum())))
    assert {first for first, _ in seen} == {0, 1} and len(seen) > 4


def test_a_label_outside_the_classes_is_named_with_its_file(dense, tmp_path):
    compiled.write_label_maps(str(tmp_path / "data"), classes=9)
    sets = load(dense, data=str(tmp_path / "data"))
    with pytest.raises(InputError, match=r"labels/\d.png holds the label [5-8], the model has 5 classes"):
        everything(sets.training)


def test_images_without_label_maps_teach_nothing(dense):
    with pytest.raises(InputError, match=r"has no labels.*Put label maps beside images"):
        load(dense)


def test_unlabelled_pictures_teach_nothing(spec, tmp_path):
    compiled.write_pictures(str(tmp_path / "all"), classes=1)
    with pytest.raises(InputError, match=r"has no labels.*Put the images in a folder for each class"):
        load(spec, data=str(tmp_path / "all" / "0"))


def test_a_damaged_picture_is_named(spec, tmp_path):
    compiled.write_pictures(str(tmp_path / "all"))
    (tmp_path / "all" / "0" / "0.png").write_bytes(b"no picture")
    sets = load(spec, data=str(tmp_path / "all"))
    with pytest.raises(InputError, match=r"0.png: not an image of any known format. Leave it out"):
        everything(sets.training) + everything(sets.validation)


@pytest.mark.parametrize("share", [0, 1, -0.2])
def test_validation_takes_some_and_leaves_some(spec, share):
    with pytest.raises(UsageError, match="between 0 and 1"):
        load(spec, validation=share)


def test_class_folders_are_read_in_the_order_that_is_asked_for(spec, tmp_path):
    compiled.write_pictures(str(tmp_path / "all"))
    for number in range(5):
        os.rename(str(tmp_path / "all" / str(number)), str(tmp_path / "all" / f"c{3 * number}"))  # c0, c3, ... c12
    natural = load(spec, data=str(tmp_path / "all"))
    by_string = load(spec, data=str(tmp_path / "all"), class_order="string")
    assert natural.class_order.names == ("c0", "c3", "c6", "c9", "c12")
    assert by_string.class_order.names == ("c0", "c12", "c3", "c6", "c9")
    assert natural.sha256 != by_string.sha256
