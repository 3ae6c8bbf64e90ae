"""core/data/value_labels: several labels an image and values, through dataset.find_for."""

import pytest

from pomt_trt.core.data import dataset
from pomt_trt.core.errors import InputError
from pomt_trt.core.records import MULTILABEL, REGRESSION, ModelSpec, Preprocessing

LOOK = Preprocessing(16, 16, 3, (0.5,) * 3, (0.5,) * 3)


def spec(task, classes, labels=()):
    return ModelSpec("m", "m", "module", 1, 8, 1, 4, 1, classes, LOOK, labels=labels, task=task)


def table(folder, text):
    """A CSV file, and the images that its rows name."""
    for row in text.splitlines():
        if row.split(",")[0].endswith(".png"):
            (folder / row.split(",")[0]).write_bytes(b"")
    path = folder / "labels.csv"
    path.write_text(text)
    return str(path)


def labels_of(path, model):
    found = dataset.find_for(path, model)
    assert found.kind == "labelled"
    return [item.label for item in found.items]


ANIMALS = spec(MULTILABEL, 3, ("cat", "dog", "emu"))


@pytest.mark.parametrize(
    "text",
    [
        "image,labels\na.png,cat,emu\nb.png\nc.png,dog\n",
        "a.png,cat|emu\nb.png,\nc.png,dog\n",
        "a.png,0,2\nb.png,\nc.png,1\n",
        "image,emu,dog,cat,note\na.png,1,0,1,x\nb.png,0,0,0,\nc.png,0,1,0,\n",
    ],
)
def test_several_labels_an_image_are_read_in_each_spelling(text, tmp_path):
    assert labels_of(table(tmp_path, text), ANIMALS) == [(1, 0, 1), (0, 0, 0), (0, 1, 0)]
    assert labels_of(str(tmp_path), ANIMALS) == [(1, 0, 1), (0, 0, 0), (0, 1, 0)]


def test_values_are_numbers(tmp_path):
    path = table(tmp_path, "image,age,height\na.png,31,1.7e2\nb.png,-4.5,0\n")
    assert labels_of(path, spec(REGRESSION, 2)) == [(31.0, 170.0), (-4.5, 0.0)]


@pytest.mark.parametrize(
    "model, text, said",
    [
        (ANIMALS, "a.png,cow\n", "the label 'cow', which the model does not have: its 3 labels are cat, dog, emu"),
        (ANIMALS, "a.png,3\n", "the label '3', which the model does not have"),
        (ANIMALS, "image,cat,dog\na.png,1,0\n", "columns of 2 of the model's 3 labels; emu is absent"),
        (ANIMALS, "image,cat,dog,emu\na.png,1,yes,0\n", "has 'yes' for .*a.png: write 0 or 1 under a label's name"),
        (spec(REGRESSION, 1), "a.png,old\n", "the values old, and the model has one output. Write one number"),
        (spec(REGRESSION, 1), "a.png,nan\n", "the values nan, and the model has one output"),
        (spec(REGRESSION, 2), "a.png,1\n", "the values 1, and the model has 2 outputs"),
    ],
)
def test_labels_that_do_not_fit_the_model_are_refused(model, text, said, tmp_path):
    with pytest.raises(InputError, match=said):
        dataset.find_for(table(tmp_path, text), model)


def test_without_labels_images_are_unlabelled(tmp_path):
    assert dataset.find_for(table(tmp_path, "a.png\nb.png\n"), ANIMALS).kind == "unlabelled"
    (tmp_path / "labels.csv").unlink()
    assert dataset.find_for(str(tmp_path), ANIMALS).kind == "unlabelled"
    with pytest.raises(InputError, match="there is no .*nowhere"):
        dataset.find_for(str(tmp_path / "nowhere"), ANIMALS)
