"""Reads the keys of one table of a policy file, and collects what is wrong with them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

from appliance.cache.rule import HINTS, Bounds
from appliance.errors import nearest
from appliance.toml_document import KeyPath, TomlDocument
from appliance.units import parse_duration

MAX_PRIORITY: Final = 100

Choice = TypeVar("Choice", bound=str)


class PolicyFields:
    """The table at `path` of a document. A key that is absent or wrong reads as `None`."""

    def __init__(self, file: Path, document: TomlDocument, path: KeyPath, problems: list[str]) -> None:
        self.line = document.lines.get(path, 1)
        self._file = file
        self._document = document
        self._path = path
        self._problems = problems
        values: Any = document.values
        for part in path:
            values = values[part]
        self._values: dict[str, Any] = values

    def place(self, *below: str | int) -> str:
        """File and line of the key `below`, or of the table."""
        return f"{self._file}:{self._document.lines.get((*self._path, *below), self.line)}"

    def tell(self, text: str, *below: str | int) -> None:
        """Notes a problem with the key `below`, or with the table."""
        self._problems.append(f"{self.place(*below)}: {text}")

    def refuse(self, key: str, expected: str, *, place: int | None = None) -> None:
        value = self._values[key]
        value = value if place is None else value[place]
        below = (key,) if place is None else (key, place)
        self.tell(f"{key} = {json.dumps(value, default=str, ensure_ascii=False)}: {expected}", *below)

    def refuse_unknown(self, known: Collection[str], what: str) -> None:
        for key in self._values:
            if key not in known:
                self.tell(f"{key}: unknown key of {what}; {_meant(key, known)}", key)

    def raw(self, key: str) -> Any:
        return self._values.get(key)

    def text(self, key: str) -> str | None:
        value = self._values.get(key)
        if value is None or (isinstance(value, str) and value):
            return value
        self.refuse(key, "must be text between quotes")
        return None

    def flag(self, key: str) -> bool | None:
        value = self._values.get(key)
        if value is None or isinstance(value, bool):
            return value
        self.refuse(key, "must be true or false")
        return None

    def texts(self, key: str) -> list[str] | None:
        """A text alone is a list of one."""
        value = self._values.get(key)
        values = [value] if isinstance(value, str) else value
        if values is None or (isinstance(values, list) and values and all(isinstance(each, str) for each in values)):
            return values
        self.refuse(key, "must be a text or a list of texts")
        return None

    def choices(self, key: str, known: Iterable[Choice]) -> list[Choice] | None:
        by_name = {str(choice): choice for choice in known}
        names = self.texts(key)
        found = []
        for place, name in enumerate(names or []):
            where = place if isinstance(self._values[key], list) else None
            if name not in by_name:
                self.refuse(key, f"unknown {key}; {_meant(name, by_name)}", place=where)
            elif by_name[name] in found:
                self.refuse(key, f"named twice; name {name} once", place=where)
            else:
                found.append(by_name[name])
        return None if names is None else found

    def choice(self, key: str, known: Iterable[Choice]) -> Choice | None:
        """One text, not a list."""
        name = self.text(key)
        found = next((choice for choice in known if choice == name), None)
        if name is not None and found is None:
            self.refuse(key, f"unknown {key}; {_meant(name, map(str, known))}")
        return found

    def priority(self, key: str) -> int | None:
        value = self._values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            self.refuse(key, f"must be a whole number from 0 to {MAX_PRIORITY}")
        elif value is not None and not (isinstance(value, int) and 0 <= value <= MAX_PRIORITY):
            closest = 0 if math.isnan(value) else round(min(max(value, 0), MAX_PRIORITY))
            self.refuse(key, f"must be a whole number from 0 to {MAX_PRIORITY}; the nearest is {closest}")
        else:
            return value
        return None

    def duration_seconds(self, key: str) -> float | None:
        value = self._values.get(key)
        if value is None:
            return None
        try:
            return parse_duration(value)
        except (ValueError, TypeError):
            closest = _nearest_duration(str(value))
            meant = f"; did you mean {closest}?" if closest else ""
            self.refuse(key, f"must be a duration such as 500ms, 30s, 10min or 1h{meant}")
            return None

    def bounds(self, key: str) -> Bounds | None:
        """`{ min = 1, max = 5 }`, either or both, whole numbers."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, dict) or not value:
            self.refuse(key, "must be a range such as { min = 1 }, { max = 5 } or both")
            return None
        inner = self.below(key)
        inner.refuse_unknown(("min", "max"), f"the range {key}")
        found = Bounds(inner.whole("min"), inner.whole("max"))
        if found.low is not None and found.high is not None and found.low > found.high:
            inner.refuse("max", f"the range {key} is reversed; the nearest is max = {found.low}")
        return found

    def below(self, *path: str | int) -> PolicyFields:
        return PolicyFields(self._file, self._document, (*self._path, *path), self._problems)

    def table(self, key: str) -> PolicyFields | None:
        value = self._values.get(key)
        if value is not None and not isinstance(value, dict):
            self.refuse(key, f"must be a table such as {{ {HINTS[0]} = {{ min = 1 }} }}")
            return None
        return None if value is None else self.below(key)

    def tables(self, key: str) -> list[PolicyFields]:
        """The tables `[[key]]`."""
        value = self._values.get(key, [])
        if isinstance(value, list) and all(isinstance(each, dict) for each in value):
            return [self.below(key, place) for place in range(len(value))]
        self.tell(f"{key}: must be written [[{key}]], once for each", key)
        return []

    def whole(self, key: str) -> int | None:
        value = self._values.get(key)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        self.refuse(key, "must be a whole number")
        return None


def _meant(word: str, known: Iterable[str]) -> str:
    known = list(known)
    meant = nearest(word, known)
    return f"did you mean {meant}?" if meant else f"there are {', '.join(known)}"


_UNITS: Final[tuple[tuple[str, Callable[[str], str]], ...]] = (
    (r"ms|mil[a-z]*", "{}ms".format),
    (r"s[a-z]*", "{}s".format),
    (r"m[a-z]*", "{}min".format),
    (r"h[a-z]*", "{}h".format),
    (r"d[a-z]*", lambda days: f"{float(days) * 24:g}h"),
)


def _nearest_duration(text: str) -> str | None:
    """The duration that was probably meant by `5m`, `30 seconds` or `-3s`."""
    match = re.fullmatch(r"\s*(-?)([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)\s*", text.lower())
    if match is None:
        return None
    sign, number, word = match.groups()
    if sign:
        return "0s"
    return next((unit(number) for pattern, unit in _UNITS if re.fullmatch(pattern, word)), None)
