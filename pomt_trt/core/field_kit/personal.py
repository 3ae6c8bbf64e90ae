"""Removes what tells who somebody is, or which single machine: names, addresses, serial numbers and home paths.

Makes texts and records without them, on any machine. What is known of a machine is replaced wherever it stands
(device/field_kit/identifiers finds it); addresses, identifiers and home paths are replaced by their form, known or not.
Leaves out where the texts come from.

It errs on the side of removing: a version of four numbers looks like an address, so those to keep are named.
"""

import ipaddress
import re
from typing import Any, Iterable, List, Match, NamedTuple, Pattern, Tuple

LEAST_NAME = 2  # characters: a single letter tells nobody, and stands everywhere
LEAST_SERIAL = 6
# Names that any board or any model may have. To replace them would take the board's own name out of the archive.
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


class Known(NamedTuple):
    """What is known of one machine and its users."""

    names: Tuple[str, ...] = ()  # of users and of the machine, of any length
    serials: Tuple[str, ...] = ()  # serial numbers, ids and addresses
    paths: Tuple[Tuple[str, str], ...] = ()  # (path, what to call it), such as the checkout's; what follows it stays
    homes: Tuple[str, ...] = ()  # paths below which names are somebody's own
    versions: Tuple[str, ...] = ()  # that look like addresses and are none


class Remover:
    """Takes what is personal out of texts and records."""

    def __init__(self, known: Known) -> None:
        self._versions = frozenset(known.versions)
        folders = [(path.rstrip("/"), "", mark) for path, mark in known.paths]
        folders += [(home.rstrip("/"), _REST, "[home]") for home in known.homes]
        self._literal: List[Tuple[Pattern[str], str]] = [
            (re.compile(re.escape(path) + r"(?![\w.-])" + rest), mark)
            for path, rest, mark in sorted(folders, key=lambda folder: (-len(folder[0]), folder))
            if path
        ]
        self._literal += _whole(known.serials, LEAST_SERIAL, "[serial]")
        self._names = _whole([name for name in known.names if name.lower() not in NOBODY], LEAST_NAME, "[name]")

    def text(self, text: str) -> str:
        """The text with a word in brackets in each place."""
        for pattern, mark in self._literal:
            text = pattern.sub(mark, text)
        for pattern, mark in _FORM_PATTERNS:
            text = pattern.sub(mark, text)
        text = _DOTTED.sub(self._dotted, _COLONS.sub(_with_colons, text))
        for pattern, mark in self._names:
            text = pattern.sub(mark, text)
        return text

    def everywhere(self, value: Any) -> Any:
        """A record, or what JSON is made of, with every text in it so treated; names of a record's fields stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*[self.everywhere(item) for item in value])
        if isinstance(value, (tuple, list)):
            return type(value)(self.everywhere(item) for item in value)
        if isinstance(value, dict):
            return {self.everywhere(key): self.everywhere(item) for key, item in value.items()}
        return value

    def _dotted(self, found: "Match[str]") -> str:
        is_address = all(int(part) < 256 for part in found.group().split("."))
        return "[address]" if is_address and found.group() not in self._versions else found.group()


def _with_colons(found: "Match[str]") -> str:
    """Of what has colons, only an IPv6 address is one: not a time of day, nor a label."""
    try:
        address = ipaddress.IPv6Address(found.group())
    except ValueError:
        return found.group()
    return found.group() if address.is_unspecified else "[address]"


def _whole(words: Iterable[str], least: int, mark: str) -> List[Tuple[Pattern[str], str]]:
    """Patterns of whole words, the longer ones first, in whatever case."""
    usable = sorted({word.strip() for word in words if len(word.strip()) >= least}, key=lambda word: (-len(word), word))
    form = r"(?<![A-Za-z0-9]){}(?![A-Za-z0-9])"
    return [(re.compile(form.format(re.escape(word)), re.IGNORECASE), mark) for word in usable]
