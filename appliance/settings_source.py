"""Where settings come from: reads a file, the environment and the command line, and remembers who set what where.

Each reader returns a `Reading`: the known keys with value and `Source`, and a `Problem` for each thing that it could
not take. Nothing here knows the schema; the dotted keys that exist are passed in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from appliance.errors import nearest
from appliance.toml_document import TomlDocument, TomlError, read_toml

ENVIRONMENT_PREFIX = "DYNAMO_BOX_"
CONFIG_VARIABLE = f"{ENVIRONMENT_PREFIX}CONFIG"
CONFIG_OPTION = "--config"
SET_OPTION = "--set"


@dataclass(frozen=True, slots=True)
class Default:
    """Nobody set the key."""

    def __str__(self) -> str:
        return "default"


@dataclass(frozen=True, slots=True)
class FileLine:
    """A line of a settings file, counted from 1; `None`: the file as a whole."""

    path: Path
    line: int | None = None

    def __str__(self) -> str:
        return str(self.path) if self.line is None else f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Option:
    """A command line option."""

    name: str

    def __str__(self) -> str:
        return self.name


Source = Default | FileLine | Variable | Option


class Entry(NamedTuple):
    value: object
    source: Source


class Problem(NamedTuple):
    """One thing that is wrong, as one line of text without a line break."""

    source: Source
    text: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What one source sets, by dotted key."""

    entries: dict[str, Entry] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def variable_name(key: str) -> str:
    """The environment variable that sets a dotted key: `cache.gpu.bytes` is `DYNAMO_BOX_CACHE__GPU__BYTES`."""
    return ENVIRONMENT_PREFIX + key.upper().replace(".", "__")


def read_options(options: Mapping[str, object], keys: Collection[str], names: Mapping[str, str]) -> Reading:
    """Takes values by dotted key and skips `None`. `names` holds the keys that have an option of their own."""
    reading = Reading()
    for key, value in options.items():
        source = Option(names.get(key, SET_OPTION))
        if value is None:
            continue
        if key in keys:
            reading.entries[key] = Entry(value, source)
        else:
            place = f"{SET_OPTION} {key}"
            reading.problems.append(Problem(source, f"{place}: unknown key{_meant(_nearest_key(key, keys))}"))
    return reading


def read_variables(environ: Mapping[str, str], keys: Collection[str]) -> Reading:
    """Takes every `DYNAMO_BOX_…` variable except the one that names the file. An empty variable counts as not set."""
    reading = Reading()
    key_of = {variable_name(key): key for key in keys}
    known = [name.removeprefix(ENVIRONMENT_PREFIX) for name in (*key_of, CONFIG_VARIABLE)]
    for name, value in sorted(environ.items()):
        if not name.startswith(ENVIRONMENT_PREFIX) or name == CONFIG_VARIABLE:
            continue
        source = Variable(name)
        if name not in key_of:
            close = nearest(name.removeprefix(ENVIRONMENT_PREFIX), known)
            text = f"{name}: unknown variable{_meant(close and ENVIRONMENT_PREFIX + close)}"
            reading.problems.append(Problem(source, text))
        elif value:
            reading.entries[key_of[name]] = Entry(value, source)
    return reading


def read_file(path: Path, keys: Collection[str], named_by: str) -> Reading:
    """Takes a TOML file. `named_by` stands before the path when the file cannot be opened (`--config `)."""
    try:
        document = read_toml(path)
    except TomlError as error:
        opening = named_by if error.line is None else ""
        return Reading(problems=[Problem(FileLine(path, error.line), f"{opening}{error.message}")])
    return _read_document(path, document, keys)


def _read_document(path: Path, document: TomlDocument, keys: Collection[str]) -> Reading:
    reading = Reading()
    tables = {key.rpartition(".")[0] for key in keys} | {key.partition(".")[0] for key in keys}
    for key_path, value in _walk(document.values):
        key = ".".join(map(_written, key_path))
        source = FileLine(path, document.lines[key_path])
        if key in keys:
            reading.entries[key] = Entry(value, source)
        elif key not in tables:
            text = f"{source}: {key}: unknown key{_meant(_nearest_key(key, keys))}"
            reading.problems.append(Problem(source, text))
        elif not isinstance(value, dict):
            text = f"{source}: {key} is a table: write [{key}] and its keys below it"
            reading.problems.append(Problem(source, text))
    return reading


def _walk(table: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value that is no table, and every empty table."""
    for part, value in table.items():
        key_path = (*above, part)
        if isinstance(value, dict) and value:
            yield from _walk(value, key_path)
        else:
            yield key_path, value


def _written(part: str) -> str:
    """A part of a key as TOML has it, so that `"server.port"` in quotes is not taken for `server.port`."""
    return part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else json.dumps(part, ensure_ascii=False)


def _nearest_key(key: str, keys: Collection[str]) -> str | None:
    """The key most like `key` as a whole, else the one whose last part is most like that of `key`."""
    by_last_part = {known.rpartition(".")[2]: known for known in keys}
    close = nearest(key.rpartition(".")[2], by_last_part)
    return nearest(key, keys) or (by_last_part[close] if close else None)


def _meant(candidate: str | None) -> str:
    return f"; did you mean {candidate}?" if candidate else ""
