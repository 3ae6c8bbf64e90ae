"""Reads CURVE.json, a recorded latency curve with the samples of every count; it may be compressed by gzip.

Format: {"batch_size": 1, "points": [{"tokens": 197, "latency_ms": [samples], "accuracy": 0.81}, ...]}
"""

import gzip
import json
import math
from typing import Any, NamedTuple, Optional, Tuple

from pomt_trt.core.errors import InputError


class CurvePoint(NamedTuple):
    """One recorded count; without samples, its build failed."""

    tokens: int
    latency_ms: Tuple[float, ...]
    accuracy: Optional[float]


class Curve(NamedTuple):
    """A recorded curve by descending tokens; the first point is R = 0."""

    batch_size: int
    points: Tuple[CurvePoint, ...]


def read_curve(path: str) -> Curve:
    """The curve in a file.

    Raises: InputError where the file is absent, not JSON, or not a curve; the message names the point.
    """
    try:
        with gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb") as file:
            value = json.loads(file.read().decode("utf-8"))
    except FileNotFoundError:
        raise InputError(
            "{} does not exist. Name a file that a profile or another board recorded.".format(path)
        ) from None
    except (OSError, EOFError, ValueError, RecursionError) as error:
        raise InputError("{} cannot be read as JSON: {}. Record the curve again.".format(path, error)) from error
    return curve_from_json(value, path)


def curve_from_json(value: Any, name: str = "the curve") -> Curve:
    """The curve in a parsed JSON value. Points may come in any order, and counts may be missing.

    Samples that are not positive and finite (a clock that stepped back) are left out. A point without usable samples is
    a failed build.
    Raises: InputError that names the point, what is wrong, and what is expected.
    """
    points = value.get("points") if isinstance(value, dict) else None
    if not isinstance(points, list) or not points:
        raise InputError(
            '{} has no points: expected {{"batch_size": 1, "points": [{{"tokens": 197, "latency_ms": '
            '[samples], "accuracy": 0.81}}, ...]}}.'.format(name)
        )
    batch_size = value.get("batch_size", 1)
    if not _is_count(batch_size):
        raise InputError("{}: batch_size is {!r}. Give a whole number from 1.".format(name, batch_size))
    parsed = sorted((_point(point, name, i) for i, point in enumerate(points)), key=lambda point: -point.tokens)
    for one, other in zip(parsed, parsed[1:]):
        if one.tokens == other.tokens:
            raise InputError(
                "{} has {} tokens twice. Give all samples of a count in one point.".format(name, one.tokens)
            )
    if not parsed[0].latency_ms or parsed[0].accuracy is None:
        raise InputError(
            "{}: the point with the most tokens ({}) is R = 0, but has no usable latency or no accuracy. "
            "Record it too: everything is compared with it.".format(name, parsed[0].tokens)
        )
    return Curve(batch_size, tuple(parsed))


def _point(value: Any, name: str, index: int) -> CurvePoint:
    where = "{}, point {}".format(name, index + 1)
    if not isinstance(value, dict) or not _is_count(value.get("tokens")):
        tokens = value.get("tokens") if isinstance(value, dict) else value
        raise InputError("{}: tokens is {!r}. Give the total count, a whole number from 1.".format(where, tokens))
    samples = value.get("latency_ms")
    if samples is None:
        samples = []
    if _is_number(samples):
        samples = [samples]
    if not isinstance(samples, list) or not all(_is_number(sample) for sample in samples):
        raise InputError(
            "{} ({} tokens): latency_ms is not a list of numbers. Give the samples in ms.".format(
                where, value["tokens"]
            )
        )
    accuracy = value.get("accuracy")
    if accuracy is not None and not (_is_number(accuracy) and 0 <= accuracy <= 1):
        raise InputError(
            "{} ({} tokens): accuracy is {!r}. Give a fraction from 0 to 1, or null.".format(
                where, value["tokens"], accuracy
            )
        )
    usable = tuple(float(sample) for sample in samples if math.isfinite(sample) and sample > 0)
    return CurvePoint(value["tokens"], usable, None if accuracy is None else float(accuracy))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
