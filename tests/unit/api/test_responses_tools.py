from __future__ import annotations

from typing import Any

import pytest

from appliance.conversation import CacheMark, ToolChoice, ToolChoiceMode, ToolKind
from appliance.errors import InvalidRequest
from tests.unit.api.responses_requests import body_of, decoded

RUN = {"type": "function", "name": "run", "parameters": {"type": "object"}, "strict": True}
PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: begin"},
}
SEARCH = {"type": "web_search", "external_web_access": False}


async def test_functions_and_custom_tools_are_offered_and_others_left_out() -> None:
    conversation = await decoded(body_of(tools=[RUN, PATCH, SEARCH, {"type": "local_shell"}, {"type": "new"}]))
    run, patch = conversation.tools
    assert (run.name, run.parameters, run.strict, run.kind) == ("run", {"type": "object"}, True, ToolKind.FUNCTION)
    assert (patch.name, patch.description, patch.kind) == ("apply_patch", "Edits files.", ToolKind.CUSTOM)
    told = [entry.field for entry in conversation.reporting.ignored]
    assert told == ["tools[1].format", "tools[2]", "tools[3]", "tools[4]"]


async def test_a_grammar_is_told_to_the_model() -> None:
    (patch,) = (await decoded(body_of(tools=[PATCH]))).tools
    assert patch.parameters is not None
    assert patch.parameters["properties"]["input"]["description"].endswith("lark grammar:\nstart: begin")
    assert patch.parameters["required"] == ["input"]


async def test_a_tool_in_a_namespace_has_one_name_of_its_own() -> None:
    tools = [
        {"type": "namespace", "name": "functions", "description": "", "tools": [RUN, PATCH]},
        {"type": "namespace", "name": "mcp__files__", "description": "", "tools": [RUN]},
        {"type": "namespace", "name": "agents", "description": "", "tools": [RUN]},
    ]
    conversation = await decoded(body_of(tools=tools))
    assert [tool.name for tool in conversation.tools] == ["run", "apply_patch", "mcp__files__run", "agents__run"]


async def test_a_tool_may_carry_a_mark() -> None:
    (run,) = (await decoded(body_of(tools=[{**RUN, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]))).tools
    assert run.mark == CacheMark(3600.0)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        ("auto", ToolChoice(ToolChoiceMode.AUTO)),
        ("none", ToolChoice(ToolChoiceMode.NONE)),
        ("required", ToolChoice(ToolChoiceMode.REQUIRED)),
        ({"type": "function", "name": "run"}, ToolChoice(ToolChoiceMode.NAMED, "run")),
        ({"type": "custom", "name": "apply_patch"}, ToolChoice(ToolChoiceMode.NAMED, "apply_patch")),
    ],
)
async def test_choices(choice: Any, expected: ToolChoice | None) -> None:
    conversation = await decoded(body_of(tools=[RUN, PATCH], tool_choice=choice))
    assert conversation.tool_choice == expected
    assert len(conversation.tools) == 2


async def test_only_allowed_tools_are_offered() -> None:
    allowed = {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "custom", "name": "apply_patch"}, {"type": "web_search"}],
    }
    conversation = await decoded(body_of(tools=[RUN, PATCH], tool_choice=allowed))
    assert conversation.tool_choice == ToolChoice(ToolChoiceMode.REQUIRED)
    assert [tool.name for tool in conversation.tools] == ["apply_patch"]


@pytest.mark.parametrize("choice", [{"type": "web_search"}, "required"])
async def test_a_choice_of_what_is_not_run_here_is_no_choice(choice: Any) -> None:
    conversation = await decoded(body_of(tools=[SEARCH], tool_choice=choice))
    assert conversation.tool_choice is None
    assert conversation.reporting.ignored[-1].field == "tool_choice"


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"tools": {}}, "tools"),
        ({"tools": ["run"]}, "tools[0]"),
        ({"tools": [{}]}, "tools[0].type"),
        ({"tools": [{"type": 5}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{**RUN, "parameters": []}]}, "tools[0].parameters"),
        ({"tools": [{**RUN, "strict": "yes"}]}, "tools[0].strict"),
        ({"tools": [{**RUN, "description": 5}]}, "tools[0].description"),
        ({"tools": [RUN, {"type": "custom", "name": "run"}]}, "tools[1].name"),
        ({"tools": [{"type": "namespace", "tools": [RUN]}]}, "tools[0].name"),
        ({"tools": [{**PATCH, "format": {"type": "grammar", "syntax": "lark"}}]}, "tools[0].format.definition"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"tool_choice": 5}, "tool_choice"),
        ({"tool_choice": {}}, "tool_choice.type"),
        ({"tools": [RUN], "tool_choice": {"type": "function", "name": "rum"}}, "tool_choice.name"),
        ({"tools": [RUN], "tool_choice": {"type": "allowed_tools", "tools": []}}, "tool_choice.mode"),
        (
            {
                "tools": [RUN],
                "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "x"}]},
            },
            "tool_choice.tools[0].name",
        ),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ],
)
async def test_a_wrong_tool_or_choice_is_refused_by_its_path(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await decoded(body_of(**fields))
    assert refused.value.param == path
