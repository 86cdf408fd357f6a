from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api import json_body
from appliance.api.json_body import MAX_NESTING, NestedTooDeeplyError, decode_json, lone_surrogate

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=20,
)


@given(values, st.sampled_from([None, 1, 2]), st.integers(1, 64))
def test_text_cut_into_pieces_is_read_as_if_it_were_whole(value: Any, indent: int | None, piece: int) -> None:
    text = json.dumps(value, indent=indent).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_body, "PIECE_BYTES", piece)
        assert decode_json(text) == value


@given(st.binary(max_size=40), st.integers(1, 16))
def test_what_is_no_json_whole_is_none_in_pieces(text: bytes, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_body, "PIECE_BYTES", piece)
        try:
            expected = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
                decode_json(text)
        else:
            assert decode_json(text) == expected


@pytest.mark.parametrize("piece", [4, json_body.PIECE_BYTES])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_nesting_ends_at_its_limit(opening: bytes, closing: bytes, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_body, "PIECE_BYTES", piece)
    decode_json(opening * MAX_NESTING + b"1" + closing * MAX_NESTING)
    for depth in (MAX_NESTING + 1, 900, 5000):
        with pytest.raises(NestedTooDeeplyError):
            decode_json(opening * depth + b"1" + closing * depth)


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
