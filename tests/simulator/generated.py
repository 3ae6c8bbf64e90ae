"""Makes the stand-in module `tensorrt` of a release from its table: exactly its names, nothing more.

A class here only checks names and arguments, as pybind11 does; what it does is done by a core, looked up by the class's
name in the behaviours that the caller gives. What the release has and no core acts out raises NotImplementedError,
which no test can take for the board's behaviour; what the release lacks raises AttributeError.
"""

import types
from typing import Any, Callable, Dict, List

from . import enums
from .board import Board
from .tables import Argument, Entry, Table, bind

_SEVERITIES = ("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE")


class Interface:
    """The core of a class that is there to be derived from, such as IProgressMonitor: it does nothing itself."""

    def __init__(self, trt: Any, wrapper: Any) -> None:
        self.wrapper = wrapper


class _Pybind(type):
    """Notices a derived class that forgot the base's __init__, as pybind11 does."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__call__(*args, **kwargs)
        if made._core is None:
            base = next(each for each in cls.__mro__ if "_generated" in vars(each))
            raise TypeError("tensorrt.{}.__init__() must be called when overriding __init__".format(base.__name__))
        return made


class Simulated(metaclass=_Pybind):
    """What all classes share."""

    _core: Any = None

    def __setattr__(self, name: str, value: Any) -> None:
        if "_generated" in vars(type(self)) and name != "_core" and not hasattr(type(self), name):
            raise AttributeError("'tensorrt.{}' object has no attribute '{}'".format(type(self).__name__, name))
        object.__setattr__(self, name, value)


def make(board: Board, behaviours: Dict[str, Any], functions: Dict[str, Callable[..., Any]]) -> types.ModuleType:
    """The module; its private `_board` is the board, `_wrap(name, core)` makes an object of a class around a core."""
    table = board.table
    module = types.ModuleType(table.package)
    names: Dict[str, Any] = {"__version__": table.version, "_board": board}
    names["_wrap"] = lambda name, core: _wrapped(getattr(module, name), core)
    vars(module).update(names)
    for entry in _bases_first(table):
        setattr(module, entry.name, _class(module, entry, behaviours))
    _add_severities(module, table)
    for name in table.constants:
        attribute = {"float32": "FLOAT", "float16": "HALF", "bfloat16": "BF16"}.get(name, name.upper())
        setattr(module, name, getattr(module.DataType, attribute))  # type: ignore[attr-defined]
    for name, overloads in table.functions.items():
        setattr(module, name, _function(module, name, overloads, functions.get(name)))
    return module


def _bases_first(table: Table) -> List[Entry]:
    done: Dict[str, Entry] = {}

    def add(entry: Entry) -> None:
        for base in entry.bases:
            if base in table.classes and base not in done:
                add(table.classes[base])
        done.setdefault(entry.name, entry)

    for entry in table.classes.values():
        if "." not in entry.name:
            add(entry)
    return list(done.values())


def _class(module: Any, entry: Entry, behaviours: Dict[str, Any]) -> type:
    if entry.enum is not None:
        return enums.make(entry.name, entry.enum)
    if entry.name == "IHostMemory":
        made: type = behaviours["IHostMemory"](module, entry.members)
        return made
    bases = tuple(getattr(module, base) for base in entry.bases if hasattr(module, base)) or (Simulated,)
    names: Dict[str, Any] = {"__module__": "tensorrt", "_generated": True}
    for member in entry.members:
        if not hasattr(bases[0], member) or bases[0] is Simulated or member in entry.methods:
            names[member] = _member(module, entry, member)
    if "__enter__" in entry.members:
        names["__enter__"] = lambda self: self
        names["__exit__"] = lambda self, kind, error, trace: None
    names["__init__"] = _constructor(module, entry, behaviours)
    return _Pybind(entry.name, bases, names)


def _member(module: Any, entry: Entry, member: str) -> Any:
    if member == "MAX_DIMS":
        return 8
    if member.startswith("__"):
        return _special(entry.name, member)
    if member in entry.methods:
        return _method(module, entry, member)
    return _property(entry, member)


def _constructor(module: Any, entry: Entry, behaviours: Dict[str, Any]) -> Callable[..., None]:
    overloads = entry.methods.get("__init__", [])
    if entry.name.startswith("Dims"):
        overloads = [[Argument("shape", "", False)]]  # open sources name no arguments, and derived ones differ
    core = behaviours.get(entry.name)
    if core is None and [] in overloads:
        core = Interface

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        if not overloads:
            raise TypeError("tensorrt.{}: No constructor defined!".format(entry.name))
        values = bind(overloads, args, kwargs, module)
        if core is None:
            raise _not_acted_out(entry.name, "__init__")
        self._core = core(module, self, *values)

    return __init__


def _special(owner: str, member: str) -> Callable[..., Any]:
    def special(self: Any, *args: Any) -> Any:
        if not hasattr(type(self._core), member):
            raise _not_acted_out(owner, member)
        return getattr(self._core, member)(*args)

    special.__name__ = member
    return special


def _method(module: Any, entry: Entry, member: str) -> Callable[..., Any]:
    overloads = entry.methods[member]

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        values = bind(overloads, args, kwargs, module)
        act = getattr(self._core, member, None)
        if act is None:
            raise _not_acted_out(entry.name, member)
        return act(*values)

    method.__name__ = member
    method._arguments = overloads  # type: ignore[attr-defined]
    return method


def _property(entry: Entry, member: str) -> property:
    def read(self: Any) -> Any:
        if not hasattr(self._core, member):
            raise _not_acted_out(entry.name, member)
        return getattr(self._core, member)

    def write(self: Any, value: Any) -> None:
        if not hasattr(self._core, member):
            raise _not_acted_out(entry.name, member)
        setattr(self._core, member, value)

    return property(read, None if member in entry.readonly else write)


def _function(module: Any, name: str, overloads: List[List[Argument]], act: Any) -> Callable[..., Any]:
    def function(*args: Any, **kwargs: Any) -> Any:
        values = bind(overloads, args, kwargs, module) if overloads else list(args)
        if act is None:
            raise _not_acted_out("tensorrt", name)
        return act(module, *values)

    function.__name__ = name
    return function


def _wrapped(kind: type, core: Any) -> Any:
    made = kind.__new__(kind)
    made._core = core
    return made


def _add_severities(module: Any, table: Table) -> None:
    """ILogger.Severity and its values, which the tables list as plain members."""
    severity = enums.make("Severity", {name: value for value, name in enumerate(_SEVERITIES)})
    for name in ("Severity",) + _SEVERITIES:
        value = severity if name == "Severity" else getattr(severity, name)
        setattr(module.ILogger, name, value)
        if name in table.classes["Logger"].members:
            setattr(module.Logger, name, value)


def _not_acted_out(owner: str, member: str) -> NotImplementedError:
    return NotImplementedError(
        "{}.{} is there in this release, but the simulator does not act it out".format(owner, member)
    )
