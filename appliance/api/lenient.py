"""Reading what must never fail a request: a wrong value counts as absent, and is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Concatenate, ParamSpec, TypeVar

from appliance.api.fields import INT64_MAX, Fields, shown
from appliance.conversation import Ignored
from appliance.errors import InvalidRequest, nearest

Options = ParamSpec("Options")
Value = TypeVar("Value")


class Lenient:
    """`Fields` that add to `ignored` where those would raise, and the fields that nobody asked for (`tell_rest`)."""

    __slots__ = ("_fields", "_ignored", "_known")

    def __init__(self, fields: Fields, ignored: list[Ignored]) -> None:
        self._fields = fields
        self._ignored = ignored
        self._known: set[str] = set()

    @property
    def num_told(self) -> int:
        """How much was ignored so far, here and in every other reader that shares the list."""
        return len(self._ignored)

    def string(self, name: str, max_characters: int) -> str | None:
        return self._read(self._fields.short_string, name, max_characters)

    def flag(self, name: str) -> bool | None:
        return self._read(self._fields.flag, name)

    def integer(self, name: str, low: int, high: int = INT64_MAX) -> int | None:
        return self._read(self._fields.integer, name, low, high)

    def number(self, name: str, low: float, high: float) -> float | None:
        return self._read(self._fields.number, name, low, high)

    def object(self, name: str) -> Lenient | None:
        found = self._read(self._fields.object, name)
        return None if found is None else Lenient(found, self._ignored)

    def part(self, name: str) -> Lenient:
        """An object; an absent or wrong one reads as empty."""
        return self.object(name) or Lenient(Fields({}), self._ignored)

    def objects(self, name: str, max_objects: int) -> list[Lenient]:
        """The objects of an array, at most `max_objects`; what else is in it is told."""
        found: list[Lenient] = []
        for position, value in enumerate(self._read(self._fields.array, name) or ()):
            if isinstance(value, dict) and len(found) < max_objects:
                found.append(Lenient(Fields(value, self._fields, name, position), self._ignored))
            else:
                fault = "not an object" if not isinstance(value, dict) else f"one more than {max_objects}"
                self._ignored.append(Ignored(f"{self._fields.path(name)}[{position}]", fault))
        return found

    def names(self, name: str, allowed: Iterable[str]) -> frozenset[str]:
        """The strings of an array that are `allowed`; the others are told."""
        allowed = tuple(allowed)
        values = self._read(self._fields.array, name) or []
        for position, value in enumerate(values):
            if value not in allowed:
                fault = f"{shown(value)} is none of {', '.join(allowed)}"
                self._ignored.append(Ignored(f"{self._fields.path(name)}[{position}]", fault))
        return frozenset(value for value in values if value in allowed)

    def refuse(self, name: str, allowed: str) -> None:
        """Tell that the value of `name` is not used, and what would have been."""
        self._tell(name, self._fields.refuse(name, allowed))

    def tell_rest(self) -> None:
        """Tell the fields that were not read."""
        for name in self._fields.values():
            if name not in self._known:
                close = nearest(name, self._known)
                hint = f" (did you mean {close}?)" if close else ""
                self._ignored.append(Ignored(self._fields.path(name), f"nothing here acts upon it{hint}"))

    def _read(
        self,
        read: Callable[Concatenate[str, Options], Value | None],
        name: str,
        *args: Options.args,
        **kwargs: Options.kwargs,
    ) -> Value | None:
        self._known.add(name)
        try:
            return read(name, *args, **kwargs)
        except InvalidRequest as error:
            self._tell(name, error)
            return None

    def _tell(self, name: str, error: InvalidRequest) -> None:
        path = self._fields.path(name)
        self._ignored.append(Ignored(path, error.message.removeprefix(f"{path}: ")))
