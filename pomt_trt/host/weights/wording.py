"""Words for messages about weights: lists of names that stay short, and the text of others' errors."""

import re
import textwrap
from collections.abc import Sequence

from torch import Size

MOST_LETTERS = 2000  # of another library's error


def few(names: Sequence[object]) -> str:
    """The first three names and the number of the others."""
    return ", ".join(str(name) for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def whole(names: Sequence[str]) -> str:
    """All names. Those that differ in the number of the block alone are one entry: blocks.0-11.norm1.bias."""
    return ", ".join(_ranges(names))


def reshaped(misfits: Sequence[tuple[str, Size, Size]]) -> list[str]:
    """Entries for all tensors (name, shape, the model's shape); those of several blocks are one entry."""
    groups: dict[tuple[Size, Size], list[str]] = {}
    for name, shape, wanted in misfits:
        groups.setdefault((shape, wanted), []).append(name)
    return [
        f"{name} {'are' if several else 'is'} {tuple(shape)}, the model has {tuple(wanted)}"
        for (shape, wanted), names in groups.items()
        for name, several in _ranges(names).items()
    ]


def reason(error: Exception) -> str:
    """The text of an error of timm, torch or a hub client, in one line, without the full stop."""
    return textwrap.shorten(str(error), MOST_LETTERS, placeholder=" ...").rstrip(".") or type(error).__name__


def _ranges(names: Sequence[str]) -> dict[str, bool]:
    """The names with the first numbers of equal ones joined, and whether an entry stands for several."""
    numbers: dict[tuple[str, str], list[int]] = {}
    for name in names:
        before, number, after = re.fullmatch(r"(\D*)(\d*)(.*)", name, re.DOTALL).groups()  # type: ignore[union-attr]
        numbers.setdefault((before, after), []).extend([int(number)] if number else [])
    return {before + _spans(found) + after: len(found) > 1 for (before, after), found in numbers.items()}


def _spans(numbers: Sequence[int]) -> str:
    """[0, 1, 2, 5] -> '0-2,5'."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
