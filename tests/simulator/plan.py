"""The file format of simulated engines and caches: a line with the kind, a value in JSON, a checksum.

The header of a plan names the release and the device, as NVIDIA's do; `header` reads it for tests.
"""

import base64
import hashlib
import json
from typing import Any, Dict, NamedTuple

_PLAN, _DIGEST_BYTES = "plan", 32


class Damaged(Exception):
    """Not a whole file of its kind."""


class Plan(NamedTuple):
    """An engine as it is saved."""

    header: Dict[str, Any]
    model: bytes
    files: Dict[str, bytes]


def pack(plan: Plan) -> bytes:
    """The bytes of a plan."""
    files = {name: base64.b64encode(content).decode() for name, content in plan.files.items()}
    return seal(_PLAN, [plan.header, base64.b64encode(plan.model).decode(), files])


def unpack(blob: bytes) -> Plan:
    """The plan of these bytes.

    Raises: Damaged.
    """
    header, model, files = unseal(_PLAN, blob)
    contents = {name: base64.b64decode(content) for name, content in files.items()}
    return Plan(header, base64.b64decode(model), contents)


def header(blob: bytes) -> Dict[str, Any]:
    """What a plan says of its build: release, device, flags, layers with their precision."""
    return unpack(bytes(blob)).header


def seal(kind: str, value: Any) -> bytes:
    """The bytes of a file of that kind."""
    body = "simulated {}\n{}".format(kind, json.dumps(value, sort_keys=True)).encode()
    return body + hashlib.sha256(body).digest()


def unseal(kind: str, blob: bytes) -> Any:
    """The value in such a file.

    Raises: Damaged.
    """
    body, digest = blob[:-_DIGEST_BYTES], blob[-_DIGEST_BYTES:]
    first, _, value = body.partition(b"\n")
    if first.decode(errors="replace") != "simulated " + kind or hashlib.sha256(body).digest() != digest:
        raise Damaged("magicTag or checksum")
    return json.loads(value.decode())
