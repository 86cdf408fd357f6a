from __future__ import annotations

from typing import Any

import msgspec
import pytest

from appliance.api.client_tools import CLIENT_TOOLS
from appliance.conversation import CacheMark, Ignored, Tool, ToolChoice, ToolChoiceMode
from appliance.errors import InvalidRequest
from tests.unit.api.messages_requests import decode

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"name": "weather", "description": "Sun or rain", "input_schema": SCHEMA}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}


@pytest.mark.parametrize("kind", [{}, {"type": "custom"}, {"type": None}])
def test_a_custom_tool(kind: dict[str, Any]) -> None:
    assert decode(tools=[WEATHER | kind]).tools == (Tool("weather", "Sun or rain", SCHEMA),)
    assert decode(tools=[WEATHER | kind | {"strict": True}]).tools[0].strict is True


@pytest.mark.parametrize("kind", CLIENT_TOOLS)
def test_a_tool_that_the_client_runs_is_a_function_with_the_protocols_schema(kind: str) -> None:
    known = CLIENT_TOOLS[kind]
    conversation = decode(tools=[{"type": kind, "name": known.name}])
    assert conversation.tools == (Tool(known.name, known.description, known.parameters),)
    assert conversation.reporting.ignored == ()
    properties = known.parameters["properties"]
    assert set(known.parameters.get("required", ())) <= set(properties)
    assert "command" in properties
    assert msgspec.json.decode(msgspec.json.encode(known.parameters)) == known.parameters


def test_the_editors_differ_as_their_versions_do() -> None:
    old = CLIENT_TOOLS["text_editor_20250124"].parameters["properties"]
    new = CLIENT_TOOLS["text_editor_20250728"].parameters["properties"]
    assert "undo_edit" in old["command"]["enum"]
    assert "undo_edit" not in new["command"]["enum"]
    assert "insert_text" in new
    assert "insert_text" not in old


@pytest.mark.parametrize("kind", ["web_search_20250305", "code_execution_20250825", "computer_20251124", "mcp_toolset"])
def test_a_tool_that_a_server_runs_is_left_out_and_told(kind: str) -> None:
    conversation = decode(tools=[{"type": kind, "name": "x"}, WEATHER])
    assert [tool.name for tool in conversation.tools] == ["weather"]
    assert conversation.reporting.ignored == (Ignored("tools[0]", f"tools of type {kind} are not run here"),)


def test_a_mark_on_a_tool_that_is_left_out_is_on_the_tool_before_it() -> None:
    marked = SEARCH | {"cache_control": {"type": "ephemeral"}}
    assert decode(tools=[WEATHER, marked]).tools[0].mark == CacheMark(300.0)
    assert decode(tools=[marked, WEATHER]).tools[0].mark is None


def test_what_is_not_shown_of_a_tool_is_told() -> None:
    tool = WEATHER | {"defer_loading": True, "input_examples": [{}], "eager_input_streaming": True}
    assert [entry.field for entry in decode(tools=[tool]).reporting.ignored] == [
        "tools[0].defer_loading",
        "tools[0].input_examples",
    ]


@pytest.mark.parametrize(
    ("choice", "expected", "parallel"),
    [
        ({"type": "auto"}, ToolChoice(ToolChoiceMode.AUTO), True),
        ({"type": "any"}, ToolChoice(ToolChoiceMode.REQUIRED), True),
        ({"type": "none"}, ToolChoice(ToolChoiceMode.NONE), True),
        ({"type": "tool", "name": "weather"}, ToolChoice(ToolChoiceMode.NAMED, "weather"), True),
        ({"type": "auto", "disable_parallel_tool_use": True}, ToolChoice(ToolChoiceMode.AUTO), False),
        (None, None, True),
    ],
)
def test_choices(choice: Any, expected: ToolChoice | None, parallel: bool) -> None:
    conversation = decode(tools=[WEATHER], tool_choice=choice)
    assert (conversation.tool_choice, conversation.parallel_tool_calls) == (expected, parallel)


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "web_search"}])
def test_a_choice_of_tools_that_were_left_out_is_left_out_with_them(choice: dict[str, Any]) -> None:
    conversation = decode(tools=[SEARCH], tool_choice=choice)
    assert conversation.tool_choice is None
    assert [entry.field for entry in conversation.reporting.ignored] == ["tools[0]", "tool_choice"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": {}}, "tools"),
        ({"tools": ["weather"]}, "tools[0]"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tools": [{"name": "a"}]}, "tools[0].input_schema"),
        ({"tools": [{"name": "a", "input_schema": []}]}, "tools[0].input_schema"),
        ({"tools": [WEATHER | {"type": 5}]}, "tools[0].type"),
        ({"tools": [WEATHER | {"description": 5}]}, "tools[0].description"),
        ({"tools": [WEATHER | {"strict": "yes"}]}, "tools[0].strict"),
        ({"tools": [WEATHER, WEATHER]}, "tools[1].name"),
        ({"tools": [{"type": "bash_20250124", "name": "sh"}]}, "tools[0].name"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": {}}, "tool_choice.type"),
        ({"tool_choice": {"type": "required"}}, "tool_choice.type"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool"}}, "tool_choice.name"),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "auto", "disable_parallel_tool_use": 1}},
            "tool_choice.disable_parallel_tool_use",
        ),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(**fields)
    assert caught.value.param == param


def test_a_choice_that_is_no_tool_gets_the_nearest_one() -> None:
    with pytest.raises(InvalidRequest, match=r"did you mean weather\?"):
        decode(tools=[WEATHER], tool_choice={"type": "tool", "name": "weather2"})
