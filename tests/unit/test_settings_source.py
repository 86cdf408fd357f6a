from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.settings_source import key_lines, variable_name

KeyPath = tuple[str, ...]

# Text that looks like TOML structure, so that a finder which mistakes a string for a key or a table is caught.
TRICKY = st.text(alphabet="ab =[]{}#,.\"'\\\n", max_size=12)
BARE = st.text(alphabet="abAB01_-", min_size=1, max_size=3)


def basic(text: str) -> str:
    return json.dumps(text, ensure_ascii=True)


def multi_line(text: str) -> str:
    return '"""\n' + text.replace("\\", "\\\\").replace('"""', '""\\"') + '"""'


def multi_line_literal(text: str) -> str:
    return "'''\n" + re.sub("'{3,}", "''", text) + "'''"


def literal(text: str) -> str:
    return "'" + re.sub(r"['\n]", "", text) + "'"


KEY_PART = st.one_of(BARE, TRICKY.map(basic), TRICKY.map(literal))
DOT = st.sampled_from([".", " . ", "\t."])
# Documents are drawn line by line through tomllib, which on a busy machine is slower than hypothesis expects.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

QUOTES = st.sampled_from(["", "x", '"', '""', "'", "''"])
STRING = st.one_of(
    TRICKY.map(basic),
    TRICKY.map(literal),
    st.tuples(TRICKY, QUOTES).map("".join).map(multi_line),
    st.tuples(TRICKY, QUOTES).map("".join).map(multi_line_literal),
)
SCALAR = st.one_of(STRING, st.sampled_from(["1", "-1.5e3", "true", "inf", "1979-05-27 07:32:00", "0xff", "07:32:00"]))
GAP = st.sampled_from(["", " ", "\n", '\n# a = [ "\n', " # } ]\n\n"])


@st.composite
def dotted_keys(draw: st.DrawFn) -> str:
    parts = draw(st.lists(KEY_PART, min_size=1, max_size=3))
    return draw(DOT).join(parts)


@st.composite
def inline_tables(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    members = draw(st.lists(st.tuples(dotted_keys(), values), max_size=3))
    return "{ " + ", ".join(f"{key} = {value}" for key, value in members) + " }"


@st.composite
def arrays(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    members = draw(st.lists(st.tuples(GAP, values, GAP), max_size=3))
    return "[" + ",".join("".join(member) for member in members) + draw(GAP) + "]"


VALUES = st.recursive(SCALAR, lambda inner: st.one_of(inline_tables(inner), arrays(inner)), max_leaves=5)
LINES = st.one_of(
    st.tuples(dotted_keys(), VALUES).map(" = ".join),
    st.tuples(dotted_keys(), VALUES).map("= ".join),
    dotted_keys().map(lambda key: f"[{key}]"),
    dotted_keys().map(lambda key: f"[ {key} ] # ]"),
    dotted_keys().map(lambda key: f"[[{key}]]"),
    st.sampled_from(["", "# [a]", "   "]),
)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A valid document: every drawn line that `tomllib` takes after those before it."""
    text = ""
    for line in draw(st.lists(LINES, max_size=8)):
        longer = f"{text}{line}\n"
        try:
            tomllib.loads(longer)
        except tomllib.TOMLDecodeError:
            continue
        text = longer
    return text


def leaves(table: dict[str, Any], above: KeyPath = ()) -> Iterator[KeyPath]:
    for part, value in table.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*above, part))
        else:
            yield (*above, part)


def parts_on(line: str) -> set[str]:
    """Every reading of every piece of a line that could be a part of a key."""
    pieces = {line[start:end] for start in range(len(line)) for end in range(start + 1, len(line) + 1)}
    found = set()
    for piece in pieces:
        if re.fullmatch(r"[A-Za-z0-9_-]+|'[^'\n]*'|\"(?:[^\"\\\n]|\\.)*\"", piece):
            try:
                found.add(next(iter(tomllib.loads(f"{piece} = 0"))))
            except tomllib.TOMLDecodeError:
                continue
    return found


@unhurried
@given(documents())
def test_every_key_that_tomllib_finds_has_a_line_that_shows_it(text: str) -> None:
    found = key_lines(text)
    lines = text.split("\n")
    for key_path in leaves(tomllib.loads(text)):
        assert key_path[-1] in parts_on(lines[found[key_path] - 1])


@unhurried
@given(documents(), st.lists(st.sampled_from(["", "# b = 1"]), min_size=1, max_size=4))
def test_lines_put_before_a_document_move_every_key_by_as_many(text: str, before: list[str]) -> None:
    moved = key_lines("".join(f"{line}\n" for line in before) + text)
    assert moved == {key_path: line + len(before) for key_path, line in key_lines(text).items()}


@unhurried
@given(documents())
def test_windows_line_ends_change_no_line(text: str) -> None:
    assert key_lines(text.replace("\n", "\r\n")) == key_lines(text)


def test_each_shape_of_key_is_found_where_it_stands() -> None:
    text = '''# a = 0
a = """
b = 1
\\"""" # not the end: ]
"b.c".d = [
  { e = 1 }, # f = 2
  "]",
]
[table]
x.y = { z = '}', w.v = 1 }
[table.'sub']
[[many]]
n = 1
'''
    assert key_lines(text) == {
        ("a",): 2,
        ("b.c",): 5,
        ("b.c", "d"): 5,
        ("table",): 9,
        ("table", "x"): 10,
        ("table", "x", "y"): 10,
        ("table", "x", "y", "z"): 10,
        ("table", "x", "y", "w"): 10,
        ("table", "x", "y", "w", "v"): 10,
        ("table", "sub"): 11,
        ("many",): 12,
        ("many", "n"): 13,
    }


@pytest.mark.parametrize("text", ["", "# only a comment", "\n\n", "a = 1"])
def test_a_document_need_not_end_with_a_line_break(text: str) -> None:
    assert key_lines(text) == ({("a",): 1} if "=" in text else {})


def test_a_variable_has_two_underscores_between_parts() -> None:
    assert variable_name("cache.gpu.bytes") == "DYNAMO_BOX_CACHE__GPU__BYTES"
