"""Records on disk: what is written is read, whole or not at all, and damage is explained."""

import errno
import hashlib
import json
import math
import os
from typing import Any, Dict, NamedTuple, Optional, Tuple, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomt_trt.core import records
from pomt_trt.core.errors import CorruptArtifact, InputError, WorkFolderUnusable
from pomt_trt.core.storage import store
from pomt_trt.core.storage.workfolder import locked
from tests import fakes

KINDS = [kind for _, kind in sorted(vars(records).items()) if isinstance(kind, type) and hasattr(kind, "_fields")]
FAILURE = records.Failure("r056", "build", "no memory")
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def values(hint):
    """A strategy for what a field of this type may hold; NaN apart, which is not equal to itself."""
    origin, arguments = getattr(hint, "__origin__", None), getattr(hint, "__args__", None) or ()
    if hint is Any:
        return st.one_of(st.none(), st.booleans(), st.integers(), st.text(), FINITE)
    if type(None) in arguments:
        return st.one_of(st.none(), values(arguments[0]))
    if origin in (tuple, Tuple):
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return st.lists(values(arguments[0]), max_size=3).map(tuple)
        return st.tuples(*(values(argument) for argument in arguments))
    if origin in (dict, Dict):
        return st.dictionaries(st.text(max_size=5), values(arguments[1]), max_size=3)
    if hasattr(hint, "_fields"):
        return record_of(hint)
    return {str: st.text(max_size=8), int: st.integers(), bool: st.booleans(), float: FINITE}[hint]


def record_of(kind):
    return st.builds(kind, **{name: values(hint) for name, hint in get_type_hints(kind).items()})


def damaged(path, data):
    with open(path, "wb") as file:
        file.write(data)
    return path


def open_bytes(path):
    with open(path, "rb") as file:
        return file.read()


def left_in(folder):
    return sorted(name for name in os.listdir(str(folder)) if name != ".lock")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tmp_path_factory.mktemp("records"))


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "r056.json")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_of_record_is_read_as_it_was_written(kind, folder):
    written = os.path.join(folder, kind.__name__ + ".json")

    @settings(max_examples=5 if kind in (records.Bundle, records.Selection, records.Family) else 15)
    @given(record_of(kind), st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3))
    def check(record, inputs):
        store.write_record(written, record, inputs)
        assert store.read_record(written, kind) == store.Stored(record, inputs)
        assert store.read_matching(written, kind, inputs) == record

    check()


class Place(NamedTuple):
    """A record of the corner cases."""

    value: float
    maybe: Optional[float] = None
    pair: Optional[Tuple[int, int]] = None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_lacks_becomes_null_and_is_read_as_not_a_number(value, path):
    store.write_record(path, Place(value, value))
    assert b"null" in open_bytes(path) and b"NaN" not in open_bytes(path)
    read = store.read_record(path, Place).record
    assert math.isnan(read.value) and read.maybe is None


def test_whole_numbers_are_read_as_floats_where_a_float_belongs(path):
    store.write_record(path, Place(1, 2))
    read = store.read_record(path, Place).record
    assert type(read.value) is float and type(read.maybe) is float


def test_a_record_carries_its_schema_its_kind_and_its_inputs(path):
    store.write_record(path, FAILURE, {"onnx": "ab", "device": "here"})
    body = json.loads(open_bytes(path).decode())
    assert (body["schema"], body["record"]) == (store.SCHEMA, "Failure")
    assert list(body["inputs"].items()) == [("device", "here"), ("onnx", "ab")]


def test_a_record_made_from_other_inputs_does_not_match(path):
    store.write_record(path, FAILURE, {"onnx": "ab"})
    assert store.read_matching(path, records.Failure, {"onnx": "ab"}) == FAILURE
    assert store.read_matching(path, records.Failure, {"onnx": "cd"}) is None
    assert store.read_matching(path, records.Failure, {}) is None


