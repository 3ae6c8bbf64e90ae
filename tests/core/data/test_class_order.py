"""How names of classes become indices: each reading with its right values, and what is refused."""

import re

import pytest

from pomt_trt.core.data import class_order
from pomt_trt.core.data.class_order import CSV_LABELS, FOLDERS, Head, Names
from pomt_trt.core.errors import InputError
from pomt_trt.core.records import ClassOrder

NUMBERED = tuple(sorted("c{}".format(number) for number in range(1, 11)))  # c1, c10, c2, ...


def read(names, *head, **options):
    """(names in the order of their classes, the record); names given as one text, blanks between them."""
    names = tuple(names.split()) if isinstance(names, str) else tuple(names)
    index, order = class_order.indices(Names(names, options.get("kind", FOLDERS), "DATA"), Head(*head))
    assert order.in_data == len(names)
    return index, order


def refused(names, *head, **options):
    with pytest.raises(InputError) as caught:
        read(names, *head, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    "names",
    [
        "c1 c2 c10",
        "1 2 10 a b",
        "a1b2 a1b10 a2b1",
        "Ant ant bee Cat",
        "x x1 x01y x1z",
        "img9.5 img10.5",
        "7 07a 8",
        "\u0663 \u0664",
    ],
)
def test_natural_order_sorts_numbers_by_value_and_letters_without_case(names):
    shuffled = sorted(names.split(), key=lambda name: name[::-1])
    assert sorted(shuffled, key=class_order.natural_key) == names.split()


WNIDS = "n01440764 n02129165 n15075141"  # tench, lion and toilet paper
PLACES = {"n01440764": 0, "n02129165": 291, "n15075141": 999}
OWN = ("n02129165", "n01440764") + tuple("other {}".format(number) for number in range(998))
ANIMALS = ("Golden Retriever", "cat", "great-white shark")


@pytest.mark.parametrize(
    "names, head, expected, reading",
    [
        (NUMBERED, (10,), {"c{}".format(number): number - 1 for number in range(1, 11)}, "natural"),
        ("c1 c10 c2", (3, (), "string"), {"c1": 0, "c10": 1, "c2": 2}, "string"),
        ("0 1 10 11 2 9", (12,), {"0": 0, "1": 1, "2": 2, "9": 9, "10": 10, "11": 11}, "numbers"),
        ("1 10 2 3", (4,), {"1": 0, "2": 1, "3": 2, "10": 3}, "natural"),  # folders numbered from 1
        (WNIDS, (1000,), PLACES, "wnids"),
        (WNIDS, (1000, ("tench",) * 1000), PLACES, "wnids"),
        (WNIDS, (3,), {"n01440764": 0, "n02129165": 1, "n15075141": 2}, "natural"),
        ("n01440764 n02129165", (1000, OWN), {"n02129165": 0, "n01440764": 1}, "labels"),
        ("cat dog fox", (3, ("fox", "dog", "cat")), {"fox": 0, "dog": 1, "cat": 2}, "labels"),
        ("0 1 2", (3, ("2", "0", "1")), {"2": 0, "0": 1, "1": 2}, "labels"),
        ("golden_retriever Great_White_Shark", (3, ANIMALS), {"golden_retriever": 0, "Great_White_Shark": 2}, "labels"),
        ("C-4", (3, ("c 4", "C-4", "x")), {"C-4": 1}, "labels"),  # rather than the similar one
        ("C-4 c_4", (2, ("c 4", "C-4"), "natural"), {"C-4": 0, "c_4": 1}, "natural"),
    ],
)
def test_the_first_reading_that_fits_gives_each_name_its_class(names, head, expected, reading):
    index, order = read(names, *head)
    assert index == expected and order.reading == reading
    assert order.names == tuple(sorted(expected, key=expected.get))


@pytest.mark.parametrize(
    "names, ways",
    [
        ("n01440764 7 cat", "1 class number (7), 1 other name (cat), 1 wnid (n01440764)"),
        ("n01440764 n01443537 cat", "1 other name (cat), 2 wnids (n01440764, n01443537)"),
        ("7 8 9 10 cat", "4 class numbers (7, 8, 9, ...), 1 other name (cat)"),
        ("n01440764 7", "1 class number (7), 1 wnid (n01440764)"),
    ],
)
def test_names_of_mixed_spelling_are_refused_with_their_counts(names, ways):
    message = refused(names, len(names.split()))
    assert "DATA spells its classes in several ways: {}. Spell all in one way".format(ways) in message
    assert "--class-order natural, string or FILE" in message
    assert read(names, len(names.split()), (), "natural")[1].reading == "natural"


def test_names_of_which_some_are_label_names_are_refused():
    message = refused("cat dog wolf", 3, ("fox", "dog", "cat"))
    assert "2 known class names (cat, dog), 1 other name (wolf)" in message


