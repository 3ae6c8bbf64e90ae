"""Names of classes in the data -> indices of the model's outputs, and in words how that was done; on any machine.

The first reading that fits all names is taken:

1. the model's own label names (timm's configuration, or --labels), and on a board the names that the bundle was
   compiled with;
2. for a head of 1000 classes ImageNet's wnids, whose index is their place in sorted order;
3. class numbers from 0;
4. where there are as many names as classes: natural order (c1, c2, c10), as timm's reader has it. torchvision's
   ImageFolder has string order (c1, c10, c2); `--class-order string` reads so.

Names that are spelled in several ways (some numbers, some wnids, some names) are refused: no reading is right for all.
"""

import os
import re
import sys
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

from pomt_trt.core.errors import InputError
from pomt_trt.core.records import ClassOrder

NATURAL, STRING, FILE, LABELS, WNIDS, NUMBERS = "natural", "string", "file", "labels", "wnids", "numbers"
FOLDERS, CSV_LABELS = "folder", "CSV label"  # where names come from
HOW = {
    NATURAL: "in natural order",
    STRING: "in string order",
    FILE: "in the order of the --class-order file",
    LABELS: "by the model's label names",
    WNIDS: "by their ImageNet wnids",
    NUMBERS: "by class number",
}
IMAGENET_CLASSES = 1000
BY_PLACE = (NATURAL, STRING, FILE)  # readings in which a name says nothing, and its place is its class
WNID = re.compile(r"n\d{8}")
OWN_ORDER = "or choose how they are read: --class-order natural, string or FILE"
CLASS_ORDER_WITHOUT_DATA = "--class-order is given without --data. Give the data that it is about, or leave it out."


class Head(NamedTuple):
    """What is known of a model's classes before the data are seen."""

    classes: int
    labels: Tuple[str, ...] = ()  # names of the classes in the head's order, where known
    asked: Optional[str] = None  # --class-order: natural, string or a file; None: as the names themselves say
    compiled: Optional[ClassOrder] = None  # as the data were read that a bundle was compiled with


class Names(NamedTuple):
    """The different names of classes in the data."""

    names: Tuple[str, ...]
    kind: str  # FOLDERS or CSV_LABELS
    source: str  # folder or file that holds them, for messages
    hint: str = ""  # what else may be wrong, for the message where nothing fits


def indices(found: Names, head: Head) -> Tuple[Dict[str, int], ClassOrder]:
    """The class index of each name, and how it came about.

    Raises: InputError where no reading fits all names, or two names would be one class.
    """
    index, order = _asked(found, head) if head.asked else _as_they_say(found, head)
    by_class: Dict[int, str] = {}
    for name in found.names:
        other = by_class.setdefault(index[name], name)
        if other != name:
            raise InputError(
                "{}: '{}' and '{}' are both class {} of the model. Rename or merge them, {}.".format(
                    found.source, other, name, index[name], OWN_ORDER
                )
            )
    return {name: index[name] for name in found.names}, order


def describe(order: ClassOrder, labels: Sequence[str] = ()) -> str:
    """One line: how many classes were read in which way.

    Args:
        labels: the model's label names; where an order ignores them, that is said.
    """
    names = order.names
    some = ", ".join(names) if len(names) <= 3 else "{}, {}, ... {}".format(names[0], names[1], names[-1])
    subset = "" if order.in_data == len(names) else " of {} names".format(len(names))
    text = "classes: {}, {}{}: {}".format(_counted(order.in_data, order.kind), HOW[order.reading], subset, some)
    if labels and order.reading in BY_PLACE and not set(names) & set(labels):
        text += " (none of them is a label name of the model, such as {})".format(labels[0])
    return text


def say_classes(order: Optional[ClassOrder], labels: Sequence[str]) -> None:
    """Writes `describe` to stderr, where the data name classes."""
    if order is not None:
        sys.stderr.write(describe(order, labels) + "\n")


def natural_key(name: str) -> Tuple[List[Union[str, int]], str]:
    """Sorts numbers within names by value and letters without case, as timm's reader does; ties by the name itself."""
    parts = re.split(r"(\d+)", name.lower())
    return [int(part) if number % 2 else part for number, part in enumerate(parts)], name


