"""The language of `/`."""

from __future__ import annotations

import pytest

from appliance.tui.filters import FilterError, Value, filter_of

COLUMNS = ["session", "tokens", "state"]
ROW: dict[str, Value] = {"session": "Claude-7f", "tokens": 1_200, "state": None}


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("", True),
        ("claude", True),
        ("CLAUDE 1200", True),
        ("pi", False),
        ("!pi", True),
        ("!claude", False),
        ("session:7f", True),
        ("state:idle", False),
        ("http://x", False),
        ("tokens>1000", True),
        ("tokens>=1200 tokens<=1200 tokens=1200", True),
        ("tokens<1200", False),
        ("state>1", False),
        ("session=claude-7f", True),
        ("!tokens>1000", False),
        ("!", False),
    ],
)
def test_terms_must_all_hold(text: str, fits: bool) -> None:
    assert filter_of(text, COLUMNS)(ROW) is fits


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tokns>1", "tokns>1: no column tokns; did you mean tokens?"),
        ("zzz>1", "zzz>1: no column zzz; there are session, tokens, state"),
        ("tokens>many", "tokens>many: many is no number"),
    ],
)
def test_what_makes_no_sense_is_told_with_what_would(text: str, message: str) -> None:
    with pytest.raises(FilterError) as caught:
        filter_of(text, COLUMNS)
    assert caught.value.message == message
