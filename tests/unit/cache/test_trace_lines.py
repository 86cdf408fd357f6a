from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cache.trace_lines import MALFORMED, LineError, at_line, numbered_rows


@given(st.lists(st.none() | st.dictionaries(st.text(), st.integers())))
def test_a_row_has_the_number_of_its_line_and_blank_lines_have_none(rows: list[dict[str, int] | None]) -> None:
    text = "\n".join("" if row is None else json.dumps(row) for row in rows)
    expected = [(number, row) for number, row in enumerate(rows, start=1) if row is not None]
    assert list(numbered_rows(text)) == expected


def test_rows_in_front_of_a_line_that_is_no_json_are_read() -> None:
    rows = numbered_rows('{"a": 1}\n{"a": }')
    assert next(rows) == (1, {"a": 1})
    with pytest.raises(LineError, match="no JSON: Expecting value, at character 7") as caught:
        next(rows)
    assert caught.value.line == 2


@pytest.mark.parametrize("kind", MALFORMED)
def test_whatever_a_reader_runs_into_is_the_fault_of_its_line(kind: type[Exception]) -> None:
    with pytest.raises(LineError) as caught, at_line(7):
        raise kind("hash_ids")
    assert caught.value.line == 7
    assert "hash_ids" in str(caught.value)


def test_what_is_not_about_the_shape_of_a_record_goes_through() -> None:
    with pytest.raises(ZeroDivisionError), at_line(7):
        raise ZeroDivisionError