def _asked(found: Names, head: Head) -> Tuple[Dict[str, int], ClassOrder]:
    """The order that --class-order gives."""
    asked = head.asked or NATURAL
    if asked not in (NATURAL, STRING):
        names = names_in_file(asked, head.classes)
        unknown = sorted(set(found.names) - set(names), key=natural_key)
        if unknown:
            raise InputError(
                "{} has {} that {} does not name: {}. Add to the file what it lacks, or correct the spelling.".format(
                    found.source, _counted(len(unknown), found.kind), asked, few(unknown)
                )
            )
        return _in_order(found, FILE, names)
    if len(found.names) != head.classes:
        raise InputError(
            "{} has {}, the model has {} classes: --class-order {} needs all of them. Name the model's classes in a "
            "file: --class-order FILE.".format(
                found.source, _counted(len(found.names), found.kind), head.classes, asked
            )
        )
    return _in_order(found, asked, sorted(found.names, key=natural_key if asked == NATURAL else None))


def _as_they_say(found: Names, head: Head) -> Tuple[Dict[str, int], ClassOrder]:
    """The first reading that fits all names."""
    if head.compiled is not None and set(found.names) <= set(head.compiled.names):
        if head.compiled.reading in BY_PLACE:
            return _in_order(found, head.compiled.reading, head.compiled.names)
    for reading, known in _readings(found.names, head):
        if all(name in known for name in found.names):
            return known, _order(found, reading, sorted(found.names, key=lambda name: known[name]))
    _check_spelling(found, head)
    if len(found.names) == head.classes:
        return _in_order(found, NATURAL, sorted(found.names, key=natural_key))
    raise InputError(
        "{} has no labels that match the head: {} ({}), {} classes in the head. Use class numbers from 0, wnids or "
        "class names (--labels FILE){}; to compare without labels, give a folder of images alone.".format(
            found.source, _counted(len(found.names), found.kind), few(found.names), head.classes, found.hint
        )
    )


def _readings(names: Sequence[str], head: Head) -> Iterator[Tuple[str, Dict[str, int]]]:
    yield LABELS, _by_label_name(names, head.labels)
    if head.classes == IMAGENET_CLASSES:
        yield WNIDS, _wnids()
    yield NUMBERS, {name: int(name) for name in names if name.isdecimal() and int(name) < head.classes}


def _in_order(found: Names, reading: str, names: Sequence[str]) -> Tuple[Dict[str, int], ClassOrder]:
    return {name: index for index, name in enumerate(names)}, _order(found, reading, names)


def _order(found: Names, reading: str, names: Sequence[str]) -> ClassOrder:
    return ClassOrder(reading, found.kind, len(found.names), tuple(names))


def _check_spelling(found: Names, head: Head) -> None:
    """Raises InputError where the names cannot all be meant in one way, or contradict what is known of the model."""
    groups: Dict[str, List[str]] = {}
    known = set(head.labels) | set(head.compiled.names if head.compiled else ())
    for name in found.names:
        groups.setdefault(_spelling(name, known), []).append(name)
    if len(groups) > 1:
        told = ", ".join(
            "{} ({})".format(_counted(len(group), one), few(group)) for one, group in sorted(groups.items())
        )
        raise InputError(
            "{} spells its classes in several ways: {}. Spell all in one way, {}.".format(found.source, told, OWN_ORDER)
        )
    if found.kind != CSV_LABELS:
        return
    if "class number" in groups:
        wrong = [name for name in found.names if int(name) >= head.classes]
        raise InputError(
            "{} has the class number {}, the model has {} classes: 0 to {}. Number classes from 0, {}.".format(
                found.source, wrong[0], head.classes, head.classes - 1, OWN_ORDER
            )
        )
    if head.labels:
        raise InputError(
            "{} has labels that the model does not have ({}): its label names are {}. Use these, class numbers from 0 "
            "or --labels FILE, {}.".format(found.source, few(found.names), few(head.labels), OWN_ORDER)
        )


def _spelling(name: str, known: "set[str]") -> str:
    if name.isdecimal():
        return "class number"
    if WNID.fullmatch(name):
        return "wnid"
    return "known class name" if name in known else "other name"


def names_in_file(path: str, classes: int) -> Tuple[str, ...]:
    """Class names, one a line, in the order of the model's classes.

    Raises: InputError where the file cannot be read, repeats a name, or has not one name for each class.
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
    if len(names) != classes or repeated:
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
    """The 1000 classes of ImageNet-1k: their index is their place in sorted order."""
    with open(os.path.join(os.path.dirname(__file__), "imagenet_wnids.txt"), encoding="ascii") as file:
        return {wnid: index for index, wnid in enumerate(file.read().split())}


def _by_label_name(names: Sequence[str], labels: Sequence[str]) -> Dict[str, int]:
    """Index of each name that is exactly one label, or exactly one without regard to case, `_` and `-`.

    ImageNet has two cranes and two maillots: names that two classes share are no labels.
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
