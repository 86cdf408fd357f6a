from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.custom_tools import (
    CUSTOM_PARAMETERS,
    CustomInput,
    custom_arguments,
    custom_input,
    custom_names,
    custom_tool,
)
from appliance.conversation import Tool, ToolKind

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
pieces = st.sampled_from(
    [
        '{"input": "',
        "{",
        '"',
        "input",
        ":",
        " ",
        "\\",
        "\\n",
        "\\u",
        "00e9",
        "\\ud83d",
        "\\ude00",
        "\\'",
        "a",
        "}",
        "d8",
    ]
)
written = st.one_of(texts, st.lists(pieces, max_size=9).map("".join))


def test_a_model_sees_a_function_with_one_string() -> None:
    tool = custom_tool("patch", "Patches.", None)
    assert tool == Tool("patch", "Patches.", CUSTOM_PARAMETERS, kind=ToolKind.CUSTOM)
    assert custom_names([tool, Tool("read")]) == {"patch"}


@given(texts, st.booleans())
def test_the_input_is_what_was_put_in(text: str, is_ascii: bool) -> None:
    assert custom_input(custom_arguments(text)) == text
    assert custom_input(json.dumps({"input": text}, ensure_ascii=is_ascii)) == text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("", ""),
        ("*** Begin Patch", "*** Begin Patch"),
        ('{"inp', '{"inp'),
        ('{"patch": "x"}', '{"patch": "x"}'),
        ('"x"', '"x"'),
        (' {\n "input" : "x" } trailing', "x"),
        ('{"input": "cut of', "cut of"),
        ('{"input": "cut \\', "cut "),
        ('{"input": "it\\\'s \\d+"}', "it\\'s \\d+"),
        ('{"input": "\\u12"}', "\\u12"),
        ('{"input": "\\ud83d\\ude00 \\ud83d! \\ude00"}', "😀 \ufffd! \ufffd"),
        ('{"input": "\\ud83d\\ud83d\\ude00"}', "\ufffd😀"),
    ],
)
def test_whatever_a_model_writes_has_an_input(arguments: str, text: str) -> None:
    assert custom_input(arguments) == text


@given(written, st.lists(st.integers(0, 60), max_size=6))
def test_the_input_does_not_depend_on_how_the_arguments_are_cut(arguments: str, cuts: list[int]) -> None:
    reader = CustomInput()
    edges = [0, *sorted(min(cut, len(arguments)) for cut in cuts), len(arguments)]
    parts = [arguments[start:end] for start, end in pairwise(edges)]
    assert "".join(reader.add(part) for part in parts) + reader.end() == custom_input(arguments)


@given(written)
def test_an_input_can_always_be_sent(arguments: str) -> None:
    custom_input(arguments).encode()
