"""The file format of simulated engines and timing caches: a header in JSON, the graph, its weights, a checksum.

The header names the release and the device, as NVIDIA's do; `header` reads it for tests.
"""

import hashlib
import json
import struct
from typing import Any, Dict, NamedTuple

_MAGIC = b"simulated TensorRT plan\n"
_CACHE_MAGIC = b"simulated TensorRT timing cache\n"
_DIGEST_BYTES = 32


class Damaged(Exception):
    """Not a whole plan or cache."""


class Plan(NamedTuple):
    """An engine as it is saved."""

    header: Dict[str, Any]
    model: bytes
    files: Dict[str, bytes]


def pack(plan: Plan) -> bytes:
    """The bytes of a plan."""
    sizes = {name: len(content) for name, content in plan.files.items()}
    header = json.dumps(dict(header=plan.header, model=len(plan.model), files=sizes), sort_keys=True).encode()
    body = _MAGIC + struct.pack("<Q", len(header)) + header + plan.model + b"".join(plan.files.values())
    return body + hashlib.sha256(body).digest()


def unpack(blob: bytes) -> Plan:
    """The plan of these bytes.

    Raises: Damaged.
    """
    body, digest = blob[:-_DIGEST_BYTES], blob[-_DIGEST_BYTES:]
    if not body.startswith(_MAGIC) or hashlib.sha256(body).digest() != digest:
        raise Damaged("magicTag or checksum")
    (size,) = struct.unpack_from("<Q", body, len(_MAGIC))
    start = len(_MAGIC) + 8
    description, position = json.loads(body[start : start + size].decode()), start + size
    model = body[position : position + description["model"]]
    position += description["model"]
    files = {}
    for name, size in description["files"].items():
        files[name] = body[position : position + size]
        position += size
    return Plan(description["header"], model, files)


def header(blob: bytes) -> Dict[str, Any]:
    """What a plan says of its build: release, device, flags, layers with their precision."""
    return unpack(bytes(blob)).header


def pack_cache(device: Dict[str, Any]) -> bytes:
    """The bytes of a timing cache."""
    return _CACHE_MAGIC + json.dumps(device, sort_keys=True).encode()


def unpack_cache(blob: bytes) -> Dict[str, Any]:
    """The device of a timing cache.

    Raises: Damaged.
    """
    if not blob.startswith(_CACHE_MAGIC):
        raise Damaged("not a timing cache")
    device: Dict[str, Any] = json.loads(blob[len(_CACHE_MAGIC) :].decode())
    return device