def test_an_absent_record_does_not_match_and_is_explained(path):
    assert store.read_matching(path, records.Failure, {}) is None
    with pytest.raises(InputError, match="r056.json does not exist: run the stage that makes it"):
        store.read_record(path, records.Failure)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"schema": 1, "record": "Failure", "inputs": {}}',
        b'{"schema": 1, "record": "Failure", "inputs": [], "value": {}}',
        b'{"schema": 1, "record": "Failure", "inputs": {}, "value": {"candidate_id": "r"}}',
        b'{"schema": 1, "record": "Failure", "inputs": {}, "value": {"candidate_id": 1, "stage": "", "reason": ""}}',
        b'{"schema": 0, "record": "Failure", "inputs": {}, "value": {}}',
        b'{"schema": 1, "record": "Step", "inputs": {}, "value": {}}',
        b"[" * 100000,
    ],
)
def test_a_damaged_record_is_named_with_the_way_out(data, path):
    damaged(path, data)
    with pytest.raises(CorruptArtifact, match="r056.json is damaged: .*Delete it and run the same command again"):
        store.read_record(path, records.Failure)
    assert store.read_matching(path, records.Failure, {}) is None


@pytest.mark.parametrize(
    "data, said",
    [
        (b'{"schema": 2, "record": "Failure", "inputs": {}, "value": {}}', "of schema 2, and this release reads sch"),
        (
            b'{"schema": 1, "record": "Failure", "inputs": {}, "value": {"candidate_id": "r", "stage": "", '
            b'"reason": "", "advice": ""}}',
            "Failure has advice, which this release does not know",
        ),
    ],
)
def test_a_record_of_a_newer_release_says_so(data, said, path):
    damaged(path, data)
    with pytest.raises(CorruptArtifact, match="made by a newer pomt-trt: .*{}.*Update pomt-trt".format(said)):
        store.read_record(path, records.Failure)
    assert store.read_matching(path, records.Failure, {}) is None


@settings(max_examples=20)
@given(data=st.data())
def test_a_record_cut_short_anywhere_is_damaged(data, folder):
    path = os.path.join(folder, "cut.json")
    store.write_record(path, FAILURE, {"onnx": "ab"})
    whole = open_bytes(path)
    damaged(path, whole[: data.draw(st.integers(0, len(whole) - 2))])  # the last byte is a newline
    with pytest.raises(CorruptArtifact):
        store.read_record(path, records.Failure)


OTHER_VALUES = [b"true", b'"1.5"', b"[1]", b"9" * 400, b"{}"]
OTHER_PAIRS = [b"[1]", b"[1, 2, 3]", b"[1.5, 2]", b"[true, 2]", b"12"]


@pytest.mark.parametrize(
    "value, pair", [*((value, b"null") for value in OTHER_VALUES), *((b"1", pair) for pair in OTHER_PAIRS)]
)
def test_a_value_of_another_type_or_length_is_damage(value, pair, path):
    body = b'{"schema": 1, "record": "Place", "inputs": {}, "value": {"value": %s, "maybe": null, "pair": %s}}'
    damaged(path, body % (value, pair))
    with pytest.raises(CorruptArtifact):
        store.read_record(path, Place)


def test_a_record_that_cannot_be_read_is_named_with_the_way_out(path):
    os.mkdir(path)  # root reads what has no permission; nobody reads a folder
    with pytest.raises(CorruptArtifact, match="cannot read .*r056.json: .*delete it and run the same command again"):
        store.read_record(path, records.Failure)
    assert store.read_matching(path, records.Failure, {}) is None
    with pytest.raises(InputError, match="cannot read .*r056.json: .*permissions"):
        store.sha256_of(path)


def test_the_hash_is_that_of_the_bytes(tmp_path):
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert store.sha256_of(damaged(str(tmp_path / "empty"), b"")) == empty
    large = store.sha256_of(damaged(str(tmp_path / "large"), bytes(3 << 20)))
    assert large == hashlib.sha256(bytes(3 << 20)).hexdigest()


def test_a_file_appears_whole_with_the_folders_it_needs(tmp_path):
    path = str(tmp_path / "a" / "b" / "file")
    store.write_bytes(path, b"one")
    store.write_bytes(path, b"two")
    assert open_bytes(path) == b"two" and left_in(tmp_path / "a" / "b") == ["file"]
    assert os.stat(path).st_mode & 0o777 == 0o644


