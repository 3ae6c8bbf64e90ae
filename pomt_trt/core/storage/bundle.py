"""A deployment folder: packed whole, and opened only if it is exactly what was packed.

Format
- A bundle is one flat folder of regular files: `bundle.json` and the files that it lists. There MUST NOT be a
  subfolder, a symbolic link or any file that it does not list.
- A name MUST match `[A-Za-z0-9][A-Za-z0-9._-]*`, at most 100 characters: never a path, never hidden.
- `bundle.json` MUST be the object {"bundle": MANIFEST, "format": "pomt-trt bundle", "schema": 1, "sha256": HEX}, at
  most 16 MiB, in exactly the bytes that this module writes: keys sorted at every depth, one space of indentation,
  ASCII, one newline at the end. A reader MUST write it again and refuse any other bytes.
- A record in MANIFEST MAY lack a field that has a default: an older release did not have it. An unknown field that is
  not null, or a higher schema, comes from a newer release: a reader MUST refuse it, and say so.
- HEX is the sha256 of the bytes before the comma that precedes it. It finds damage; it is not a signature.
- MANIFEST is records.Bundle. Its `files` MUST give size and sha256 of every other file. A reader MUST compare the
  sizes, and SHOULD compare the hashes before it gives a file to a decoder.
- `engine` and `unreduced_engine` MUST name listed files with the sizes and hashes that `files` gives; the same file
  where R = 0 won. Engine files are called `r056.engine`, their graphs `r056.onnx`.
- An engine with `weights_sha256` reads `weights.bin` beside it, which MUST be listed with that hash. The ONNX files
  share the same `weights.bin`. A TensorRT engine holds its own weights; `weights.bin` is there for the ONNX files.
- `weights.bin` MUST have no second name: a writer copies, or reflinks, since onnx refuses external data that is a hard
  or symbolic link. The other files MAY be hard links. A reader takes bundles of 0.2, in which all are.
- An engine whose `details` have a `plugin` runs with that library of TensorRT plugins, native code, which MUST be
  listed with the file name and sha256 given there.
- An engine whose `details` have `kernels` starts with that file of compiled GPU kernels, which MUST be listed with the
  file name and sha256 given there. It is never rewritten.
- `golden.npz` holds real inputs and the logits expected of R = 0 on them; `r056.npz`, where present, those of the
  chosen candidate and its score margins. `plain.json`, where present, is a record (core/storage/store) PlainModel:
  where weights.bin holds which parameter. `training.json`, where present, is a record Training of
  the method's learned parameters. `labels.txt`, where present, holds one class name a line.
- A writer MUST build the folder under another name and rename it. Only then may it remove an older bundle.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from typing import Any, Dict, Iterator

from pomt_trt.core.errors import CorruptArtifact, InputError, WorkFolderUnusable
from pomt_trt.core.records import Bundle, Candidate, Engine
from pomt_trt.core.storage import store
from pomt_trt.core.storage.workfolder import WEIGHTS

MANIFEST = "bundle.json"
FORMAT, SCHEMA = "pomt-trt bundle", 1
MANIFEST_LIMIT_BYTES = 16 << 20
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
AGAIN = "Copy the bundle again, or make it anew: pomt-trt bundle WORK."


def pack(folder: str, manifest: Bundle, sources: Dict[str, str]) -> None:
    """Makes the bundle `folder`, whole or not at all; an older bundle of that name is replaced.

    Args:
        manifest: its `files` is ignored and computed here.
        sources: name in the bundle -> file. Weights are copied; other files are hard links, or copies where links fail,
            so they MUST NOT be changed in place later.

    Raises: CorruptArtifact where a source does not match the manifest; InputError where one is absent;
        WorkFolderUnusable where the folder cannot be written, or exists and is not a bundle.
    """
    folder = os.path.abspath(folder)
    _refuse_foreign(folder)
    with store.explained(folder), _temporary_beside(folder) as temporary:
        for name in sorted(sources):
            _check_name(name)
            _put(sources[name], os.path.join(temporary, name))
        files = {name: _measured(os.path.join(temporary, name)) for name in sorted(sources)}
        data = _serialised(manifest._replace(files=files))
        store.write_bytes(os.path.join(temporary, MANIFEST), data)
        try:
            _check_folder(temporary, _parsed(data))  # never pack what could not be opened
        except CorruptArtifact as error:
            raise CorruptArtifact(
                "cannot pack {}: {}. Build the engines again: pomt-trt build WORK.".format(folder, error)
            ) from error
        _move_into_place(temporary, folder)


def open_bundle(folder: str, verify: bool = True) -> Bundle:
    """The manifest of a bundle, after checking that the bundle is exactly what was packed.

    Args:
        verify: also hash every file (about 0.1 s for 100 MB); False checks only manifest, names, kinds and sizes.

    Raises: InputError where the folder or its bundle.json is absent or not readable; CorruptArtifact otherwise.
    """
    try:
        bundle = _parsed(_manifest_bytes(folder))
        _check_folder(folder, bundle)
        for name in sorted(bundle.files) if verify else ():
            _check_equal("sha256", name, store.sha256_of(os.path.join(folder, name)), bundle.files[name]["sha256"])
        return bundle
    except store.MadeByNewer as error:
        raise CorruptArtifact(
            "{} was made by a newer pomt-trt: {}. Update pomt-trt here, or make the bundle anew with this release: "
            "pomt-trt bundle WORK.".format(folder, error)
        ) from error
    except CorruptArtifact as error:
        raise CorruptArtifact("{} is no intact bundle: {}. {}".format(folder, error, AGAIN)) from error
    except OSError as error:
        raise InputError("cannot read the bundle {}: {}. Check its permissions.".format(folder, error)) from error


def _manifest_bytes(folder: str) -> bytes:
    path = os.path.join(folder, MANIFEST)
    if not os.path.isdir(folder):
        raise InputError("there is no bundle folder {}. Make one: pomt-trt bundle WORK.".format(folder))
    if not os.path.lexists(path):
        raise InputError("{} is no bundle: it holds no {}. Make one: pomt-trt bundle WORK.".format(folder, MANIFEST))
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode) or status.st_size > MANIFEST_LIMIT_BYTES:
        raise CorruptArtifact("{} is not a regular file of at most {} bytes".format(MANIFEST, MANIFEST_LIMIT_BYTES))
    with open(path, "rb") as file:
        return file.read(MANIFEST_LIMIT_BYTES + 1)


def _serialised(bundle: Bundle) -> bytes:
    """The bytes of a manifest; equal records give equal bytes."""
    return _signed(store.to_json(store.from_json(Bundle, json.loads(json.dumps(store.to_json(bundle))))))  # 1 as 1.0


def _signed(value: Any) -> bytes:
    body = json.dumps({"bundle": value, "format": FORMAT, "schema": SCHEMA}, indent=1, sort_keys=True, allow_nan=False)
    before = body[: -len("\n}")].encode("ascii")
    return before + ',\n "sha256": "{}"\n}}\n'.format(hashlib.sha256(before).hexdigest()).encode("ascii")


def _parsed(data: bytes) -> Bundle:
    try:
        body = json.loads(data.decode("ascii"))
        if body["format"] == FORMAT:
            store.check_schema(body["schema"], SCHEMA)
        if (body["format"], body["schema"]) != (FORMAT, SCHEMA):
            raise ValueError("it is {!r} of schema {!r}".format(body["format"], body["schema"]))
        if _signed(body["bundle"]) != data:
            raise CorruptArtifact("{} has been changed: its bytes are not those that were packed".format(MANIFEST))
        bundle: Bundle = store.from_json(Bundle, body["bundle"])
        _check_manifest(bundle)
        return bundle
    except (CorruptArtifact, store.MadeByNewer):
        raise
    except Exception as error:  # whatever a decoder raises on hostile bytes: RecursionError, MemoryError, KeyError ...
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CorruptArtifact("{} is not a manifest of schema {}: {}".format(MANIFEST, SCHEMA, reason)) from error


def _check_manifest(bundle: Bundle) -> None:
    """Names are not paths, and the manifest is consistent. This is checked before any file is read."""
    for name, entry in bundle.files.items():
        _check_name(name)
        _check_entry(name, entry)
    _check_engine(bundle, bundle.engine, bundle.candidate)
    _check_engine(bundle, bundle.unreduced_engine, bundle.unreduced)


def _check_folder(folder: str, bundle: Bundle) -> None:
    """The folder holds exactly the listed files, all regular, of the listed sizes."""
    present = set(os.listdir(folder)) - {MANIFEST}
    for name in sorted(present ^ set(bundle.files)):
        raise CorruptArtifact("{!r} is {}".format(name, "not listed in it" if name in present else "missing"))
    for name, entry in bundle.files.items():
        status = os.lstat(os.path.join(folder, name))
        if not stat.S_ISREG(status.st_mode):
            raise CorruptArtifact("{} is not a regular file".format(name))
        _check_equal("bytes", name, status.st_size, entry["bytes"])


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name) or name == MANIFEST:
        raise CorruptArtifact("{!r} is not a plain file name of its own".format(name))


def _check_entry(name: str, entry: Dict[str, Any]) -> None:
    size, digest = entry.get("bytes"), entry.get("sha256")
    sound = type(size) is int and isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest)
    if not sound or set(entry) != {"bytes", "sha256"}:
        raise CorruptArtifact("the entry of {} is not a size and a sha256".format(name))


def _check_engine(bundle: Bundle, engine: Engine, candidate: Candidate) -> None:
    if engine.candidate_id != candidate.id:
        raise CorruptArtifact("the engine of {} stands where {} belongs".format(engine.candidate_id, candidate.id))
    hashes = {engine.file: engine.sha256}
    if engine.weights_sha256 is not None:
        hashes[WEIGHTS] = engine.weights_sha256
    for part in ("plugin", "kernels"):
        entry = (engine.details or {}).get(part)
        if entry is not None:
            hashes[entry["file"]] = entry["sha256"]
    for name, digest in hashes.items():
        if name not in bundle.files:
            raise CorruptArtifact("{!r}, which an engine needs, is not listed".format(name))
        _check_equal("sha256", name, bundle.files[name]["sha256"], digest)
    _check_equal("bytes", engine.file, bundle.files[engine.file]["bytes"], engine.bytes)
    image = bundle.model.preprocessing
    shape = (candidate.batch_size, image.channels, image.height, image.width)
    _check_equal("input shape", engine.file, engine.input_shape, shape)


def _check_equal(what: str, name: str, value: Any, expected: Any) -> None:
    if value != expected:
        raise CorruptArtifact("{} of {} is {}, expected {}".format(what, name, value, expected))


def _measured(path: str) -> Dict[str, Any]:
    return {"bytes": os.path.getsize(path), "sha256": store.sha256_of(path)}


def _put(source: str, target: str) -> None:
    source = os.path.realpath(source)  # a link to a link would put a symbolic one into the bundle
    if not os.path.isfile(source):
        raise InputError("{} does not exist: run the stage that makes it, or compile.".format(source))
    put = store.copy if os.path.basename(target) == WEIGHTS else store.hard_link
    put(source, target)


def _refuse_foreign(folder: str) -> None:
    """Only an older bundle or an empty folder may be replaced: never a user's own files."""
    if not os.path.lexists(folder):
        return
    is_folder = os.path.isdir(folder) and not os.path.islink(folder)
    entries = sorted(os.listdir(folder)) if is_folder else [os.path.basename(folder)]
    subfolders = [name for name in entries if os.path.isdir(os.path.join(folder, name))]
    if not is_folder or subfolders or (entries and MANIFEST not in entries):
        raise WorkFolderUnusable(
            "{} is there and is no bundle (it holds {}). Move it away or choose another folder.".format(
                folder, (subfolders or entries)[0]
            )
        )


@contextlib.contextmanager
def _temporary_beside(folder: str) -> Iterator[str]:
    """A fresh sibling folder, removed at the end with whatever is still in it."""
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    temporary = tempfile.mkdtemp(prefix=".part-", dir=os.path.dirname(folder))
    try:
        os.chmod(temporary, 0o755)
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_into_place(temporary: str, folder: str) -> None:
    """Moves the older bundle aside, then renames. If killed in between, the folder is absent, never half new."""
    with _temporary_beside(folder) as aside:
        older = os.path.join(aside, "older")
        if os.path.lexists(folder):
            os.rename(folder, older)
        try:
            os.rename(temporary, folder)
        except OSError:
            if os.path.lexists(older):
                os.rename(older, folder)
            raise
