"""Lists the images of a folder or CSV file with their labels, without decoding them.

A label is a class index of the model (core/data/class_order); in segmentation it is a label map file.
"""

import csv
import os
import random
from typing import (
    Any,
    Dict,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
)

from pomt_trt.core.data.class_order import ANY_NUMBER, CSV_LABELS, FOLDERS, Head, Names, few, indices
from pomt_trt.core.data.image_files import EXTENSIONS, images_under, is_hidden, is_image
from pomt_trt.core.data.value_labels import targets_of
from pomt_trt.core.errors import InputError, UsageError
from pomt_trt.core.records import BINARY, FEATURES, MULTILABEL, REGRESSION, SEGMENTATION, ClassOrder, ModelSpec

LABELS_FILE = "labels.csv"  # beside the images of a flat folder
IMAGES, LABEL_MAPS = "images", "labels"  # subfolders of a folder for segmentation
ImagesT = TypeVar("ImagesT", bound=Sequence[object])


class Item(NamedTuple):
    """One image file and its label."""

    path: str
    label: Any  # class index; for several labels or values a tuple with one for each output; None: unlabelled
    label_map: Optional[str] = None  # in segmentation: PNG of the image's size, a class number a pixel


class Dataset(NamedTuple):
    """Image files in a stable order. Either all of them have labels, or none has."""

    items: Tuple[Item, ...]
    kind: str  # labelled, unlabelled
    class_order: Optional[ClassOrder] = None  # the reading of the names of classes


def find_for(
    root: str, spec: ModelSpec, class_order: Optional[str] = None, compiled: Optional[ClassOrder] = None
) -> Dataset:
    """The images of a folder or CSV file with labels that fit a model; see find and find_label_maps.

    Args:
        class_order: natural, string or a file of class names; None: the first reading that fits.
        compiled: of the data that a bundle was compiled with.
    Raises: InputError; UsageError where an order is given and there are no names of classes.
    """
    if spec.task == SEGMENTATION:
        dataset = find_label_maps(root)
    elif spec.task in (MULTILABEL, REGRESSION):
        dataset = find_values(root, spec)
    elif spec.task == FEATURES:  # their classes are those of the data
        dataset = find(root, Head(ANY_NUMBER, (), class_order, compiled))
    elif spec.task == BINARY:
        dataset = find(root, Head(2, spec.labels if len(spec.labels) == 2 else (), class_order, compiled))
    else:
        dataset = find(root, Head(spec.classes, spec.labels, class_order, compiled))
    if class_order is not None and dataset.class_order is None:
        raise UsageError(
            "--class-order {} is given, and {} names no classes. Leave it out, or give class folders or a CSV file "
            "with labels.".format(class_order, root)
        )
    return dataset


def find_label_maps(root: str) -> Dataset:
    """The images under `root`/images, labelled by the PNG files of the same name under `root`/labels.

    Without these two folders: all images under `root`, unlabelled.
    Raises: InputError where there is no such folder, it holds no image, or an image has no label map.
    """
    images, label_maps = os.path.join(root, IMAGES), os.path.join(root, LABEL_MAPS)
    try:
        if not os.path.isdir(root):
            raise InputError("there is no folder {}. Give --data a folder of images.".format(root))
        if not os.path.isdir(label_maps):
            return _unlabelled(root)
        paths = _not_empty(images, images_under(images)[0])
    except OSError as error:
        raise InputError("cannot read {}: {}. Check its permissions.".format(root, error)) from error
    files = [os.path.join(label_maps, os.path.splitext(os.path.relpath(path, images))[0] + ".png") for path in paths]
    absent = [file for file in files if not os.path.isfile(file)]
    if absent:
        raise InputError(
            "{} of the {} images in {} have no label map ({}). Add them, or take the folder labels away to compare "
            "without.".format(len(absent), len(paths), images, few(absent))
        )
    return Dataset(tuple(Item(path, None, file) for path, file in zip(paths, files)), "labelled")


def find(root: str, head: Head) -> Dataset:
    """The images of a folder or CSV file, with labels that fit a head.

    A folder with labels.csv is read as that file. A folder of folders has one folder a class. A folder with images
    directly inside it is unlabelled. A CSV file has rows `image,label`, with or without a header: a path relative to
    the file, and a class number, class name or wnid. Without a second column it is unlabelled.

    Args:
        root: folder or .csv file.
    Raises: InputError where root does not exist, holds no image, or has labels that do not match the head.
    """
    try:
        if os.path.isdir(root):
            return _from_folder(root, head)
        if os.path.isfile(root):
            return _from_csv(root, head)
    except OSError as error:
        raise InputError("cannot read {}: {}. Check its permissions.".format(root, error)) from error
    raise InputError("there is no {}. Give --data a folder of images or a CSV file.".format(root))


