"""An archive of the field kit: what goes in comes out, and nothing that a stranger puts in does harm."""

import gzip
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from pomt_trt.core.errors import CorruptArtifact, InputError, WorkFolderUnusable
from pomt_trt.core.field_kit import archive_file
from pomt_trt.core.field_kit.archive_file import Archive
from pomt_trt.core.storage import store
from tests import field

FILES = {"logs/doctor.txt": b"ok\n", "layers/digits-fp16-r000.json": b'{"Layers": []}'}


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "run.tar.gz")


def member(name, data=b"", **changes):
    """(TarInfo, data) of one file."""
    made = tarfile.TarInfo(name)
    made.size = len(data)
    for key, value in changes.items():
        setattr(made, key, value)
    return made, data


def main_file(**changes):
    body = {"format": archive_file.FORMAT, "schema": 1, "collected": store.to_json(field.collected())}
    return json.dumps(dict(body, **changes)).encode()


def packed(path, members, form=tarfile.GNU_FORMAT):
    with tarfile.open(path, "w:gz", format=form) as tar:
        for made, data in members:
            tar.addfile(made, io.BytesIO(data))
    return path


def test_what_goes_in_comes_out(path):
    archive_file.write(path, Archive(field.collected(), FILES))
    assert archive_file.read(path) == Archive(field.collected(), FILES)


def test_an_archive_says_nothing_of_who_packed_it_and_when(path, tmp_path):
    archive_file.write(path, Archive(field.collected(), FILES))
    archive_file.write(str(tmp_path / "another name.tar.gz"), Archive(field.collected(), FILES))
    assert Path(path).read_bytes() == (tmp_path / "another name.tar.gz").read_bytes()
    with tarfile.open(path) as tar:
        assert {(info.uname, info.gname, info.uid, info.mtime) for info in tar} == {("", "", 0, 0)}


def test_an_archive_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkFolderUnusable):
        archive_file.write(str(tmp_path / "file" / "run.tar.gz"), Archive(field.collected(), {}))
    assert os.listdir(str(tmp_path)) == ["file"]


def test_a_file_that_is_not_there_is_an_input_error(path, tmp_path):
    for wrong in (path, str(tmp_path)):
        with pytest.raises(InputError, match="is no file here"):
            archive_file.read(wrong)


def hostile():
    """name -> members of an archive that must be refused."""
    good = member("field.json", main_file())
    return {
        "a path that leads out": [member("../field.json", main_file())],
        "an absolute path": [member("/etc/field.json", main_file())],
        "a path that leads out of a folder": [good, member("logs/../../x.txt", b"x")],
        "another file": [good, member("run.sh", b"x")],
        "a hidden file": [good, member("logs/.x.txt", b"x")],
        "a new line in a name": [good, member("logs/a\n.txt", b"x")],
        "a symbolic link": [good, member("logs/a.txt", type=tarfile.SYMTYPE, linkname="/etc/passwd")],
        "a hard link": [good, member("logs/a.txt", type=tarfile.LNKTYPE, linkname="field.json")],
        "a folder": [good, member("logs/a.txt", type=tarfile.DIRTYPE)],
        "a device": [good, member("logs/a.txt", type=tarfile.CHRTYPE)],
        "a pipe": [good, member("logs/a.txt", type=tarfile.FIFOTYPE)],
        "a file twice": [good, good],
        "too many files": [good] + [member("logs/{}.txt".format(number)) for number in range(200)],
        "no main file": [member("logs/a.txt", b"x")],
        "nothing": [],
        "another format": [member("field.json", main_file(format="x"))],
        "a newer schema": [member("field.json", main_file(schema=2))],
        "other fields": [member("field.json", main_file(collected={"version": "0.2.0"}))],
        "a list": [member("field.json", b"[]")],
        "no JSON": [member("field.json", b"{")],
        "no UTF-8": [member("field.json", b"\xff\xfe")],
        "deep nesting": [member("field.json", b"[" * 100000)],
        "no number": [member("field.json", main_file().replace(b"600.0", b"NaN", 1))],
        "a huge number": [member("field.json", main_file().replace(b"600.0", b"9" * 5000, 1))],
    }


@pytest.mark.parametrize("what", sorted(hostile()))
def test_an_archive_that_no_field_kit_writes_is_refused(what, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CorruptArtifact, match="is no sound archive of a field kit"):
        archive_file.read(packed(path, hostile()[what]))
    assert os.listdir(str(tmp_path)) == ["run.tar.gz"]


def test_a_file_that_is_too_large_is_refused_before_it_is_unpacked(path, monkeypatch):
    monkeypatch.setattr(archive_file, "MOST_BYTES", 1000)
    with pytest.raises(CorruptArtifact, match="1000 is the limit"):
        archive_file.read(packed(path, [member("logs/a.txt", b"x" * 1001)]))


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.SYMTYPE])
def test_a_bomb_is_refused_while_it_unpacks(kind, path, monkeypatch):
    """Also where tarfile itself reads the data, as that of headers."""
    monkeypatch.setattr(archive_file, "MOST_BYTES_IN_ALL", 1 << 20)
    size = 40 << 20
    header = tarfile.TarInfo("logs/a.txt")
    header.type, header.size = kind, size
    with gzip.open(path, "wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT) + bytes(size))
    with pytest.raises(CorruptArtifact, match="more than 1 MiB|is the limit|no regular file"):
        archive_file.read(path)


def test_an_archive_that_is_cut_short_anywhere_is_refused(path):
    archive_file.write(path, Archive(field.collected(), FILES))
    whole = Path(path).read_bytes()
    for length in range(0, len(whole), len(whole) // 30):
        Path(path).write_bytes(whole[:length])
        with pytest.raises(CorruptArtifact):
            archive_file.read(path)


def test_an_archive_in_which_a_byte_is_wrong_is_refused_or_reads_the_same(path):
    """A byte of gzip's header (its operating system) says nothing."""
    archive_file.write(path, Archive(field.collected(), FILES))
    whole = Path(path).read_bytes()
    for place in range(0, len(whole), len(whole) // 60):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        Path(path).write_bytes(bytes(damaged))
        try:
            assert archive_file.read(path) == Archive(field.collected(), FILES)
        except CorruptArtifact:
            continue
        assert place < 10


@pytest.mark.parametrize("content", [gzip.compress(b"a letter" * 1000), b"a letter"])
def test_a_gzip_of_something_else_and_no_gzip_at_all_are_refused(content, path):
    Path(path).write_bytes(content)
    with pytest.raises(CorruptArtifact):
        archive_file.read(path)
