from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.tool_input import ToolInput, input_json

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.text('a"\\{}[] é\n', max_size=6)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text('b"\\}', max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)
objects = st.dictionaries(st.text('c"\\{', max_size=3), values, max_size=4)
blanks = st.text(" \n\t", max_size=2)


def cut(text: str, places: list[int]) -> list[str]:
    ends = sorted(place % (len(text) + 1) for place in places)
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


def sent(pieces: list[str]) -> tuple[str, ToolInput]:
    taken = ToolInput()
    text = "".join([taken.add(piece) for piece in pieces])
    return text + taken.end(), taken


@given(objects, st.booleans(), blanks, st.text(max_size=4), st.lists(st.integers(0, 300), max_size=8))
def test_an_object_goes_through_whole_however_it_is_cut_and_whatever_stands_around_it(
    value: dict[str, object], ascii_only: bool, before: str, after: str, places: list[int]
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    passed, taken = sent(cut(before + text + after, places))
    assert passed == text
    assert taken.is_complete
    assert json.loads(bytes(input_json(passed))) == value


@given(objects, st.integers(0, 300), st.lists(st.integers(0, 300), max_size=5))
def test_an_object_that_is_cut_off_is_sent_as_far_as_it_came(
    value: dict[str, object], length: int, places: list[int]
) -> None:
    text = json.dumps(value)
    begun = text[: length % len(text)]
    passed, taken = sent(cut(begun, places))
    assert passed == begun
    assert taken.is_complete == (begun == "")
    assert isinstance(json.loads(bytes(input_json(passed))), dict)


@pytest.mark.parametrize("text", ["", " ", "null", "\nnull "])
def test_no_input_is_an_empty_object(text: str) -> None:
    passed, _ = sent([text])
    assert passed == ""
    assert bytes(input_json(passed)) == b"{}"


@pytest.mark.parametrize("text", ["[1]", '"x"', "city: Bern", "7"])
def test_text_that_is_no_object_becomes_the_member_of_one(text: str) -> None:
    passed, _ = sent(list(text))
    assert json.loads(passed) == {"_unparsed": text}


@pytest.mark.parametrize("text", ["{city: 1}", '{"a": NaN}', '{"a": "\\ud800"}', '{"a" 1}'])
def test_an_object_that_no_client_can_read_becomes_the_member_of_one(text: str) -> None:
    assert json.loads(bytes(input_json(text))) == {"_unparsed": text}


def test_numbers_are_passed_on_as_they_were_written() -> None:
    assert bytes(input_json('{"a": 1.10, "b": 123456789012345678901234567890}')) == (
        b'{"a": 1.10, "b": 123456789012345678901234567890}'
    )
