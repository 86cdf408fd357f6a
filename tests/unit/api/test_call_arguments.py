from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.call_arguments import readable

strings = st.text(st.one_of(st.characters(categories=["Cs"]), st.sampled_from('a\\"u0d8')), max_size=6)


@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        (r'{"a": "x\ud83d"}', '{"a": "x\ufffd"}'),
        (r'{"\uDC00": [1]}', '{"\ufffd": [1]}'),
        (r'{"a":"\ud83d\ude00"}', r'{"a":"\ud83d\ude00"}'),
        (r'{"a":"\\ud83d"}', r'{"a":"\\ud83d"}'),
        (r'{"a": "\ud83d', r'{"a": "\ud83d'),
        ('{"a": "é"}', '{"a": "é"}'),
        ("", ""),
        ("[" * 100_000 + r'"\ud83d"', "[" * 100_000 + r'"\ud83d"'),
    ],
)
def test_only_half_a_pair_is_replaced(arguments: str, read: str) -> None:
    assert readable(arguments) == read


@given(st.dictionaries(strings, strings, max_size=3))
def test_what_is_read_has_tokens(value: dict[str, str]) -> None:
    json.dumps(json.loads(readable(json.dumps(value))), ensure_ascii=False).encode()
