"""Maps the names of classes in the data to indices of the model's outputs.

The first reading that fits all names is used:
1. the model's label names (timm's configuration, or --labels), and on a board the names that the bundle was compiled
   with;
2. for a head of 1000 classes, ImageNet's wnids, in sorted order;
3. class numbers from 0;
4. where there are as many names as classes, natural order (c1, c2, c10), as in timm's reader. torchvision's ImageFolder
   has string order (c1, c10, c2): `--class-order string`.
Names of several kinds (some numbers, some wnids, some names) are refused, since no reading fits all of them.
"""

import os
import re
import sys
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

from pomt_trt.core.errors import InputError
from pomt_trt.core.records import ClassOrder

NATURAL, STRING, FILE, LABELS, WNIDS, NUMBERS = "natural", "string", "file", "labels", "wnids", "numbers"
FOLDERS, CSV_LABELS = "folder", "CSV label"  # kinds of names
HOW = {
    NATURAL: "in natural order",
    STRING: "in string order",
    FILE: "in the order of the --class-order file",
    LABELS: "by the model's label names",
    WNIDS: "by their ImageNet wnids",
    NUMBERS: "by class number",
}
IMAGENET_CLASSES = 1000
ANY_NUMBER = 0  # of classes: the data's own, for a model without a head
BY_PLACE = (NATURAL, STRING, FILE)  # readings in which the position of a name is its class
WNID = re.compile(r"n\d{8}")
OWN_ORDER = "or choose how they are read: --class-order natural, string or FILE"
CLASS_ORDER_WITHOUT_DATA = "--class-order is given without --data. Give the data that it is about, or leave it out."


class Head(NamedTuple):
    """What is known of a model's classes before the data are read."""

    classes: int  # or ANY_NUMBER
    labels: Tuple[str, ...] = ()  # names of the classes in the head's order, where known
    class_order: Optional[str] = None  # --class-order: natural, string or a file; None: the first reading that fits
    compiled: Optional[ClassOrder] = None  # of the data that a bundle was compiled with


class Names(NamedTuple):
    """The different names of classes in the data."""

    names: Tuple[str, ...]
    kind: str  # FOLDERS or CSV_LABELS
    source: str  # folder or file that holds them, for messages
    hint: str = ""  # further advice, for the message where no reading fits


def indices(data: Names, head: Head) -> Tuple[Dict[str, int], ClassOrder]:
    """The class index of each name, and the reading that gave it.

    Raises: InputError where no reading fits all names, or two names have one class.
    """
    read = _in_given_order if head.class_order else _in_first_fitting_order
    index, order = read(data, head)
    by_class: Dict[int, str] = {}
    for name in data.names:
        other = by_class.setdefault(index[name], name)
        if other != name:
            raise InputError(
                "{}: '{}' and '{}' are both class {} of the model. Rename or merge them, {}.".format(
                    data.source, other, name, index[name], OWN_ORDER
                )
            )
    return {name: index[name] for name in data.names}, order


def describe(order: ClassOrder, labels: Sequence[str] = ()) -> str:
    """One line that says how many classes were read, and by which reading.

    Args:
        labels: the model's label names; the line says where a reading ignores them.
    """
    names = order.names
    some = ", ".join(names) if len(names) <= 3 else "{}, {}, ... {}".format(names[0], names[1], names[-1])
    subset = "" if order.in_data == len(names) else " of {} names".format(len(names))
    text = "classes: {}, {}{}: {}".format(_counted(order.in_data, order.kind), HOW[order.reading], subset, some)
    if labels and order.reading in BY_PLACE and not set(names) & set(labels):
        text += " (none of them is a label name of the model, such as {})".format(labels[0])
    return text


def names_of_outputs(order: Optional[ClassOrder], outputs: int) -> Tuple[str, ...]:
    """The names of a model's outputs that the data give, where their place says which output each is; else ()."""
    if order is None or order.reading not in BY_PLACE or len(order.names) != outputs:
        return ()
    return order.names


def say_classes(order: Optional[ClassOrder], labels: Sequence[str]) -> None:
    """Writes `describe` to stderr, if the data have names of classes."""
    if order is not None:
        sys.stderr.write(describe(order, labels) + "\n")


def natural_key(name: str) -> Tuple[List[Union[str, int]], str]:
    """Sort key: numbers in names by value, letters without case, as in timm's reader; ties by the name itself."""
    parts = re.split(r"(\d+)", name.lower())
    return [int(part) if number % 2 else part for number, part in enumerate(parts)], name


def _in_given_order(data: Names, head: Head) -> Tuple[Dict[str, int], ClassOrder]:
    """The order that --class-order gives."""
    order = head.class_order or NATURAL
    if order not in (NATURAL, STRING):
        names = names_in_file(order, head.classes)
        unknown = sorted(set(data.names) - set(names), key=natural_key)
        if unknown:
            raise InputError(
                "{} has {} that {} does not name: {}. Add to the file what it lacks, or correct the spelling.".format(
                    data.source, _counted(len(unknown), data.kind), order, few(unknown)
                )
            )
        return _in_order(data, FILE, names)
    if head.classes not in (len(data.names), ANY_NUMBER):
        raise InputError(
            "{} has {}, the model has {} classes: --class-order {} needs all of them. Name the model's classes in a "
            "file: --class-order FILE.".format(data.source, _counted(len(data.names), data.kind), head.classes, order)
        )
    return _in_order(data, order, sorted(data.names, key=natural_key if order == NATURAL else None))


