"""Chat completions, request side: tools and which of them may be called."""

from __future__ import annotations

from typing import Final

from appliance.api.chat_messages import decode_any_mark
from appliance.api.chat_reading import Reading
from appliance.api.custom_tools import custom_tool
from appliance.api.fields import Fields
from appliance.conversation import Tool, ToolChoice, ToolChoiceMode
from appliance.errors import InvalidRequest, nearest

TOOL_KINDS: Final = ("function", "custom")
PLAIN_CHOICES: Final = ("none", "auto", "required")
ALLOWED_MODES: Final = ("auto", "required")


def decode_tools(body: Fields, reading: Reading) -> tuple[Tool, ...]:
    """Tools of a kind that is not known are left out, and told."""
    for name in ("functions", "function_call"):
        if body.raw(name) is not None:
            message = "functions and function_call are not supported; use tools and tool_choice"
            raise InvalidRequest(message, param=name, code="unsupported_parameter")
    names: set[str] = set()
    tools: list[Tool] = []
    for fields in body.objects("tools"):
        kind = fields.required_string("type")
        if kind not in TOOL_KINDS:
            reading.leave_out(fields.path(), f"there are no tools of type {kind} here")
            continue
        tool = _decode_tool(fields, reading) if kind == "function" else _decode_custom(fields, reading)
        if tool.name in names:
            raise fields.required_object(kind).refuse("name", "a name that no other tool has")
        names.add(tool.name)
        tools.append(tool)
    return tuple(tools)


def decode_tool_choice(body: Fields, tools: tuple[Tool, ...], reading: Reading) -> ToolChoice | None:
    if isinstance(body.raw("tool_choice"), dict):
        return _decode_object_choice(body.required_object("tool_choice"), tools, reading)
    mode = body.choice("tool_choice", PLAIN_CHOICES)
    if mode == ToolChoiceMode.REQUIRED and not tools:
        raise InvalidRequest('tool_choice is "required" but there are no tools', param="tool_choice")
    return None if mode is None else ToolChoice(ToolChoiceMode(mode))


def _decode_tool(fields: Fields, reading: Reading) -> Tool:
    function = fields.required_object("function")
    return Tool(
        name=function.required_string("name"),
        description=function.string("description"),
        parameters=function.mapping("parameters"),
        strict=function.flag("strict"),
        mark=decode_any_mark(fields, reading) or decode_any_mark(function, reading),
    )


def _decode_custom(fields: Fields, reading: Reading) -> Tool:
    custom = fields.required_object("custom")
    form = custom.object("format")
    if form is not None and form.raw("type") not in (None, "text"):
        reading.leave_out(custom.path("format"), "the input of a custom tool is not held to a grammar here")
    mark = decode_any_mark(fields, reading) or decode_any_mark(custom, reading)
    return custom_tool(custom.required_string("name"), custom.string("description"), mark)


def _decode_object_choice(fields: Fields, tools: tuple[Tool, ...], reading: Reading) -> ToolChoice:
    kind = fields.raw("type")
    if kind == "allowed_tools":
        return _decode_allowed(fields.required_object("allowed_tools"), tools, reading)
    if kind not in TOOL_KINDS:
        raise fields.refuse("type", f"one of {', '.join(TOOL_KINDS)}, allowed_tools")
    return ToolChoice(ToolChoiceMode.NAMED, _known_name(fields.required_object(str(kind)), tools))


def _decode_allowed(fields: Fields, tools: tuple[Tool, ...], reading: Reading) -> ToolChoice:
    """One allowed tool that is required is a named one; of several, any tool may be called, which is told."""
    mode = ToolChoiceMode(fields.choice("mode", ALLOWED_MODES) or "auto")
    allowed = {
        _known_name(entry.required_object(entry.choice("type", TOOL_KINDS) or "function"), tools)
        for entry in fields.objects("tools")
    }
    if not allowed:
        raise fields.refuse("tools", "an array of at least one tool")
    if mode is ToolChoiceMode.REQUIRED and len(allowed) == 1:
        return ToolChoice(ToolChoiceMode.NAMED, allowed.pop())
    if len(allowed) < len(tools):
        reading.leave_out(fields.path("tools"), "the other tools may be called too")
    return ToolChoice(mode)


def _known_name(fields: Fields, tools: tuple[Tool, ...]) -> str:
    name = fields.required_string("name")
    names = [tool.name for tool in tools]
    if name not in names:
        close = nearest(name, names)
        hint = f" (did you mean {close}?)" if close else ""
        raise fields.refuse("name", f"the name of one of the {len(names)} tools{hint}")
    return name
