"""Class folders are read as timm and torchvision read them, and right on the bundled digits."""

import pytest
import torch
from timm.data.readers.reader_image_folder import find_images_and_targets
from torchvision.datasets import ImageFolder

from pomt_trt.core.data import dataset
from pomt_trt.core.data.class_order import Head
from pomt_trt.core.errors import UsageError
from pomt_trt.host.data import bundled, image_batches
from pomt_trt.host.models import loading

NAMES = ["c1", "c2", "c10", "C3", "n9", "n10b", "n10a", "B", "a", "x1y2", "x1y10", "x01y3"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("folders")
    for name in NAMES:
        (root / name).mkdir()
        (root / name / "1.png").write_bytes(b"")
    return root


@pytest.mark.parametrize(
    "asked, read_by",
    [
        (None, lambda root: find_images_and_targets(root)[1]),
        ("natural", lambda root: find_images_and_targets(root)[1]),
        ("string", lambda root: ImageFolder(root).class_to_idx),
    ],
)
def test_natural_order_is_timms_and_string_order_is_torchvisions(folders, asked, read_by):
    found = dataset.find(str(folders), Head(len(NAMES), (), asked))
    assert {name: index for index, name in enumerate(found.class_order.names)} == read_by(str(folders))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """50 of the bundled digits; 0 lies in c1, 9 in c10."""
    root = tmp_path_factory.mktemp("digits")
    bundled.write_folder("digits", root, 50)
    for number in range(10):
        (root / str(number)).rename(root / f"c{number + 1}")
    return str(root)


@pytest.mark.parametrize("asked, least, most", [(None, 0.9, 1.0), ("natural", 0.9, 1.0), ("string", 0.0, 0.3)])
def test_digits_in_numbered_folders_are_judged_right(digits, asked, least, most):
    loaded = loading.load("digits")
    images = image_batches.load(digits, loaded.spec, 50, 0, class_order=asked)
    with torch.inference_mode():
        predicted = torch.cat([loaded.module(batch).argmax(1) for batch in images.batches(25)])
    assert least <= (predicted == images.labels).float().mean() <= most
    assert images.class_order.reading == (asked or "natural") and images.class_order.in_data == 10


def test_an_order_for_data_without_classes_is_refused(digits):
    spec = loading.load("digits").spec
    for asked in (spec, spec._replace(task="segmentation")):
        with pytest.raises(UsageError, match="--class-order string is given, and .*c1 names no classes"):
            dataset.find_for(digits + "/c1", asked, "string")
