"""core/data/dataset: which files, which labels, and what is said where they do not fit. Python 3.6, without torch."""

import os

import pytest

from pomt_trt.core.data import dataset
from pomt_trt.core.data.class_order import Head
from pomt_trt.core.errors import InputError, UsageError
from tests import fakes


def make(root, *paths):
    """Empty files: nothing here decodes an image."""
    for path in paths:
        os.makedirs(os.path.dirname(str(root.join(path))), exist_ok=True)
        root.join(path).write("")
    return str(root)


def find(root, *head):
    return dataset.find(root, Head(*head))


def labels_of(images):
    return [(os.path.basename(path), label) for path, label, _ in images.items]


@pytest.mark.parametrize(
    "files, kind, labels",
    [
        ("dog/b.png cat/c.JPEG cat/a.jpg fox/d.webp", "labelled", {"a.jpg": 0, "c.JPEG": 0, "b.png": 1, "d.webp": 2}),
        ("a/1.png b/notes.txt c/2.png", "labelled", {"1.png": 0, "2.png": 2}),  # a class without images keeps its place
        ("b.png more/a.png", "unlabelled", {"b.png": None, "a.png": None}),
        ("a.png .b.png c.txt .hidden/d.png __MACOSX/e.png ._f.png", "unlabelled", {"a.png": None}),
    ],
)
def test_a_folder_of_folders_is_labelled_by_them_in_sorted_order(tmpdir, files, kind, labels):
    images = find(make(tmpdir, *files.split()), 3)
    assert images.kind == kind and labels_of(images) == list(labels.items())


def test_the_folder_above_train_and_val_is_told_apart(tmpdir):
    root = make(tmpdir, "train/a/1.png", "val/a/1.png")
    with pytest.raises(InputError, match="or give --data .*val"):
        find(root, 1000)


@pytest.mark.parametrize("path", ["notes.txt", "a/notes.txt"])
def test_a_folder_without_images_is_refused_by_name(tmpdir, path):
    root = make(tmpdir, path)
    with pytest.raises(InputError, match="holds no image. Images end in .jpg") as caught:
        find(root, 1)
    assert root in str(caught.value)


def test_an_absent_path_is_refused_with_what_to_give():
    with pytest.raises(InputError, match="there is no /nowhere/at/all. Give --data a folder of images or a CSV file"):
        find("/nowhere/at/all", 10)


def write_csv(tmpdir, text, name="list.csv"):
    make(tmpdir, "a.png", "b.png")
    tmpdir.join(name).write_binary(text.encode("utf-8"))
    return str(tmpdir.join(name))


@pytest.mark.parametrize("header", ["", "image,label\n", "\ufeffFile,Class\n"])
def test_a_csv_file_gives_class_numbers_with_or_without_a_header(tmpdir, header):
    path = write_csv(tmpdir, header + "b.png, 3\n\na.png,0\n")
    images = find(path, 10)
    assert images.kind == "labelled" and labels_of(images) == [("b.png", 3), ("a.png", 0)]


def test_a_labels_file_in_a_flat_folder_labels_it(tmpdir):
    write_csv(tmpdir, "a.png,1\nb.png,0\n", name="labels.csv")
    assert labels_of(find(str(tmpdir), 2)) == [("a.png", 1), ("b.png", 0)]


def test_a_csv_file_without_labels_is_unlabelled(tmpdir):
    assert find(write_csv(tmpdir, "a.png\nb.png\n"), 10).kind == "unlabelled"


@pytest.mark.parametrize(
    "text, message",
    [
        ("a.png,1\nb.png\n", r"no label for 1 of its 2 images .*b.png\). Add them"),
        ("a.png,1\nz.png,2\n", r"1 of the 2 images in .* do not exist .*z.png\). Write paths relative to the CSV file"),
        ("image,label\n", "holds no image"),
        ("", "holds no image"),
    ],
)
def test_a_csv_file_that_does_not_fit_is_explained(tmpdir, text, message):
    with pytest.raises(InputError, match=message):
        find(write_csv(tmpdir, text), 10)


@pytest.mark.parametrize("rows", ["a.png,1,3\nb.png,0\n", "a.png,1\nb.png,0\na.png,3\n", "a.png,1,,3\n"])
def test_several_labels_of_an_image_are_refused(tmpdir, rows):
    with pytest.raises(InputError, match="gives a.png 2 labels .*one class an image. Write rows .image,label."):
        dataset.find(write_csv(tmpdir, rows), 10)


def test_an_image_may_be_listed_twice_with_one_label(tmpdir):
    assert len(dataset.find(write_csv(tmpdir, "a.png,1\na.png,1,\n"), Head(10)).items) == 2


def test_a_file_that_is_no_csv_is_explained(tmpdir):
    tmpdir.join("picture.png").write_binary(bytes(range(256)))
    with pytest.raises(InputError, match="is not a CSV file.*Give --data a folder of images"):
        find(str(tmpdir.join("picture.png")), 10)


def scenes(tmpdir, labels=("a.png", "deep/b.png")):
    make(tmpdir, "images/a.jpg", "images/deep/b.png", *["labels/" + name for name in labels])
    return dataset.find_for(str(tmpdir), fakes.quadrant_model()._replace(task="segmentation"))


def test_images_have_label_maps_of_their_name(tmpdir):
    images = scenes(tmpdir)
    assert images.kind == "labelled" and {item.label for item in images.items} == {None}
    pairs = [tuple(os.path.relpath(path, str(tmpdir)) for path in (i.path, i.label_map)) for i in images.items]
    assert pairs == [("images/a.jpg", "labels/a.png"), ("images/deep/b.png", "labels/deep/b.png")]


def test_an_image_without_its_label_map_is_named(tmpdir):
    with pytest.raises(InputError, match=r"1 of the 2 images in .*images have no label map \(.*b.png\). Add them"):
        scenes(tmpdir, ["a.png"])


def test_without_label_maps_all_images_are_unlabelled(tmpdir):
    images = scenes(tmpdir, [])
    assert images.kind == "unlabelled" and len(images.items) == 2


def test_label_maps_without_a_folder_are_refused(tmpdir):
    with pytest.raises(InputError, match="there is no folder .*absent. Give --data"):
        dataset.find_label_maps(str(tmpdir.join("absent")))


def numbered(count):
    return dataset.Dataset(tuple(dataset.Item(str(number), number) for number in range(count)), "labelled")


def test_a_sample_is_seeded_without_repeats_and_in_order():
    drawn = dataset.sample(numbered(100), 20, seed=1)
    numbers = [item.label for item in drawn.items]
    assert len(set(numbers)) == 20 and numbers == sorted(numbers)
    assert drawn == dataset.sample(numbered(100), 20, seed=1) != dataset.sample(numbered(100), 20, seed=2)


def test_a_sample_is_the_same_on_every_python():
    assert [item.label for item in dataset.sample(numbered(100), 5, seed=0).items] == [5, 33, 49, 53, 97]


def test_a_sample_larger_than_the_dataset_is_all_of_it():
    assert dataset.sample(numbered(3), 9, seed=0) == numbered(3)


def test_a_sample_of_none_is_refused():
    with pytest.raises(UsageError, match="0 samples were asked for: ask for 1 or more"):
        dataset.sample(numbered(3), 0, seed=0)


@pytest.mark.long
def test_a_folder_of_100000_files_is_listed_and_sampled(tmpdir):
    for number in range(100000):
        os.close(os.open(str(tmpdir.join("{}.png".format(number))), os.O_CREAT))
    images = dataset.sample(find(str(tmpdir), 2), 8, 0)
    assert len(images.items) == 8 and images.kind == "unlabelled"
