"""The labels in a CSV file for models whose outputs are no choice between classes: several labels an image, or values.

Several labels: a row names those that hold, `image,label,label` or `image,label|label`, by label name or number from 0;
or the header names the columns, `image,cat,dog`, and cells are 0 or 1. Values: `image,value,value`.
"""

import math
from typing import Dict, List, Optional, Sequence, Tuple

from pomt_trt.core.data.class_order import few
from pomt_trt.core.errors import InputError
from pomt_trt.core.records import REGRESSION, ModelSpec

Target = Tuple[float, ...]


def targets_of(path: str, header: Sequence[str], rows: Sequence[List[str]], spec: ModelSpec) -> Optional[List[Target]]:
    """For each row the value of each of the model's outputs; None where no row has a label.

    Args:
        path: of the file, for messages. header: its first row, or (). rows: (image, label, ...) each.
    Raises: InputError where a row does not fit the model.
    """
    if not any(cell for row in rows for cell in row[1:]):
        return None
    if spec.task == REGRESSION:
        return [_values(path, row, spec.classes) for row in rows]
    columns = _columns(path, header, spec)
    if columns:
        return [_flags(path, row, columns, spec.classes) for row in rows]
    return [_named(path, row, spec) for row in rows]


def _values(path: str, row: Sequence[str], outputs: int) -> Target:
    try:
        values = tuple(float(cell) for cell in row[1:] if cell)
    except ValueError:
        values = ()
    if len(values) != outputs or not all(map(math.isfinite, values)):
        raise InputError(
            "{} gives {} the values {}, and the model has {}. Write one number for each, `image,value`.".format(
                path, row[0], ", ".join(row[1:]) or "none", "one output" if outputs == 1 else "%d outputs" % outputs
            )
        )
    return values


def _columns(path: str, header: Sequence[str], spec: ModelSpec) -> Dict[int, int]:
    """column -> output, where the header names the model's labels; {} where it does not."""
    index = {label: number for number, label in enumerate(spec.labels)}
    columns = {place: index[name] for place, name in enumerate(header) if place and name in index}
    if columns and len(columns) < spec.classes:
        absent = sorted(set(index.values()) - set(columns.values()))
        raise InputError(
            "{} has columns of {} of the model's {} labels; {} is absent. Add a column of 0 and 1 for each.".format(
                path, len(columns), spec.classes, few([spec.labels[number] for number in absent])
            )
        )
    return columns


def _flags(path: str, row: Sequence[str], columns: Dict[int, int], outputs: int) -> Target:
    target = [0.0] * outputs
    for place, output in columns.items():
        cell = row[place] if place < len(row) else ""
        if cell not in ("0", "1", "0.0", "1.0"):
            raise InputError("{} has '{}' for {}: write 0 or 1 under a label's name.".format(path, cell, row[0]))
        target[output] = float(cell)
    return tuple(target)


def _named(path: str, row: Sequence[str], spec: ModelSpec) -> Target:
    index = {label: number for number, label in enumerate(spec.labels)}
    target = [0.0] * spec.classes
    for name in [part.strip() for cell in row[1:] for part in cell.split("|") if part.strip()]:
        number = index.get(name, int(name) if name.isdecimal() else spec.classes)
        if number >= spec.classes:
            raise InputError(
                "{} gives {} the label '{}', which the model does not have: its {} labels are {}. Use these, numbers "
                "from 0, or --labels FILE.".format(
                    path, row[0], name, spec.classes, few(spec.labels) or "numbers, 0 to {}".format(spec.classes - 1)
                )
            )
        target[number] = 1.0
    return tuple(target)
