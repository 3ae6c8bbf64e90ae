"""Files of a work folder: records as JSON, written atomically, with schema versions; hashes and copies."""

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import tempfile
from typing import Any, Dict, Iterator, NamedTuple, Optional, Tuple, Type, TypeVar, Union, get_type_hints

from pomt_trt.core.errors import CorruptArtifact, InputError, WorkFolderUnusable

SCHEMA = 1
FICLONE = 0x40049409  # linux/fs.h
RecordT = TypeVar("RecordT", bound=Tuple[Any, ...])


class Stored(NamedTuple):
    """A record read from its file, and the sha256 of each input it was made from."""

    record: Any
    inputs: Dict[str, str]


def write_bytes(path: str, data: bytes) -> None:
    """Writes a file whole or not at all: temporary name, fsync, rename.

    Raises: WorkFolderUnusable where the folder cannot be written or the disk is full.
    """
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: str) -> Iterator[str]:
    """Yields a temporary name beside `path` to write to; renames it to `path` if the block succeeds."""
    with _temporary_beside(path) as temporary:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)


@contextlib.contextmanager
def _temporary_beside(path: str) -> Iterator[str]:
    """Yields the name of an empty file, which is removed at the end unless it was renamed."""
    folder = os.path.dirname(path) or "."
    with explained(path):
        os.makedirs(folder, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".part-", dir=folder)
        os.close(descriptor)
        try:
            yield temporary
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


@contextlib.contextmanager
def explained(path: str) -> Iterator[None]:
    """Turns an OSError of a write into WorkFolderUnusable, which says what to do."""
    try:
        yield
    except BrokenPipeError:  # not a file, but a reader that has closed its pipe
        raise
    except OSError as error:
        advice = {
            errno.ENOSPC: "the disk is full. Free some space and run the same command again: finished work is kept",
            errno.EDQUOT: "the disk quota is used up. Free some space and run the same command again",
            errno.EACCES: "no permission to write. Choose another --work folder or change its owner",
            errno.EPERM: "no permission to write. Choose another --work folder or change its owner",
            errno.EROFS: "the file system is read-only. Choose another --work folder",
            errno.ENOTDIR: "a part of this path is a file. Choose another --work folder",
            errno.EEXIST: "a part of this path is a file. Choose another --work folder",
        }.get(error.errno or 0, "{}. Choose another --work folder".format(_reason(error)))
        raise WorkFolderUnusable("cannot write {}: {}.".format(path, advice)) from error


def hard_link(source: str, target: str) -> None:
    """Makes `target` a hard link of the file `source`, which takes no space, or a copy where links are not possible.

    Not for weights that ONNX graphs read; see copy.

    Raises: WorkFolderUnusable where the folder cannot be written or the disk is full.
    """
    with _temporary_beside(target) as temporary:
        os.unlink(temporary)
        try:
            os.link(source, temporary)  # both names share one mode, so it is not changed
        except OSError:
            copy(source, temporary)
        os.replace(temporary, target)  # does nothing where target is that link already


def copy(source: str, target: str) -> None:
    """Makes `target` a whole copy of `source`, or leaves it as it was.

    For weights, since onnx refuses external data that is a hard or symbolic link. On a file system with reflinks
    (btrfs, XFS) both files share their blocks, and the copy takes no space.

    Raises: WorkFolderUnusable where the folder cannot be written or the disk is full.
    """
    with replacing(target) as temporary:
        if not _reflink(source, temporary):
            shutil.copyfile(source, temporary)


def _reflink(source: str, target: str) -> bool:
    """Makes the empty file `target` share the blocks of `source`; False where the file system cannot."""
    import fcntl

    with open(source, "rb") as original, open(target, "r+b") as clone:
        try:
            fcntl.ioctl(clone, FICLONE, original.fileno())
        except OSError:
            return False
    return True


def sha256_of(path: str) -> str:
    """Hex digest of a file's bytes.

    Raises: InputError where it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    except OSError as error:
        raise InputError(
            "cannot read {}: {}. Check the path and its permissions.".format(path, _reason(error))
        ) from error
    return digest.hexdigest()


def to_json(value: Any) -> Any:
    """Records become objects, tuples become arrays; NaN and infinity, which JSON lacks, become null."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: to_json(getattr(value, name)) for name in value._fields}  # type: ignore[attr-defined]
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class MadeByNewer(ValueError):
    """A newer release wrote this file."""


