"""Enums that behave as pybind11's: no arithmetic, no comparison with integers, `name`, `value` and int() only."""

from typing import Any, Dict


class PybindEnum:
    """A value of one of TensorRT's enums."""

    __members__: Dict[str, "PybindEnum"] = {}

    def __init__(self, value: int) -> None:
        self._value = int(value)

    @property
    def value(self) -> int:
        return self._value

    @property
    def name(self) -> str:
        for name, member in self.__members__.items():
            if member._value == self._value:
                return name
        return "???"

    def __int__(self) -> int:
        return self._value

    __index__ = __int__

    def __hash__(self) -> int:
        return hash(self._value)

    def __eq__(self, other: Any) -> bool:
        return type(self) is type(other) and self._value == other._value

    def __repr__(self) -> str:
        return "<{}.{}: {}>".format(type(self).__name__, self.name, self._value)

    def __str__(self) -> str:
        return "{}.{}".format(type(self).__name__, self.name)


def make(name: str, values: Dict[str, int]) -> type:
    """An enum class with these values."""
    enum = type(name, (PybindEnum,), {"__module__": "tensorrt"})
    members = {each: enum(value) for each, value in values.items()}
    for each, member in members.items():
        setattr(enum, each, member)
    setattr(enum, "__members__", members)  # noqa: B010  mypy knows no attributes of a class made here
    return enum
