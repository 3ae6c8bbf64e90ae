"""The archive of a field kit's run: written whole on the board, and read as an untrusted file on a workstation.

Format
- A gzip stream without a file name, in it a tar of regular files only, each once, without owners.
- `field.json` is {"format": "pomt-trt field archive", "schema": 1, "collected": COLLECTED}, UTF-8; COLLECTED is
  core/field_kit/records's Collected. `layers/NAME.json` is the inspector's output for one engine, `logs/NAME.txt`
  the output of one step.
- A reader MUST refuse any other name, anything that is not a regular file, and what exceeds the limits below. It MUST
  NOT write anything to the disk.
"""

import gzip
import io
import json
import re
import tarfile
import zlib
from typing import Any, BinaryIO, Dict, NamedTuple

from pomt_trt.core.errors import CorruptArtifact, InputError
from pomt_trt.core.field_kit.records import Collected
from pomt_trt.core.storage import store

FORMAT, SCHEMA = "pomt-trt field archive", 1
MAIN = "field.json"
NAME = re.compile(r"field\.json|layers/[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.json|logs/[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.txt")
MOST_FILES = 200
MOST_BYTES = 16 << 20  # of one file
MOST_BYTES_IN_ALL = 128 << 20  # unpacked
MOST_DIGITS = 20  # of a whole number


class Archive(NamedTuple):
    """The content of an archive."""

    collected: Collected
    files: Dict[str, bytes]  # layers/NAME.json and logs/NAME.txt


def write(path: str, archive: Archive) -> None:
    """Writes the archive, whole or not at all.

    Raises: WorkFolderUnusable where it cannot be written.
    """
    body = {"format": FORMAT, "schema": SCHEMA, "collected": store.to_json(archive.collected)}
    contents = {MAIN: json.dumps(body, indent=1, allow_nan=False).encode("utf-8")}
    contents.update(sorted(archive.files.items()))
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=buffer, mode="wb", mtime=0) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name, data in contents.items():
                assert NAME.fullmatch(name) and len(data) <= MOST_BYTES, name
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    store.write_bytes(path, buffer.getvalue())


def read(path: str) -> Archive:
    """Reads an untrusted archive.

    Raises: CorruptArtifact where it is damaged or breaks the format; InputError where there is no such file.
    """
    try:
        with open(path, "rb") as file:
            contents = _contents(file)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError("{} is no file here. Give the .tar.gz that jetson/field_kit made.".format(path)) from error
    except _Refused as error:
        raise _corrupt(path, str(error)) from error
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError, OverflowError) as error:
        raise _corrupt(path, str(error) or type(error).__name__) from error
    if MAIN not in contents:
        raise _corrupt(path, "it holds no {}".format(MAIN))
    return Archive(_collected(path, contents.pop(MAIN)), contents)


class _Refused(Exception):
    """The archive breaks the format."""


class _Limited:
    """A stream that raises _Refused where more is read from it than an archive may hold."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._left_bytes = stream, MOST_BYTES_IN_ALL

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, and at most 1 MiB."""
        data: bytes = self._stream.read(1 << 16 if size < 0 else min(size, 1 << 20))
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise _Refused("it unpacks to more than {} MiB".format(MOST_BYTES_IN_ALL >> 20))
        return data


def _contents(file: BinaryIO) -> Dict[str, bytes]:
    """name -> data, read into memory only."""
    contents: Dict[str, bytes] = {}
    with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
        limited = _Limited(unpacked)
        with tarfile.open(fileobj=limited, mode="r|") as tar:  # type: ignore[call-overload]
            for member in tar:
                _check(member, contents)
                held = tar.extractfile(member)
                data = held.read() if held is not None else b""
                if len(data) != member.size:
                    raise _Refused("{} is cut short".format(member.name))
                contents[member.name] = data
        while limited.read():  # gzip checks its checksum at the end; a damaged tar may seem to end earlier
            pass
    return contents


def _check(member: tarfile.TarInfo, before: Dict[str, bytes]) -> None:
    shown = repr(member.name[:100])
    if not NAME.fullmatch(member.name):
        raise _Refused("it holds a file named {}, which no field kit writes".format(shown))
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
        raise _Refused("{} in it is no regular file".format(shown))
    if member.name in before:
        raise _Refused("it holds {} twice".format(shown))
    if member.size > MOST_BYTES:
        raise _Refused("{} in it has {} bytes, and {} is the limit".format(shown, member.size, MOST_BYTES))
    if len(before) >= MOST_FILES:
        raise _Refused("it holds more than {} files".format(MOST_FILES))


def _collected(path: str, data: bytes) -> Collected:
    try:
        body = json.loads(data.decode("utf-8"), parse_constant=_no_number, parse_int=_number)
        if body["format"] != FORMAT or body["schema"] != SCHEMA:
            raise ValueError("it is {!r} of schema {!r}".format(body["format"], body["schema"]))
        collected: Collected = store.from_json(Collected, body["collected"])
        return collected
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise _corrupt(path, "{} does not hold what this pomt-trt reads ({})".format(MAIN, str(error)[:200])) from error


def _no_number(text: str) -> float:
    raise ValueError("{} is no number of JSON".format(text))


def _number(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError("{}... is no number of ours".format(text[:MOST_DIGITS]))
    return int(text)


def _corrupt(path: str, reason: str) -> CorruptArtifact:
    return CorruptArtifact(
        "{} is no sound archive of a field kit: {}. Copy it again; where both sides have the same pomt-trt, run "
        "jetson/field_kit again.".format(path, reason)
    )
