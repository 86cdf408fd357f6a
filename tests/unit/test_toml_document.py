from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.toml_document import KeyPath, TomlError, key_lines, read_toml

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
unhurried = settings(suppress_health_check=[HealthCheck.too_slow])

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


def paths(value: Any, above: KeyPath = ()) -> Iterator[KeyPath]:
    """The path of every key and every element."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, member in members:
        yield (*above, part)
        yield from paths(member, (*above, part))


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
def test_every_key_and_element_that_tomllib_finds_has_a_line(text: str) -> None:
    found = key_lines(text)
    lines = text.split("\n")
    assert set(found) == set(paths(tomllib.loads(text)))
    for key_path, line in found.items():
        part = key_path[-1]
        assert part in parts_on(lines[line - 1]) if isinstance(part, str) else line >= found[key_path[:-1]]


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
[[many]]
n = 2
[many.below]
m = 3
'''
    assert key_lines(text) == {
        ("a",): 2,
        ("b.c",): 5,
        ("b.c", "d"): 5,
        ("b.c", "d", 0): 6,
        ("b.c", "d", 0, "e"): 6,
        ("b.c", "d", 1): 7,
        ("table",): 9,
        ("table", "x"): 10,
        ("table", "x", "y"): 10,
        ("table", "x", "y", "z"): 10,
        ("table", "x", "y", "w"): 10,
        ("table", "x", "y", "w", "v"): 10,
        ("table", "sub"): 11,
        ("many",): 12,
        ("many", 0): 12,
        ("many", 0, "n"): 13,
        ("many", 1): 14,
        ("many", 1, "n"): 15,
        ("many", 1, "below"): 16,
        ("many", 1, "below", "m"): 17,
    }


@pytest.mark.parametrize("text", ["", "# only a comment", "\n\n", "a = 1"])
def test_a_document_need_not_end_with_a_line_break(text: str) -> None:
    assert key_lines(text) == ({("a",): 1} if "=" in text else {})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a = 1\nb =\n", ":2: not valid TOML: "),
        (b"a = 1\n[b", ":2: not valid TOML: "),
        (b"a = 1\nb = '\xff'", ":2: not valid TOML: not UTF-8"),
    ],
)
def test_what_is_no_toml_is_refused_with_its_line(content: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "some.toml"
    path.write_bytes(content)
    with pytest.raises(TomlError) as refused:
        read_toml(path)
    assert refused.value.message.startswith(f"{path}{problem}")
    assert refused.value.line == 2


@pytest.mark.parametrize(("name", "reason"), [("missing.toml", "no such file"), ("", "cannot be read: Is a directory")])
def test_a_file_that_cannot_be_opened_has_no_line(name: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(TomlError) as refused:
        read_toml(path)
    assert (refused.value.message, refused.value.line) == (f"{path}: {reason}", None)


def test_a_byte_order_mark_and_windows_line_ends_are_read_over(tmp_path: Path) -> None:
    path = tmp_path / "some.toml"
    path.write_bytes("\ufeffa = 1\r\nb = 2\r\n".encode())
    document = read_toml(path)
    assert (document.values, document.lines) == ({"a": 1, "b": 2}, {("a",): 1, ("b",): 2})
