"""A flag, stated once: `add` gives it to a parser, `signature` to a Python function, and `checked` validates its value.

A command line and a Python call therefore take the same names, defaults and values.
"""

import argparse
import math
import numbers
import os
import textwrap
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from pomt_trt.core.errors import InputError, UsageError

TEXT_COLUMNS = 78
_NUMBERS = {int: (numbers.Integral, "a whole number"), float: (numbers.Real, "a number")}


class Flag(NamedTuple):
    """A flag of a command, such as --max-seconds; a name without dashes is a positional argument."""

    name: str
    help: str
    metavar: Optional[str] = None
    type: Optional[Callable[[str], Any]] = None  # None: text; bool: a switch
    default: Any = None
    absent: str = ""  # what a default of None means, in the help
    choices: Sequence[str] = ()
    required: bool = False
    check: Optional[Callable[[str, Any], Any]] = None  # name, value -> value; raises where the value is not allowed
    nargs: Optional[str] = None

    @property
    def key(self) -> str:
        """The flag's name in Python: --max-seconds is max_seconds."""
        return self.name.lstrip("-").replace("-", "_")

    @property
    def positional(self) -> bool:
        """Whether it has no dashes."""
        return not self.name.startswith("-")

    @property
    def help_text(self) -> str:
        """The help with the default in words."""
        default = self.absent if self.default is None or self.type is bool else self.default
        shown = "{:g}".format(default) if isinstance(default, (int, float)) else default
        return "{} (default: {})".format(self.help, shown) if shown else self.help

    def checked(self, value: Any) -> Any:
        """The value as the stages take it: paths are absolute, lists are split.

        Raises: UsageError for a value that is not allowed; InputError for a file that does not exist.
        """
        if value is None and self.default is None:
            return None
        if self.choices and value not in self.choices:
            raise UsageError("{} is '{}'; give {}.".format(self.name, value, " or ".join(self.choices)))
        kind, words = _NUMBERS.get(self.type, (object, ""))  # type: ignore[call-overload]
        if not isinstance(value, kind):
            raise UsageError("{} is {!r}; give {}.".format(self.name, value, words))
        return value if self.check is None else self.check(self.name, value)


class Group(NamedTuple):
    """Flags that a command's help lists under one title."""

    title: str
    flags: Tuple[Flag, ...]
    text: str = ""


def flags_of(items: Iterable[Union[Flag, Group]]) -> List[Flag]:
    """All flags, those of groups among them, in order."""
    return [flag for item in items for flag in (item.flags if isinstance(item, Group) else (item,))]


def checked(items: Iterable[Union[Flag, Group]], given: Mapping[str, Any]) -> Dict[str, Any]:
    """key -> checked value of each flag: what is given, or else the default. Other keys of `given` are left out.

    Raises: UsageError for a value that is not allowed; InputError for a file that does not exist.
    """
    return {flag.key: flag.checked(given.get(flag.key, flag.default)) for flag in flags_of(items)}


def add(parser: argparse.ArgumentParser, items: Iterable[Union[Flag, Group]]) -> None:
    """Adds flags and groups of flags to a parser."""
    for item in items:
        if isinstance(item, Group):
            text = textwrap.fill(item.text, TEXT_COLUMNS)  # the formatter of examples leaves lines as they are
            group = parser.add_argument_group(item.title, text or None)
            for flag in item.flags:
                _add(group, flag)
        else:
            _add(parser, item)


def _add(parser: argparse._ActionsContainer, flag: Flag) -> None:
    options: Dict[str, Any] = {"help": flag.help_text.replace("%", "%%")}
    if flag.type is bool:
        options["action"] = "store_true"
    else:
        options.update(type=flag.type, default=flag.default, metavar=flag.metavar, choices=flag.choices or None)
        options.update({"nargs": flag.nargs} if flag.positional else {"required": flag.required})
    parser.add_argument(flag.name, **options)


def signature(items: Iterable[Union[Flag, Group]]) -> Any:
    """The inspect.Signature of a function that takes positional flags by place and the others by name."""
    import inspect

    def parameter(flag: Flag) -> inspect.Parameter:
        given = flag.positional or flag.required
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if flag.positional else inspect.Parameter.KEYWORD_ONLY
        return inspect.Parameter(flag.key, kind, default=inspect.Parameter.empty if given else flag.default)

    return inspect.Signature([parameter(flag) for flag in flags_of(items)])


def at_least(least: float, unit: str = "", finite: bool = False) -> Callable[[str, Any], Any]:
    """A check: this or more."""
    return _must(
        lambda value: value >= least and not (finite and math.isinf(value)), "be {:g}{} or more".format(least, unit)
    )


def more_than_0(unit: str = "", finite: bool = False) -> Callable[[str, Any], Any]:
    """A check: more than 0."""
    return _must(lambda value: value > 0 and not (finite and math.isinf(value)), "be more than 0" + unit)


def between(low: float, high: float, with_high: bool = True) -> Callable[[str, Any], Any]:
    """A check: not below `low` nor above `high`; nor `high` itself, unless with_high."""
    text = "lie between {:g} and {:g}".format(low, high)
    return _must(lambda value: low <= value < high or (with_high and value == high), text)


def _must(holds: Callable[[Any], bool], text: str) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> Any:
        if not holds(value):
            raise UsageError("{} is {}; it must {}.".format(name, value, text))
        return value

    return check


def existing_file(name: str, path: str) -> str:
    """A check: a file that exists; its absolute path."""
    return _existing(name, path, os.path.exists(path) and not os.path.isdir(path), "file")


def existing_path(name: str, path: str) -> str:
    """A check: a file or folder that exists; its absolute path."""
    return _existing(name, path, os.path.exists(path), "file or folder")


def _existing(name: str, path: str, exists: bool, kind: str) -> str:
    if not exists:
        raise InputError("{} {} is no {} here. Check the path.".format(name, path, kind))
    return os.path.abspath(path)


def names(name: str, text: str) -> List[str]:
    """'a,b' -> ['a', 'b']."""
    return text.split(",")


def whole_numbers(name: str, text: str) -> List[int]:
    """'1,2' -> [1, 2]. Raises: UsageError."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise UsageError("{} is '{}'; give whole numbers of at least 1, such as 1,2.".format(name, text))
    return [int(part) for part in parts]
