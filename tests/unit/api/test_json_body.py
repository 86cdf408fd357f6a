from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.api import json_body, json_pieces
from appliance.api.json_body import (
    MAX_NESTING,
    SHORT_BYTES,
    Bounds,
    NestedTooDeeplyError,
    TooManyValuesError,
    TooMuchTextError,
    decode_json,
    lone_surrogate,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=20,
)


@contextmanager
def in_pieces(piece: int) -> Iterator[None]:
    """All text is long, and cut into pieces of so many bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_body, "SHORT_BYTES", 0)
        patch.setattr(json_pieces, "PIECE_BYTES", piece)
        yield


@given(values, st.sampled_from([None, 1, 2]), st.booleans(), st.integers(1, 64))
def test_text_cut_into_pieces_is_read_as_if_it_were_whole(
    value: Any, indent: int | None, ascii_only: bool, piece: int
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    with in_pieces(piece):
        assert decode_json(text) == value


def expected_of(text: bytes) -> Any:
    """What msgspec makes of it as a whole; an exception for what is no JSON."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return error


def check_same_as_whole(text: bytes, piece: int) -> None:
    expected = expected_of(text)
    with in_pieces(piece):
        if isinstance(expected, Exception):
            with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
                decode_json(text)
        else:
            assert decode_json(text) == expected


@given(st.binary(max_size=40), st.integers(1, 16))
def test_what_is_no_json_whole_is_none_in_pieces(text: bytes, piece: int) -> None:
    check_same_as_whole(text, piece)


TOKENS = [
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    '"',
    '""',
    '"a"',
    '"\\',
    "\\u",
    "\\ud83d\\ude00",
    "\\udc00",
    "é",
    "1",
    "null",
    " ",
    "\n",
    '"b":',
]


@settings(max_examples=400)
@given(st.lists(st.sampled_from(TOKENS), max_size=14).map("".join), st.integers(1, 8))
def test_what_is_almost_json_is_read_or_refused_in_pieces_as_it_is_whole(text: str, piece: int) -> None:
    check_same_as_whole(text.encode(), piece)


@settings(max_examples=400)
@given(values, st.data(), st.integers(1, 8))
def test_a_byte_that_is_lost_or_changed_is_noticed_in_pieces_too(value: Any, data: st.DataObject, piece: int) -> None:
    text = bytearray(json.dumps(value).encode())
    place = data.draw(st.integers(0, len(text) - 1))
    text[place : place + 1] = data.draw(st.sampled_from([b"", b",", b"]", b"}", b'"', b"\\", b" ", b":"]))
    check_same_as_whole(bytes(text), piece)


@pytest.mark.parametrize("piece", [4, json_pieces.PIECE_BYTES])
@pytest.mark.parametrize("short", [0, json_body.SHORT_BYTES])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_nesting_ends_at_its_limit(
    opening: bytes, closing: bytes, short: int, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_body, "SHORT_BYTES", short)
    monkeypatch.setattr(json_pieces, "PIECE_BYTES", piece)
    decode_json(opening * MAX_NESTING + b"1" + closing * MAX_NESTING)
    for depth in (MAX_NESTING + 1, 900, 5000):
        with pytest.raises(NestedTooDeeplyError):
            decode_json(opening * depth + b"1" + closing * depth)


@pytest.mark.parametrize("text", ["a" * 3_000_000, 'é€😀\n"' * 200_000, "\\" * 1_000_000, ""])
def test_a_long_string_is_read_to_its_last_character(text: str) -> None:
    for ascii_only in (True, False):
        body = json.dumps([text, {text: 1}] * 2, ensure_ascii=ascii_only).encode()
        assert decode_json(body) == [text, {text: 1}] * 2


def test_values_beyond_their_bounds_are_refused_before_anything_is_decoded() -> None:
    text = b'{"a": [[], {}, 1, 2' + b" " * SHORT_BYTES + b"]}"
    assert decode_json(text, Bounds(values=7, containers=4)) == {"a": [[], {}, 1, 2]}
    for bounds, found in ((Bounds(values=6), 7), (Bounds(containers=3), 4)):
        with pytest.raises(TooManyValuesError) as refused:
            decode_json(text + b"no JSON", bounds)
        assert refused.value.found == found


def test_images_and_files_do_not_count_as_text() -> None:
    data = "data:image/png;base64," + "aB9+/z" * 100_000
    assert decode_json(json.dumps(["é", data]).encode(), Bounds(text_bytes=6)) == ["é", data]
    for text in (data + " ", "w " * SHORT_BYTES, "a" * SHORT_BYTES):
        with pytest.raises(TooMuchTextError) as refused:
            decode_json(json.dumps(["é", text, []]).encode(), Bounds(text_bytes=len(text) + 5))
        assert refused.value.found == len(text) + 6


def test_many_brackets_side_by_side_are_not_deep() -> None:
    value: list[object] = [[{}]] * 1000
    assert decode_json(msgspec.json.encode(value)) == value
    assert decode_json(b'"' + b"[" * 1000 + b'"') == "[" * 1000


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (b'{"a": [1, {"b": "x\\ud800"}]}', "a[1].b"),
        (b'{"a": {"\\udc00": 1}}', "a"),
        (b'["\xed\xa0\x80"]', "[0]"),
        (b'"\\ud800"', ""),
        (b'{"a": "\\ud83d\\ude00"}', None),
        (b'{"a": ', None),
        (b"\xff", None),
        (b"[" * 100_000, None),
    ],
)
def test_half_a_pair_of_surrogates_is_found_where_it_stands(text: bytes, path: str | None) -> None:
    assert lone_surrogate(text) == path
