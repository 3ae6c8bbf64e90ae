"""Reading CURVE.json: what is accepted, and the one clear line for each thing that is not."""

import gzip
import json

import pytest

from pomt_trt.core.errors import InputError
from pomt_trt.core.search.curve import curve_from_json, read_curve


def point(tokens, latency_ms=(1.0, 1.1), accuracy=0.8):
    return {"tokens": tokens, "latency_ms": list(latency_ms), "accuracy": accuracy}


def test_points_come_in_any_order_with_gaps():
    curve = curve_from_json({"batch_size": 4, "points": [point(100), point(197), point(150)]})
    assert [p.tokens for p in curve.points] == [197, 150, 100] and curve.batch_size == 4


def test_batch_size_is_one_by_default_and_a_single_number_is_one_sample():
    curve = curve_from_json({"points": [{"tokens": 5, "latency_ms": 2, "accuracy": 1}]})
    assert curve.batch_size == 1 and curve.points[0].latency_ms == (2.0,)


def test_samples_of_a_clock_that_stepped_back_are_left_out():
    nan = float("nan")
    curve = curve_from_json({"points": [point(5, [1.0, -3.0, nan]), point(4, [nan]), point(3, [])]})
    assert [p.latency_ms for p in curve.points] == [(1.0,), (), ()]


@pytest.mark.parametrize(
    "value, message",
    [
        ([], "has no points: expected"),
        ({"points": []}, "has no points: expected"),
        ({"points": [7]}, "point 1: tokens is 7. Give the total count"),
        ({"points": [point(-3)]}, "point 1: tokens is -3. Give"),
        ({"points": [point(float("nan"))]}, "point 1: tokens is nan. Give"),
        ({"points": [point(True)]}, "tokens is True"),
        ({"points": [point(9), {"tokens": 8, "latency_ms": "2"}]}, r"point 2 \(8 tokens\): latency_ms is not a list"),
        ({"points": [point(9, accuracy=80)]}, "accuracy is 80. Give a fraction"),
        ({"points": [point(9, accuracy=float("nan"))]}, "accuracy is nan. Give a fraction"),
        ({"points": [point(9), point(9)]}, "9 tokens twice. Give all samples"),
        ({"points": [point(9, []), point(8)]}, r"\(9\) is R = 0, but has no usable latency"),
        ({"points": [point(9, accuracy=None), point(8)]}, "no accuracy. Record it"),
        ({"points": [point(9)], "batch_size": 0}, "batch_size is 0. Give"),
    ],
)
def test_a_bad_curve_is_refused_with_what_is_wrong_and_what_to_do(value, message):
    with pytest.raises(InputError, match=message):
        curve_from_json(value)


def test_reads_plain_and_compressed_files(tmp_path):
    text = json.dumps({"points": [point(9), point(8)]}).encode()
    (tmp_path / "a.json").write_bytes(text)
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(text))
    assert read_curve(str(tmp_path / "a.json")) == read_curve(str(tmp_path / "a.json.gz"))


@pytest.mark.parametrize("name, content", [("a.json", b"{"), ("b.json", b"\xff"), ("c.json.gz", b"no gzip")])
def test_damaged_files_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as JSON.* Record the curve again"):
        read_curve(str(tmp_path / name))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_curve(str(tmp_path / "none.json"))
