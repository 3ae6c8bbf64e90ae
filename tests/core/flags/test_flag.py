"""A flag as the parser, the Python signature and the validation see it."""

import argparse
import inspect

import numpy as np
import pytest

from pomt_trt.core.errors import InputError, UsageError
from pomt_trt.core.flags import flag, table, training
from pomt_trt.core.flags.flag import Flag, Group

COUNT = Flag("--image-count", "images", "N", int, 5, check=flag.at_least(1))
SHARE = Flag("--share", "of the images", type=float, absent="all", check=flag.between(0, 1))
KIND = Flag("--kind", "what to do", default="a", choices=("a", "b"))
SWITCH = Flag("--fast", "no pause", type=bool, default=False)
ITEMS = (Flag("model", "a name", "MODEL"), COUNT, Group("more", (SHARE, KIND, SWITCH)))


def parsed(*words):
    parser = argparse.ArgumentParser()
    flag.add(parser, ITEMS)
    return vars(parser.parse_args(words))


def test_parser_and_signature_have_the_same_defaults():
    bound = flag.signature(ITEMS).bind("m")
    bound.apply_defaults()
    assert dict(bound.arguments) == parsed("m")
    assert parsed("m") == {"model": "m", "image_count": 5, "share": None, "kind": "a", "fast": False}


def test_a_required_flag_has_no_default_in_the_signature():
    assert flag.signature([table.WORK]).parameters["work"].default is inspect.Parameter.empty


def test_the_help_shows_the_default_or_what_none_means(capsys):
    with pytest.raises(SystemExit):
        parsed("--help")
    out = capsys.readouterr().out
    assert "images (default: 5)" in out and "of the images (default: all)" in out and "no pause\n" in out


def test_checked_fills_defaults_and_leaves_out_other_keys():
    assert flag.checked([COUNT, SHARE, KIND], {"kind": "b", "json": True}) == {
        "image_count": 5,
        "share": None,
        "kind": "b",
    }


@pytest.mark.parametrize(
    "one, value, message",
    [
        (COUNT, 0, "--image-count is 0; it must be 1 or more."),
        (COUNT, "7", "--image-count is '7'; give a whole number."),
        (COUNT, None, "--image-count is None; give a whole number."),
        (SHARE, 1.5, "--share is 1.5; it must lie between 0 and 1."),
        (SHARE, float("nan"), "--share is nan; it must lie between 0 and 1."),
        (KIND, "c", "--kind is 'c'; give a or b."),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_with_both_values(one, value, message):
    with pytest.raises(UsageError) as error:
        one.checked(value)
    assert str(error.value) == message


def test_numbers_of_numpy_are_numbers():
    assert COUNT.checked(np.int64(3)) == 3 and SHARE.checked(np.float32(0.5)) == 0.5 and SHARE.checked(1) == 1


def test_a_path_becomes_absolute_and_must_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert flag.existing_file("--x", "file") == str(tmp_path / "file")
    assert flag.existing_path("--x", ".") == str(tmp_path)
    with pytest.raises(InputError, match="--x . is no file here"):
        flag.existing_file("--x", ".")
    with pytest.raises(InputError, match="--x absent is no file or folder here"):
        flag.existing_path("--x", "absent")


def test_lists_are_split():
    assert flag.names("--x", "a,b") == ["a", "b"]
    assert table.AGAINST.checked("none") == [] and table.AGAINST.checked("eager") == ["eager"]
    assert table.ONLY.checked("") is None and table.ONLY.checked("r005,r009") == ["r005", "r009"]
    assert flag.whole_numbers("--x", "1,2") == [1, 2] and flag.whole_numbers("--x", " 4 ") == [4]


@pytest.mark.parametrize("text", ["", "1,,2", "0", "-1", "1.5", "two", "1,\N{SUPERSCRIPT TWO}"])
def test_what_is_no_list_of_whole_numbers_is_refused(text):
    with pytest.raises(UsageError, match="--threads is '{}'; give whole numbers of at least 1".format(text)):
        flag.whole_numbers("--threads", text)


@pytest.mark.parametrize("items", [table.COMPILE, table.COMPARE, table.BENCH, table.EVALUATE, training.CROPR])
def test_every_default_passes_its_own_check(items):
    flags = flag.flags_of(items)
    values = flag.checked([one for one in flags if not one.required and not one.positional], {})
    assert len(values) > 3


@pytest.mark.parametrize("given, size", [("224", (224, 224)), (64, (64, 64)), ("64x128", (64, 128)), ("9X7", (9, 7))])
def test_an_image_size_is_a_side_or_height_and_width(given, size):
    assert table.IMG_SIZE.checked(given) == size


@pytest.mark.parametrize("given", ["", "x", "64x", "1x2x3", "-3", "a", 2.5])
def test_another_image_size_is_refused(given):
    with pytest.raises(UsageError, match="give pixels, such as 224, or height x width, such as 64x128"):
        table.IMG_SIZE.checked(given)