def _in_first_fitting_order(data: Names, head: Head) -> Tuple[Dict[str, int], ClassOrder]:
    """The first reading that fits all names; see above."""
    if head.compiled is not None and set(data.names) <= set(head.compiled.names):
        if head.compiled.reading in BY_PLACE:
            return _in_order(data, head.compiled.reading, head.compiled.names)
    if head.classes == ANY_NUMBER:
        return _in_order(data, NATURAL, sorted(data.names, key=natural_key))
    for reading, index in _readings(data.names, head):
        if all(name in index for name in data.names):
            return index, _order(data, reading, sorted(data.names, key=index.__getitem__))
    _check_spelling(data, head)
    if len(data.names) == head.classes:
        return _in_order(data, NATURAL, sorted(data.names, key=natural_key))
    raise InputError(
        "{} has no labels that match the head: {} ({}), {} classes in the head. Use class numbers from 0, wnids or "
        "class names (--labels FILE){}; to compare without labels, give a folder of images alone.".format(
            data.source, _counted(len(data.names), data.kind), few(data.names), head.classes, data.hint
        )
    )


def _readings(names: Sequence[str], head: Head) -> Iterator[Tuple[str, Dict[str, int]]]:
    yield LABELS, _by_label_name(names, head.labels)
    if head.classes == IMAGENET_CLASSES:
        yield WNIDS, _wnids()
    yield NUMBERS, {name: int(name) for name in names if name.isdecimal() and int(name) < head.classes}


def _in_order(data: Names, reading: str, names: Sequence[str]) -> Tuple[Dict[str, int], ClassOrder]:
    return {name: index for index, name in enumerate(names)}, _order(data, reading, names)


def _order(data: Names, reading: str, names: Sequence[str]) -> ClassOrder:
    return ClassOrder(reading, data.kind, len(data.names), tuple(names))


def _check_spelling(data: Names, head: Head) -> None:
    """Raises InputError where names are of several kinds, or contradict what is known of the model."""
    groups: Dict[str, List[str]] = {}
    known = set(head.labels) | set(head.compiled.names if head.compiled else ())
    for name in data.names:
        groups.setdefault(_spelling(name, known), []).append(name)
    if len(groups) > 1:
        kinds = ", ".join(
            "{} ({})".format(_counted(len(group), one), few(group)) for one, group in sorted(groups.items())
        )
        raise InputError(
            "{} spells its classes in several ways: {}. Spell all in one way, {}.".format(data.source, kinds, OWN_ORDER)
        )
    if data.kind != CSV_LABELS:
        return
    if "class number" in groups:
        wrong = [name for name in data.names if int(name) >= head.classes]
        raise InputError(
            "{} has the class number {}, the model has {} classes: 0 to {}. Number classes from 0, {}.".format(
                data.source, wrong[0], head.classes, head.classes - 1, OWN_ORDER
            )
        )
    if head.labels:
        raise InputError(
            "{} has labels that the model does not have ({}): its label names are {}. Use these, class numbers from 0 "
            "or --labels FILE, {}.".format(data.source, few(data.names), few(head.labels), OWN_ORDER)
        )


def _spelling(name: str, known: "set[str]") -> str:
    if name.isdecimal():
        return "class number"
    if WNID.fullmatch(name):
        return "wnid"
    return "known class name" if name in known else "other name"


def names_in_file(path: str, classes: int) -> Tuple[str, ...]:
    """The class names in a file, one a line, in the order of the model's classes.

    Raises: InputError where the file cannot be read, repeats a name, or does not have one name for each class.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            names = tuple(line.strip() for line in file.read().rstrip().splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            "cannot read --class-order {}: {}. Give natural, string, or a text file with a class name a line.".format(
                path, error
            )
        ) from error
    repeated = sorted({name for name in names if names.count(name) > 1})
    if classes not in (len(names), ANY_NUMBER) or repeated:
        what = "{} twice".format(repeated[0]) if repeated else "{} classes".format(len(names))
        raise InputError(
            "--class-order {} names {}, the model has {} classes: write each class name once, one a line, in the order "
            "of the model's classes.".format(path, what, classes)
        )
    return names


def _counted(number: int, one: str) -> str:
    """2, "folder" -> 2 folders."""
    return "{} {}{}".format(number, one, "" if number == 1 else "s")


def few(names: Sequence[str]) -> str:
    """The first three names, for a message."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _wnids() -> Dict[str, int]:
    """Index of the 1000 classes of ImageNet-1k: their position in sorted order."""
    with open(os.path.join(os.path.dirname(__file__), "imagenet_wnids.txt"), encoding="ascii") as file:
        return {wnid: index for index, wnid in enumerate(file.read().split())}


def _by_label_name(names: Sequence[str], labels: Sequence[str]) -> Dict[str, int]:
    """Index of each name that equals exactly one label, if necessary without regard to case, `_` and `-`.

    A name that two classes share is left out: ImageNet has two cranes and two maillots.
    """
    index: Dict[str, int] = {}
    for spelled in (str, _plain):
        places: Dict[str, List[int]] = {}
        for place, label in enumerate(labels):
            places.setdefault(spelled(label), []).append(place)
        for name in names:
            if len(places.get(spelled(name), ())) == 1:
                index.setdefault(name, places[spelled(name)][0])
    return index


def _plain(name: str) -> str:
    return " ".join(re.split(r"[\s_-]+", name.lower()))