def find_values(root: str, spec: ModelSpec) -> Dataset:
    """The images of a folder or CSV file with several labels or values each, see value_labels.

    A folder without labels.csv is unlabelled.
    Raises: InputError as find.
    """
    path = os.path.join(root, LABELS_FILE) if os.path.isdir(root) else root
    try:
        if not os.path.isfile(path):
            return find(root, Head(spec.classes)) if path == root else _unlabelled(root)
        header, rows = _cells(path)
    except OSError as error:
        raise InputError("cannot read {}: {}. Check its permissions.".format(root, error)) from error
    targets = targets_of(path, header, rows, spec)
    if targets is None:
        return Dataset(tuple(Item(row[0], None) for row in rows), "unlabelled")
    return Dataset(tuple(Item(row[0], target) for row, target in zip(rows, targets)), "labelled")


def sample(dataset: Dataset, count: int, seed: int) -> Dataset:
    """`count` items drawn without replacement, in their old order; all items where there are fewer.

    Raises: UsageError if count is less than 1.
    """
    if count < 1:
        raise UsageError("{} samples were asked for: ask for 1 or more.".format(count))
    if count >= len(dataset.items):
        return dataset
    chosen = sorted(random.Random(seed).sample(range(len(dataset.items)), count))
    return dataset._replace(items=tuple(dataset.items[index] for index in chosen))


def _from_folder(root: str, head: Head) -> Dataset:
    if os.path.isfile(os.path.join(root, LABELS_FILE)):
        return _from_csv(os.path.join(root, LABELS_FILE), head)
    names = sorted(name for name in os.listdir(root) if not is_hidden(name))
    folders = [name for name in names if os.path.isdir(os.path.join(root, name))]
    if not folders or any(is_image(name) for name in names if name not in set(folders)):
        return _unlabelled(root)
    return _from_class_folders(root, folders, head)


def _unlabelled(root: str) -> Dataset:
    items = tuple(Item(path, None) for path in images_under(root)[0])
    return Dataset(_not_empty(root, items), "unlabelled")


def _from_class_folders(root: str, folders: List[str], head: Head) -> Dataset:
    files = dict(zip(folders, images_under(*[os.path.join(root, name) for name in folders])))
    _not_empty(root, [path for paths in files.values() for path in paths])
    # the most common mistake is to give the folder that holds train and val
    hint = ", or give --data {}".format(os.path.join(root, "val")) if "val" in folders else ""
    index, order = indices(Names(tuple(folders), FOLDERS, root, hint), head)
    items = [Item(path, index[name]) for name in folders for path in files[name]]
    return Dataset(tuple(items), "labelled", order)


def _from_csv(path: str, head: Head) -> Dataset:
    rows = _rows(path)
    named = [label for _, label in rows if label]
    if not named:
        return Dataset(tuple(Item(image, None) for image, _ in rows), "unlabelled")
    if len(named) < len(rows):
        unnamed = [image for image, label in rows if not label]
        raise InputError(
            "{} gives no label for {} of its {} images ({}). Add them, or leave all labels out.".format(
                path, len(unnamed), len(rows), few(unnamed)
            )
        )
    index, order = indices(Names(tuple(sorted(set(named))), CSV_LABELS, path), head)
    items = tuple(Item(image, index[label]) for image, label in rows)
    return Dataset(items, "labelled", order)


def _rows(path: str) -> List[Tuple[str, str]]:
    """(image path, label or '') of every row; each image has one label."""
    rows = _cells(path)[1]
    _check_single(path, rows)
    return [(row[0], row[1] if len(row) > 1 else "") for row in rows]


def _cells(path: str) -> Tuple[List[str], List[List[str]]]:
    """(header, rows) with paths to the images, which must exist; a first row without an image is the header."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(
            "{} is not a CSV file: {}. Give --data a folder of images, or rows `image,label`.".format(path, error)
        ) from error
    header = rows.pop(0) if rows and not is_image(rows[0][0]) else []
    rows = [[os.path.join(os.path.dirname(path), row[0])] + row[1:] for row in rows]
    absent = [row[0] for row in rows if not os.path.isfile(row[0])]
    if absent:
        raise InputError(
            "{} of the {} images in {} do not exist ({}). Write paths relative to the CSV file.".format(
                len(absent), len(rows), path, few(absent)
            )
        )
    return header, _not_empty(path, rows)


def _check_single(path: str, rows: Sequence[List[str]]) -> None:
    """Raises InputError where an image has several labels, in one row or in several."""
    labels: Dict[str, str] = {}
    for row in rows:
        given = [cell for cell in row[1:] if cell]
        given += [labels[row[0]]] if given and labels.setdefault(row[0], given[0]) != given[0] else []
        if len(given) > 1:
            raise InputError(
                "{} gives {} {} labels ({}), and the model gives one class an image. Write rows `image,label`, or "
                "compile the model with --task multilabel.".format(
                    path, os.path.relpath(row[0], os.path.dirname(path)), len(given), few(given)
                )
            )


def _not_empty(source: str, images: ImagesT) -> ImagesT:
    if not images:
        raise InputError("{} holds no image. Images end in {}.".format(source, ", ".join(EXTENSIONS)))
    return images
