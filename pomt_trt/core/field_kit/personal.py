"""Removes what identifies a person or a single machine: names, addresses, serial numbers and home paths.

The machine's own identifiers (device/field_kit/identifiers) are replaced wherever they occur. Addresses, serial numbers
and home paths are also recognised by their form. In doubt, text is removed: a version of four numbers looks like an
address, so versions to keep must be named.
"""

import ipaddress
import re
from typing import Any, Iterable, List, Match, NamedTuple, Pattern, Tuple

LEAST_NAME = 2  # characters: a single letter identifies nobody, and occurs everywhere
LEAST_SERIAL = 6
# Words that any board or model may have as a name. Without this list, the archive would lose the board's name.
NOBODY = frozenset(
    {"nvidia", "jetson", "tegra", "orin", "xavier", "thor", "tx2", "agx", "nano", "ubuntu", "linux", "localhost"}
    | {"root", "user", "admin", "default", "digits", "deit", "fp16", "fp32", "gpu", "cpu", "emc", "done", "failed"}
    | {"skipped", "build", "time", "trtexec", "doctor", "sensors", "clocks", "before", "after", "locked", "tensorrt"}
    | {"onnxruntime"}
)
_REST = r"(/[^\s'\",;:)\]]*)*"  # of a path
_FORMS: Tuple[Tuple[str, str], ...] = (
    (r"[\w.+-]+@[\w-]+(\.[\w-]+)+", "[mail]"),
    (r"[\w.-]+@(?=\[)", ""),  # user@[host], of which the host is replaced already
    (r"(?<![\w/])~([A-Za-z_][\w.-]*)?/[^\s'\",;:)\]]*", "[home]"),
    (r"/(home|Users|media|mnt|root|run/user|run/media)(?![\w.-])" + _REST, "[home]"),
    (r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![0-9A-Fa-f])", "[uuid]"),
    (r"(?<![0-9A-Fa-f])([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}(?![0-9A-Fa-f])", "[mac]"),
    (r"(?i)(?<=serial)([ _-]?(number|no\.?|num))?(\s*[:=]\s*|\s+(?=\S*\d))\S+", ": [serial]"),
    (r"(?<![\w.])\d{13}(?![\w.])", "[serial]"),  # as Jetson modules have them
)
_FORM_PATTERNS = tuple((re.compile(form), mark) for form, mark in _FORMS)
_DOTTED = re.compile(r"(?<![\w.])\d{1,3}(\.\d{1,3}){3}(?!\w|\.\d)")
_COLONS = re.compile(r"(?<![\w:])[0-9A-Fa-f]*:[0-9A-Fa-f:]*(?!\w)")


class Identifiers(NamedTuple):
    """The identifiers of one machine and of its users."""

    names: Tuple[str, ...] = ()  # of users and of the machine, of any length
    serials: Tuple[str, ...] = ()  # serial numbers, ids and addresses
    paths: Tuple[Tuple[str, str], ...] = ()  # (path, replacement), such as the checkout's; the rest of the path stays
    homes: Tuple[str, ...] = ()  # paths below which names are personal
    versions: Tuple[str, ...] = ()  # that look like addresses, and are kept


class Remover:
    """Removes identifiers from texts and records."""

    def __init__(self, identifiers: Identifiers) -> None:
        self._versions = frozenset(identifiers.versions)
        folders = [(path.rstrip("/"), "", mark) for path, mark in identifiers.paths]
        folders += [(home.rstrip("/"), _REST, "[home]") for home in identifiers.homes]
        self._literal: List[Tuple[Pattern[str], str]] = [
            (re.compile(re.escape(path) + r"(?![\w.-])" + rest), mark)
            for path, rest, mark in sorted(folders, key=lambda folder: (-len(folder[0]), folder))
            if path
        ]
        self._literal += _whole(identifiers.serials, LEAST_SERIAL, "[serial]")
        self._names = _whole([name for name in identifiers.names if name.lower() not in NOBODY], LEAST_NAME, "[name]")

    def text(self, text: str) -> str:
        """The text with each identifier replaced by a word in brackets."""
        for pattern, mark in self._literal:
            text = pattern.sub(mark, text)
        for pattern, mark in _FORM_PATTERNS:
            text = pattern.sub(mark, text)
        text = _DOTTED.sub(self._dotted, _COLONS.sub(_with_colons, text))
        for pattern, mark in self._names:
            text = pattern.sub(mark, text)
        return text

    def everywhere(self, value: Any) -> Any:
        """A record or JSON value with identifiers removed from every text; names of a record's fields stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*[self.everywhere(item) for item in value])
        if isinstance(value, (tuple, list)):
            return type(value)(self.everywhere(item) for item in value)
        if isinstance(value, dict):
            return {self.everywhere(key): self.everywhere(item) for key, item in value.items()}
        return value

    def _dotted(self, match: "Match[str]") -> str:
        is_address = all(int(part) < 256 for part in match.group().split("."))
        return "[address]" if is_address and match.group() not in self._versions else match.group()


def _with_colons(match: "Match[str]") -> str:
    """Replaces an IPv6 address, but not a time of day or a label."""
    try:
        address = ipaddress.IPv6Address(match.group())
    except ValueError:
        return match.group()
    return match.group() if address.is_unspecified else "[address]"


def _whole(words: Iterable[str], least: int, mark: str) -> List[Tuple[Pattern[str], str]]:
    """Patterns of whole words, longer ones first, without regard to case."""
    usable = sorted({word.strip() for word in words if len(word.strip()) >= least}, key=lambda word: (-len(word), word))
    form = r"(?<![A-Za-z0-9]){}(?![A-Za-z0-9])"
    return [(re.compile(form.format(re.escape(word)), re.IGNORECASE), mark) for word in usable]
