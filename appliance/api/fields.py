"""Reading a request's JSON field by field, with errors that name path, value and what is allowed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from appliance.errors import InvalidRequest, nearest

SHOWN_CHARACTERS = 60
INT64_MAX = 2**63 - 1


class Fields:
    """One JSON object of a request. A field that is `null` counts as absent; unknown fields are never looked at.

    Every method raises `InvalidRequest` with `param` set to the field's path.
    """

    __slots__ = ("_name", "_parent", "_position", "_values")

    def __init__(
        self, values: Mapping[str, Any], parent: Fields | None = None, name: str = "", position: int | None = None
    ) -> None:
        self._values = values
        self._parent = parent
        self._name = name
        self._position = position

    def path(self, name: str = "") -> str:
        """Put together only when an error needs it: a long history has thousands of objects."""
        own = self._parent.path(self._name) if self._parent is not None else ""
        if self._position is not None:
            own = f"{own}[{self._position}]"
        return f"{own}.{name}" if own and name else own or name

    def raw(self, name: str) -> Any:
        """The value as it came; `None` when absent."""
        return self._values.get(name)

    def values(self) -> Mapping[str, Any]:
        """The object itself, as it came."""
        return self._values

    def refuse(self, name: str, allowed: str) -> InvalidRequest:
        """The error for a value of field `name` that is not allowed."""
        return refusal(self.path(name), self._values.get(name), allowed)

    def string(self, name: str) -> str | None:
        value = self._values.get(name)
        if value is None or isinstance(value, str):
            return value
        raise self.refuse(name, "a string")

    def required_string(self, name: str) -> str:
        value = self._values.get(name)
        if isinstance(value, str) and value:
            return value
        raise self.refuse(name, "a string that is not empty")

    def short_string(self, name: str, max_characters: int) -> str | None:
        """A string of at most `max_characters`; an empty one counts as absent."""
        value = self.string(name)
        if value is not None and len(value) > max_characters:
            raise self.refuse(name, f"at most {max_characters} characters")
        return value or None

    def choice(self, name: str, allowed: Collection[str]) -> str | None:
        value = self._values.get(name)
        if value is None or (isinstance(value, str) and value in allowed):
            return value
        close = nearest(value, allowed) if isinstance(value, str) else None
        raise self.refuse(name, f"one of {', '.join(allowed)}" + (f" (did you mean {close}?)" if close else ""))

    def flag(self, name: str) -> bool | None:
        value = self._values.get(name)
        if value is None or isinstance(value, bool):
            return value
        raise self.refuse(name, "true or false")

    def integer(self, name: str, low: int, high: int = INT64_MAX) -> int | None:
        value = self._values.get(name)
        if value is None:
            return None
        if is_integer(value) and low <= value <= high:
            return int(value)
        raise self.refuse(name, f"an integer ≥ {low}" if high == INT64_MAX else f"an integer from {low} to {high}")

    def number(self, name: str, low: float, high: float, *, above_low: bool = False) -> float | None:
        """A number in `[low, high]`, or in `(low, high]` with `above_low`."""
        value = self._values.get(name)
        if value is None:
            return None
        if is_number(value) and low <= value <= high and not (above_low and value == low):
            return float(value)
        bounds = f"above {low:g}" if above_low else f"from {low:g}"
        raise self.refuse(name, f"a number {bounds}" + ("" if high == float("inf") else f" to {high:g}"))

    def mapping(self, name: str) -> Mapping[str, Any] | None:
        value = self._values.get(name)
        if value is None or isinstance(value, dict):
            return value
        raise self.refuse(name, "an object")

    def object(self, name: str) -> Fields | None:
        value = self.mapping(name)
        return None if value is None else Fields(value, self, name)

    def required_object(self, name: str) -> Fields:
        found = self.object(name)
        if found is None:
            raise self.refuse(name, "an object")
        return found

    def array(self, name: str) -> list[Any] | None:
        value = self._values.get(name)
        if value is None or isinstance(value, list):
            return value
        raise self.refuse(name, "an array")

    def objects(self, name: str) -> list[Fields]:
        """The objects of an array; empty when the field is absent."""
        found: list[Fields] = []
        for position, value in enumerate(self.array(name) or ()):
            if not isinstance(value, dict):
                raise refusal(f"{self.path(name)}[{position}]", value, "an object")
            found.append(Fields(value, self, name, position))
        return found


def refusal(path: str, value: Any, allowed: str) -> InvalidRequest:
    if value is None:
        return InvalidRequest(f"{path} is missing; use {allowed}", param=path, code="missing_value")
    return InvalidRequest(f"{path}: {shown(value)} is not allowed; use {allowed}", param=path, code="invalid_value")


def is_integer(value: object) -> bool:
    """Also of a number that is written with a fraction of zero: JSON knows no other integers."""
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def shown(value: Any) -> str:
    """A value in an error message: short, whatever the client sent."""
    if isinstance(value, str):
        return repr(value) if len(value) <= SHOWN_CHARACTERS else repr(value[:SHOWN_CHARACTERS]) + "…"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"an array of {len(value)}"
    return str(value)[:SHOWN_CHARACTERS]
