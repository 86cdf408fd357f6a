from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from appliance.units import Bytes, Seconds, format_bytes, format_duration, parse_bytes, parse_duration


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("120MiB", 120 * 2**20),
        ("1.5GiB", 3 * 2**29),
        ("2GB", 2_000_000_000),
        ("1 kB", 1000),
        ("1tib", 2**40),
        (" 7B ", 7),
        ("1.1KiB", 1126),
        ("0", 0),
        ("4096", 4096),
        (4096, 4096),
    ],
)
def test_sizes_are_read_with_their_unit(text: str | int, size_bytes: int) -> None:
    assert parse_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "MiB", "12 parsecs", "120M", "-1", -1, "1e9", 1.5, "1.5.5GiB", True, None, [1]])
def test_what_is_no_size_is_refused_with_what_is_accepted(text: Any) -> None:
    with pytest.raises(ValueError, match=r"is not a size such as 120MiB") as error:
        parse_bytes(text)
    assert repr(text) in str(error.value)


@given(st.integers(min_value=0, max_value=2**60 - 1))
def test_a_size_survives_being_written_and_read(size_bytes: int) -> None:
    assert parse_bytes(format_bytes(size_bytes)) == size_bytes


@pytest.mark.parametrize("text", ["0", "1B", "64MiB", "1536MiB", "2GB", "16GiB", "500kB", "1KiB"])
def test_sizes_are_written_in_the_unit_people_use(text: str) -> None:
    assert format_bytes(parse_bytes(text)) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("500ms", 0.5), ("10min", 600), ("10m", 600), ("1h", 3600), ("1.5 h", 5400), ("0.1s", 0.1), ("2", 2)],
)
def test_durations_are_read_with_their_unit(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "5 fortnights", "10M", "-1s", -1, float("inf"), float("nan"), "inf", True, None, 1e12]
)
def test_what_is_no_duration_is_refused_with_what_is_accepted(text: Any) -> None:
    with pytest.raises(ValueError, match=r"is not a duration such as 500ms") as error:
        parse_duration(text)
    assert repr(text) in str(error.value)


@given(st.floats(min_value=0, max_value=1e12, exclude_max=True))
def test_a_duration_survives_being_written_and_read(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize("text", ["0s", "500ms", "30s", "90s", "15min", "1h", "24h"])
def test_durations_are_written_in_the_unit_people_use(text: str) -> None:
    assert format_duration(parse_duration(text)) == text


@pytest.mark.parametrize(("kind", "text", "value"), [(Bytes, "64MiB", 2**26), (Seconds, "500ms", 0.5)])
def test_the_types_are_numbers_in_python_and_text_in_json(kind: Any, text: str, value: float) -> None:
    adapter: TypeAdapter[float] = TypeAdapter(kind)
    assert adapter.validate_python(text) == value
    assert adapter.dump_python(value) == value
    assert adapter.dump_python(value, mode="json") == text
    schema = adapter.json_schema()
    assert all(re.search(schema["pattern"], str(example)) for example in schema["examples"])