def test_the_old_file_stays_where_the_writer_fails(tmp_path):
    path = str(tmp_path / "file")
    store.write_bytes(path, b"old")
    with pytest.raises(ZeroDivisionError), store.replacing(path) as temporary:
        damaged(temporary, b"half")
        raise ZeroDivisionError
    assert open_bytes(path) == b"old" and left_in(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("number, message", [(errno.ENOSPC, "the disk is full. Free some"), (errno.EDQUOT, "quota")])
def test_a_full_disk_is_said_and_leaves_the_old_file(tmp_path, monkeypatch, call, number, message):
    path = str(tmp_path / "file")
    store.write_bytes(path, b"old")

    def full(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(WorkFolderUnusable, match="cannot write {}: .*{}".format(path, message)):
        store.write_bytes(path, b"new")
    assert open_bytes(path) == b"old" and left_in(tmp_path) == ["file"]


@pytest.mark.parametrize(
    "number, message", [(errno.EROFS, "read-only"), (errno.EACCES, "no permission"), (errno.EIO, "")]
)
def test_a_refusal_to_write_is_said_with_what_to_do(tmp_path, number, message):
    message = "cannot write .*{}.*Choose another --work folder".format(message)
    with pytest.raises(WorkFolderUnusable, match=message), store.explained(str(tmp_path)):
        raise OSError(number, os.strerror(number))


def test_a_path_through_a_file_is_no_work_folder(tmp_path):
    damaged(str(tmp_path / "file"), b"")
    with pytest.raises(WorkFolderUnusable, match="a part of this path is a file"):
        store.write_bytes(str(tmp_path / "file" / "below"), b"")
    with pytest.raises(WorkFolderUnusable, match="a part of this path is a file"), locked(str(tmp_path / "file")):
        pass


def test_a_folder_where_a_file_belongs_is_explained(tmp_path):
    (tmp_path / "record").mkdir()
    with pytest.raises(WorkFolderUnusable, match="cannot write .*record: .*irectory"):
        store.write_bytes(str(tmp_path / "record"), b"")
    assert left_in(tmp_path) == ["record"]


def test_a_reader_that_has_gone_is_no_refusal_to_write():
    with pytest.raises(BrokenPipeError), store.explained("stdout"):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_a_hard_link_is_the_same_file_with_its_own_mode(tmp_path):
    source, target = str(tmp_path / "source"), str(tmp_path / "below" / "target")
    damaged(source, b"engine")
    os.chmod(source, 0o440)
    store.hard_link(source, target)
    assert os.path.samefile(source, target) and os.stat(source).st_mode & 0o777 == 0o440
    store.hard_link(source, target)  # again: a rename onto itself does nothing
    assert os.path.samefile(source, target) and left_in(tmp_path / "below") == ["target"]


def test_a_copy_serves_where_links_fail(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    damaged(str(tmp_path / "source"), b"engine")
    store.hard_link(str(tmp_path / "source"), str(tmp_path / "target"))
    assert open_bytes(str(tmp_path / "target")) == b"engine"
    assert not os.path.samefile(str(tmp_path / "source"), str(tmp_path / "target"))
    assert left_in(tmp_path) == ["source", "target"]


def test_a_copy_replaces_one_name_of_a_file_and_leaves_the_others(tmp_path):
    linked, target, new = (str(tmp_path / name) for name in ("linked", "target", "new"))
    damaged(linked, b"old")
    damaged(new, b"new")
    os.link(linked, target)
    store.copy(new, target)
    assert open_bytes(target) == b"new" and open_bytes(linked) == b"old" and not os.path.samefile(new, target)
    assert left_in(tmp_path) == ["linked", "new", "target"]


def test_a_copy_shares_blocks_where_the_file_system_can(tmp_path, monkeypatch):
    """A stand-in for the ioctl: it is asked for the right file, and what it did is kept."""
    import fcntl

    def clone(target, request, source):
        assert request == store.FICLONE and os.fstat(source).st_ino == os.stat(str(tmp_path / "source")).st_ino
        target.write(b"shared blocks")

    monkeypatch.setattr(fcntl, "ioctl", clone)
    damaged(str(tmp_path / "source"), b"weights")
    store.copy(str(tmp_path / "source"), str(tmp_path / "target"))
    assert open_bytes(str(tmp_path / "target")) == b"shared blocks"


def test_a_copy_that_does_not_fit_is_said_and_leaves_the_old_file(tmp_path):
    source, target = str(tmp_path / "source"), str(tmp_path / "target")
    damaged(source, bytes(1 << 20))
    damaged(target, b"old")
    message = "cannot write {}: File too large".format(target)
    with fakes.files_at_most(1 << 16), pytest.raises(WorkFolderUnusable, match=message):
        store.copy(source, target)
    assert open_bytes(target) == b"old" and left_in(tmp_path) == ["source", "target"]