def test_names_that_would_be_one_class_are_refused():
    assert "'1' and '01' are both class 1" in refused(["1", "01", "2"], 10)
    assert "'Cat' and 'cat' are both class 0" in refused("Cat cat", 2, ("cat", "dog"))


def test_a_name_that_two_classes_share_is_no_label():
    assert "no labels that match the head: 2 folders" in refused("crane ox", 3, ("crane", "ox", "crane"))


def test_folders_of_another_count_are_refused_with_both():
    message = refused("a b c d", 5)
    assert "no labels that match the head: 4 folders (a, b, c, ...), 5 classes in the head" in message
    assert "--labels FILE" in message and "give a folder of images alone" in message


@pytest.mark.parametrize(
    "names, head, message",
    [
        ("1 2 10", (10,), "has the class number 10, the model has 10 classes: 0 to 9. Number classes from 0"),
        ("cow dog", (2, ("cat", "dog")), "1 known class name (dog), 1 other name (cow)"),
        ("cow ox", (2, ("cat", "dog")), "labels that the model does not have (cow, ox): its label names are cat, dog"),
        ("cow ox", (3,), "no labels that match the head: 2 CSV labels (cow, ox), 3 classes"),
    ],
)
def test_csv_labels_that_contradict_the_model_are_refused(names, head, message):
    assert message in refused(names, *head, kind=CSV_LABELS)


def test_csv_labels_without_known_names_are_read_in_natural_order():
    assert read("c10 c2", 2, kind=CSV_LABELS)[0] == {"c2": 0, "c10": 1}


def order_file(tmp_path, text):
    (tmp_path / "order.txt").write_bytes(text.encode("utf-8"))
    return str(tmp_path / "order.txt")


def test_a_file_gives_the_models_order_and_may_name_more_than_the_data_have(tmp_path):
    path = order_file(tmp_path, "\ufeffzebra\nant \n bee\n\n")
    index, order = read("ant bee", 3, ("x", "y", "z"), path)
    assert index == {"ant": 1, "bee": 2}
    assert order == ClassOrder("file", FOLDERS, 2, ("zebra", "ant", "bee"))


@pytest.mark.parametrize(
    "text, message",
    [
        ("ant\nbee\n", "names 2 classes, the model has 3 classes"),
        ("ant\nbee\nant\n", "names ant twice, the model has 3 classes"),
        ("ant\nbee\nowl\n", "DATA has 1 folder that .*order.txt does not name: cow"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, text, message):
    assert re.search(message, refused("ant cow", 3, (), order_file(tmp_path, text)))


def test_an_absent_file_is_refused_with_what_may_be_given():
    assert "cannot read --class-order nowhere.txt" in refused("a b", 2, (), "nowhere.txt")


def test_an_asked_order_needs_all_classes():
    message = refused("a b", 3, (), "string")
    assert "has 2 folders, the model has 3 classes: --class-order string needs all of them" in message


def test_a_bundle_is_evaluated_in_the_order_that_it_was_compiled_with():
    compiled = ClassOrder("string", FOLDERS, 3, ("c1", "c10", "c2"))
    index, order = read("c10 c2", 3, (), None, compiled)
    assert index == {"c10": 1, "c2": 2}
    assert order == ClassOrder("string", FOLDERS, 2, ("c1", "c10", "c2"))
    assert read("c1 c10 c2", 3, (), "natural", compiled)[0] == {"c1": 0, "c2": 1, "c10": 2}
    assert read("0 2", 3, (), None, compiled)[1].reading == "numbers"
    assert "2 known class names (c1, c10), 1 other name (c3)" in refused("c1 c10 c3", 3, (), None, compiled)


@pytest.mark.parametrize(
    "order, labels, line",
    [
        (
            ClassOrder("natural", FOLDERS, 10, tuple("c{}".format(number) for number in range(1, 11))),
            (),
            "classes: 10 folders, in natural order: c1, c2, ... c10",
        ),
        (ClassOrder("labels", FOLDERS, 1, ("a",)), ("a", "b"), "classes: 1 folder, by the model's label names: a"),
        (
            ClassOrder("file", CSV_LABELS, 2, ("a", "b", "c")),
            (),
            "classes: 2 CSV labels, in the order of the --class-order file of 3 names: a, b, c",
        ),
        (
            ClassOrder("natural", FOLDERS, 2, ("a", "b")),
            ("cat", "dog"),
            "classes: 2 folders, in natural order: a, b (none of them is a label name of the model, such as cat)",
        ),
    ],
)
def test_a_reading_is_told_in_one_line(order, labels, line):
    assert class_order.describe(order, labels) == line


def test_nothing_is_said_where_there_are_no_classes(capsys):
    class_order.say_classes(None, ())
    class_order.say_classes(ClassOrder("numbers", FOLDERS, 1, ("7",)), ())
    assert capsys.readouterr().err == "classes: 1 folder, by class number: 7\n"