def from_json(hint: Any, value: Any) -> Any:
    """The inverse of to_json for a type built of records, Tuple, Dict, Optional and scalars.

    A record may lack fields with a default, since an older release did not have them. An unknown field that is null is
    ignored.

    Raises: MadeByNewer where a record has an unknown field; ValueError where the value does not fit the type.
    """
    origin: Any = getattr(hint, "__origin__", None)
    arguments: Any = getattr(hint, "__args__", None) or ()
    if hint is Any:
        return value
    if origin is Union:
        if value is None and type(None) in arguments:
            return None
        return from_json(next(kind for kind in arguments if kind is not type(None)), value)
    if origin in (tuple, Tuple):
        return _tuple_from_json(arguments, value)
    if origin in (dict, Dict):
        if not isinstance(value, dict):
            raise ValueError("expected an object, found {!r}".format(value))
        return {key: from_json(arguments[1], item) for key, item in value.items()}
    if hasattr(hint, "_fields"):
        return _record_from_json(hint, value)
    return _scalar_from_json(hint, value)


def _tuple_from_json(arguments: Any, value: Any) -> Tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError("expected an array, found {!r}".format(value))
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(from_json(arguments[0], item) for item in value)
    if len(value) != len(arguments):
        raise ValueError("expected {} values, found {}".format(len(arguments), len(value)))
    return tuple(from_json(kind, item) for kind, item in zip(arguments, value))


def _record_from_json(kind: Any, value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError("expected the fields of {}, found {!r}".format(kind.__name__, value))
    missing = set(kind._fields) - set(kind._field_defaults) - set(value)
    if missing:
        raise ValueError("{} has no {}".format(kind.__name__, ", ".join(sorted(missing))))
    unknown = sorted(name for name in set(value) - set(kind._fields) if value[name] is not None)
    if unknown:
        raise MadeByNewer("{} has {}, which this release does not know".format(kind.__name__, ", ".join(unknown)))
    hints = get_type_hints(kind)
    return kind(**{name: from_json(hints[name], item) for name, item in value.items() if name in hints})


def _scalar_from_json(hint: Any, value: Any) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and value is None:
        return math.nan
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ValueError("expected {}, found {!r}".format(hint.__name__, value))
    return value


def write_record(path: str, record: Any, inputs: Optional[Dict[str, str]] = None) -> None:
    """Writes one record as JSON with its schema number and the sha256 of its inputs."""
    body = {
        "schema": SCHEMA,
        "record": type(record).__name__,
        "inputs": dict(sorted((inputs or {}).items())),
        "value": to_json(record),
    }
    write_bytes(path, (json.dumps(body, indent=1, allow_nan=False) + "\n").encode())


def read_record(path: str, kind: Type[RecordT]) -> Stored:
    """Reads a record of the given kind.

    Raises: CorruptArtifact if the file is damaged, not readable, of another kind or of a newer schema; InputError if it
        is absent.
    """
    try:
        with open(path, "rb") as file:
            body = json.loads(file.read().decode("utf-8"))
        check_schema(body["schema"], SCHEMA)
        if body["record"] != kind.__name__ or body["schema"] != SCHEMA:
            raise ValueError(
                "holds {} of schema {}, expected {} of schema {}".format(
                    body["record"], body["schema"], kind.__name__, SCHEMA
                )
            )
        inputs = {str(key): str(value) for key, value in body["inputs"].items()}
        return Stored(from_json(kind, body["value"]), inputs)
    except FileNotFoundError:
        raise InputError("{} does not exist: run the stage that makes it, or compile.".format(path)) from None
    except OSError as error:
        raise CorruptArtifact(
            "cannot read {}: {}. Give it back its permissions, or delete it and run the same command again to make it "
            "anew.".format(path, _reason(error))
        ) from error
    except MadeByNewer as error:
        raise CorruptArtifact(
            "{} was made by a newer pomt-trt: {}. Update pomt-trt here, or delete the file and run the same command "
            "again to make it anew.".format(path, error)
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise CorruptArtifact(
            "{} is damaged: {}. Delete it and run the same command again to make it anew.".format(path, error)
        ) from error


def check_schema(schema: Any, newest: int) -> None:
    """Raises MadeByNewer for a schema number above the newest that this release reads."""
    if type(schema) is int and schema > newest:
        raise MadeByNewer("it is of schema {}, and this release reads schema {}".format(schema, newest))


def read_matching(path: str, kind: Type[RecordT], inputs: Dict[str, str]) -> Optional[RecordT]:
    """The record if it exists, is intact, and was made from exactly these inputs; else None."""
    try:
        stored = read_record(path, kind)
    except (CorruptArtifact, InputError):
        return None
    return stored.record if stored.inputs == inputs else None


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
