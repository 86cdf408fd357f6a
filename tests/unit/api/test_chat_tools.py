from __future__ import annotations

from typing import Any

import pytest

from appliance.api.chat_reading import Reading
from appliance.api.chat_tools import decode_tool_choice, decode_tools
from appliance.api.custom_tools import custom_tool
from appliance.api.fields import Fields
from appliance.conversation import CacheMark, Ignored, Tool, ToolChoice, ToolChoiceMode
from appliance.errors import InvalidRequest

TOOLS = (Tool("read_file"), Tool("write_file"))


def tools_of(*tools: Any) -> tuple[Tool, ...]:
    return decode_tools(Fields({"tools": list(tools)}), Reading())


def chosen(choice: Any, tools: tuple[Tool, ...], reading: Reading | None = None) -> ToolChoice | None:
    return decode_tool_choice(Fields({"tool_choice": choice}), tools, reading or Reading())


def tool(name: str = "f", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **fields}}


def allowed(*names: str, mode: str = "auto") -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [tool(name) for name in names]}}


def test_a_tool_keeps_its_schema_and_its_mark_in_either_place() -> None:
    schema = {"type": "object", "properties": {}}
    mark: dict[str, Any] = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    expected = Tool("f", "does f", schema, strict=True, mark=CacheMark(3600))
    fields: dict[str, Any] = {"description": "does f", "parameters": schema, "strict": True}
    assert tools_of(tool(**fields) | mark) == (expected,)
    assert tools_of(tool(**fields, **mark)) == (expected,)
    assert decode_tools(Fields({}), Reading()) == decode_tools(Fields({"tools": None}), Reading()) == ()


def test_a_custom_tool_is_a_function_with_one_string() -> None:
    reading = Reading()
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: x"}}
    wire = {"type": "custom", "custom": {"name": "patch", "description": "Patches.", "format": grammar}}
    found = decode_tools(Fields({"tools": [wire, tool()]}), reading)
    assert found == (custom_tool("patch", "Patches.", None), Tool("f"))
    assert [entry.field for entry in reading.ignored] == ["tools[0].custom.format"]


def test_a_tool_of_another_kind_is_left_out_and_told() -> None:
    reading = Reading()
    assert decode_tools(Fields({"tools": [{"type": "web_search"}, tool()]}), reading) == (Tool("f"),)
    assert reading.ignored == [Ignored("tools[0]", "there are no tools of type web_search here")]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": tool()}, "tools"),
        ({"tools": [{}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "custom"}]}, "tools[0].custom"),
        ({"tools": [tool(""), tool()]}, "tools[0].function.name"),
        ({"tools": [tool(), tool()]}, "tools[1].function.name"),
        ({"tools": [tool(), {"type": "custom", "custom": {"name": "f"}}]}, "tools[1].custom.name"),
        ({"tools": [tool(parameters="{}")]}, "tools[0].function.parameters"),
        ({"tools": [tool(strict="yes")]}, "tools[0].function.strict"),
        ({"functions": []}, "functions"),
        ({"function_call": "auto"}, "function_call"),
    ],
)
def test_a_wrong_tool_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_tools(Fields(body), Reading())
    assert caught.value.param == param


@pytest.mark.parametrize("mode", ["none", "auto", "required"])
def test_a_plain_tool_choice(mode: str) -> None:
    assert chosen(mode, TOOLS) == ToolChoice(ToolChoiceMode(mode))


@pytest.mark.parametrize(
    ("choice", "tools", "param", "says"),
    [
        ("required", (), "tool_choice", "no tools"),
        ("any", TOOLS, "tool_choice", "none, auto, required"),
        ("named", TOOLS, "tool_choice", "none, auto, required"),
        ({"type": "web_search"}, TOOLS, "tool_choice.type", "function, custom, allowed_tools"),
        ({"type": "allowed_tools"}, TOOLS, "tool_choice.allowed_tools", "missing"),
        (allowed(), TOOLS, "tool_choice.allowed_tools.tools", "at least one tool"),
        (allowed("read_fil"), TOOLS, "tool_choice.allowed_tools.tools[0].function.name", "did you mean read_file?"),
        (
            {"type": "function", "function": {"name": "readfile"}},
            TOOLS,
            "tool_choice.function.name",
            "did you mean read_file?",
        ),
        ({"type": "function", "function": {"name": "f"}}, (), "tool_choice.function.name", "one of the 0 tools"),
    ],
)
def test_a_tool_choice_must_be_possible(choice: Any, tools: tuple[Tool, ...], param: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        chosen(choice, tools)
    assert caught.value.param == param
    assert says in caught.value.message


def test_a_custom_tool_may_be_named() -> None:
    named = {"type": "custom", "custom": {"name": "patch"}}
    assert chosen(named, (custom_tool("patch", None, None),)) == ToolChoice(ToolChoiceMode.NAMED, "patch")


def test_one_allowed_tool_that_is_required_is_named() -> None:
    assert chosen(allowed("read_file", mode="required"), TOOLS) == ToolChoice(ToolChoiceMode.NAMED, "read_file")


def test_of_several_allowed_tools_all_may_be_called_which_is_told() -> None:
    reading = Reading()
    assert chosen(allowed("read_file"), TOOLS, reading) == ToolChoice(ToolChoiceMode.AUTO)
    assert [entry.field for entry in reading.ignored] == ["tool_choice.allowed_tools.tools"]
    reading = Reading()
    assert chosen(allowed("read_file", "write_file"), TOOLS, reading) == ToolChoice(ToolChoiceMode.AUTO)
    assert reading.ignored == []
