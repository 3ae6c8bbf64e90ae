"""host/data/image_batches: files, digits or random pictures, exactly as timm would feed them."""

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from pomt_trt.core.errors import InputError, UsageError
from pomt_trt.core.records import ModelSpec, Preprocessing
from pomt_trt.device.deploy import preprocess
from pomt_trt.host.data import bundled, image_batches
from pomt_trt.host.models import loading

COLOUR = Preprocessing(32, 32, 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic", 0.9, "center")
GREY = Preprocessing(28, 28, 1, (0.1,), (0.3,), "bilinear", 1.0, "center")


def spec(preprocessing=COLOUR, classes=2, name="some_vit"):
    return ModelSpec(name, "vit", "checkpoint", 2, 32, 4, 4, 1, classes, preprocessing)


def picture(path, seed, size=(60, 45)):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.RandomState(seed).randint(256, size=(5, 7, 3), dtype=np.uint8)
    Image.fromarray(values).resize(size).save(path)


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        picture(tmp_path / "cat" / f"{number}.jpg", number)
        picture(tmp_path / "dog" / f"{number}.png", number + 3)
    return tmp_path


@pytest.mark.parametrize(
    "preprocessing",
    [
        COLOUR,
        GREY,
        COLOUR._replace(crop_mode="squash"),
        COLOUR._replace(crop_mode="border", interpolation="bilinear"),
        COLOUR._replace(height=32, width=48),
    ],
)
def test_batches_are_bit_for_bit_what_timms_transform_makes(folder, preprocessing):
    images = image_batches.load(str(folder), spec(preprocessing), 6, 0)
    how = preprocessing._asdict()
    assert not how.pop("exif"), "timm has no such setting"
    size = (how.pop("channels"), how.pop("height"), how.pop("width"))
    transform = create_transform(input_size=size, is_training=False, **how)
    paths = sorted(folder.glob("*/*"))
    expected = torch.stack([transform(Image.open(path).convert("L" if size[0] == 1 else "RGB")) for path in paths])
    assert torch.equal(torch.cat(list(images.batches(4))), expected)
    assert images.kind == "labelled" and images.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_batches_come_in_the_same_order_each_time_and_the_last_is_smaller(folder):
    images = image_batches.load(str(folder), spec(), 5, 7)
    assert [len(batch) for batch in images.batches(2)] == [2, 2, 1]
    assert torch.equal(torch.cat(list(images.batches(2))), torch.cat(list(images.batches(5))))


def test_a_damaged_image_is_left_out_with_its_label_and_named(folder, caplog):
    (folder / "cat" / "1.jpg").write_bytes(b"not a picture")
    whole = (folder / "dog" / "0.png").read_bytes()
    (folder / "dog" / "0.png").write_bytes(whole[: len(whole) // 2])
    images = image_batches.load(str(folder), spec(), 6, 0)
    assert len(images) == 4 and images.labels.tolist() == [0, 0, 1, 1]
    assert "1.jpg: not an image of any known format" in caplog.text and "0.png: image file is trunc" in caplog.text


def test_a_folder_of_damaged_images_is_refused(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(
        InputError, match="none of 1 images can be read, among them .*a.jpg. Open one in an image viewer"
    ):
        image_batches.load(str(tmp_path), spec(), 6, 0)


def test_progress_counts_every_file(folder):
    seen = []
    image_batches.load(str(folder), spec(), 4, 0, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_images_without_labels_are_unlabelled(tmp_path):
    picture(tmp_path / "a.png", 0)
    images = image_batches.load(str(tmp_path), spec(), 6, 0)
    assert images.kind == "unlabelled" and images.labels is None


def test_without_data_pictures_are_random_seeded_and_different():
    images = image_batches.load(None, spec(), 3, 0)
    assert images.kind == "random" and images.labels is None and images.stored.shape == (3, 32, 32, 3)
    assert np.array_equal(images.stored, image_batches.load(None, spec(), 3, 0).stored)
    assert not np.array_equal(images.stored, image_batches.load(None, spec(), 3, 1).stored)
    assert not np.array_equal(images.stored[0], images.stored[1])
    assert image_batches.load(None, spec(GREY), 3, 0).stored.shape == (3, 28, 28, 1)


@pytest.fixture
def label_maps(tmp_path):
    """Pictures of several sizes whose label maps are their own first channel, coarsely."""
    for number, size in enumerate([(60, 45), (32, 32), (20, 70)]):
        picture(tmp_path / "images" / f"{number}.png", number, size=size)
        (tmp_path / "labels").mkdir(exist_ok=True)
        with Image.open(tmp_path / "images" / f"{number}.png") as image:
            labels = np.asarray(image)[:, :, 0] // 64
        labels[:3] = 255
        Image.fromarray(labels).save(tmp_path / "labels" / f"{number}.png")
    return tmp_path


@pytest.mark.parametrize("changes", [{}, {"crop_mode": "squash"}, {"crop_mode": "border"}, {"width": 48}])
def test_label_maps_are_cropped_with_their_images_as_on_a_board(label_maps, changes):
    look = COLOUR._replace(**changes)
    images = image_batches.load(str(label_maps), spec(look, 4)._replace(task="segmentation"), 3, 0)
    assert images.kind == "labelled" and images.labels.shape == (3, look.height, look.width)
    for number, found in enumerate(images.labels.numpy()):
        with Image.open(label_maps / "labels" / f"{number}.png") as labels:
            assert np.array_equal(found, preprocess.crop_labels(np.asarray(labels), look))
    padded = images.labels.numpy()[(images.stored == 124).all(axis=3)] if changes == {"crop_mode": "border"} else []
    assert set(padded) <= {255}


def test_a_label_outside_the_classes_is_named_with_its_file(label_maps):
    with pytest.raises(InputError, match=r"0.png holds the label 3, the model has 3 classes: 0 to 2"):
        image_batches.load(str(label_maps), spec(COLOUR, 3)._replace(task="segmentation"), 3, 0)


def test_a_damaged_label_map_stops_everything(label_maps):
    (label_maps / "labels" / "1.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="labels/1.png: not an image of any known format. Replace this label map"):
        image_batches.load(str(label_maps), spec(COLOUR, 4)._replace(task="segmentation"), 3, 0)


@pytest.mark.parametrize("name", bundled.BUNDLED)
def test_without_data_the_pictures_of_a_bundled_model_are_the_held_out_ones(name):
    images = image_batches.load(None, loading.load(name).spec, 20, 0)
    pictures, labels = bundled.BUNDLED[name](held_out=True)
    assert images.kind == "labelled" and np.array_equal(images.labels, labels[:20])
    assert np.array_equal(images.stored[..., 0], pictures[:20])


def test_no_samples_are_refused():
    with pytest.raises(UsageError, match="0 samples were asked for: ask for 1 or more"):
        image_batches.load(None, spec(), 0, 0)
