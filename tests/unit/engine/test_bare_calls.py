from __future__ import annotations

import json
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.bare_calls import BareCalls, Found
from appliance.generation import ToolCallDelta

CALL = '{"name": "weather", "arguments": {"city": "Rome"}}'


def reader() -> BareCalls:
    numbers = count(1)
    return BareCalls({"weather", "clock"}, new_id=lambda: f"c{next(numbers)}")


def read(pieces: list[str]) -> Found:
    calls = reader()
    found = [calls.feed(piece, finished=False) for piece in pieces] + [calls.feed("", finished=True)]
    return Found("".join(text for text, _ in found), tuple(call for _, made in found for call in made))


def told(text: str) -> tuple[str, list[tuple[int, str | None, str]]]:
    found = read([text])
    return found.text, [(call.index, call.name, call.arguments) for call in found.calls]


@pytest.mark.parametrize(
    "text",
    [
        CALL,
        f"```json\n{CALL}\n```",
        f"```\n{CALL}\n```\n",
        f"```tool_call\n{CALL}```",
        f"```json\n{CALL}",
        f"  {CALL}",
        f"[{CALL}]",
        '{"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}',
        '{"tool": "weather", "parameters": {"city": "Rome"}}',
        '{"name": "weather", "arguments": "{\\"city\\": \\"Rome\\"}"}',
        '{\n  "name": "weather",\n  "arguments": {\n    "city": "Rome"\n  }\n}',
    ],
)
def test_what_small_models_write_is_a_call(text: str) -> None:
    shown, calls = told(text)
    assert shown.strip() == ""
    assert [(index, name, json.loads(arguments)) for index, name, arguments in calls] == [
        (0, "weather", {"city": "Rome"})
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Rome is warm.",
        '{"name": "unknown", "arguments": {}}',
        '{"city": "Rome"}',
        '{"name": "weather", "arguments": [1]}',
        '{"name": "weather", "arguments": {}, "comment": "x"}',
        f"So I call {CALL}",
        "```python\nprint({'name': 1})\n```",
        "```json\n[1, 2]\n```",
        '{"name": "weather", "argum',
        "```",
        "{",
        "[",
        "[[[]]]",
        "a\n\n```\n\n{",
    ],
)
def test_anything_else_stays_text(text: str) -> None:
    assert told(text) == (text, [])


def test_text_before_and_behind_a_call_is_shown() -> None:
    assert told(f"Let me look.\n{CALL}\nThere.") == ("Let me look.\n\nThere.", [(0, "weather", '{"city": "Rome"}')])


def test_calls_are_numbered_and_have_ids_of_their_own() -> None:
    found = read([f'{CALL}\n{{"name": "clock"}}\n'])
    assert found.calls == (
        ToolCallDelta(0, "c1", "weather", '{"city": "Rome"}'),
        ToolCallDelta(1, "c2", "clock", "{}"),
    )


def test_ordinary_text_is_shown_as_it_comes() -> None:
    calls = reader()
    assert [calls.feed(piece, finished=False).text for piece in ("Rome", " is", " warm\n", "and", " {dry}")] == [
        "Rome",
        " is",
        " warm\n",
        "and",
        " {dry}",
    ]


def test_code_is_held_back_for_its_first_line_at_most() -> None:
    calls = reader()
    assert calls.feed("```py", finished=False).text == "```py"
    assert calls.feed("thon\nx = {}\n", finished=False).text == "thon\nx = {}\n"


parts = st.sampled_from(
    [CALL, "```json\n", "```", "\n", " ", "text", "{", "}", '"', "[", "]", '{"name": "clock"}', "`"]
)


@given(st.lists(parts, max_size=10).map("".join), st.lists(st.integers(1, 40), max_size=12))
def test_how_the_text_is_cut_makes_no_difference(text: str, cuts: list[int]) -> None:
    pieces, rest = [], text
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    assert read([*pieces, rest]) == read([text])


@given(st.text("{}[]\"'`abn:,\n ", max_size=60))
def test_text_without_a_call_comes_out_as_it_went_in(text: str) -> None:
    assert read([text]) == Found(text)
