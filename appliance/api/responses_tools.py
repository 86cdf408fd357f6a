"""Responses, request side: tools and which of them may be called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from appliance.api.custom_tools import CUSTOM_PARAMETERS, custom_tool
from appliance.api.fields import Fields
from appliance.api.responses_names import ClientName, model_name
from appliance.api.responses_reading import Reading
from appliance.conversation import Tool, ToolChoice, ToolChoiceMode, ToolKind
from appliance.errors import InvalidRequest, nearest

PLAIN_CHOICES: Final = ("none", "auto", "required")
ALLOWED_MODES: Final = ("auto", "required")
CALLABLE_KINDS: Final = tuple(str(kind) for kind in ToolKind)


@dataclass(frozen=True, slots=True)
class Tools:
    """`names` says how the client knows each tool, by the name that the model sees."""

    tools: tuple[Tool, ...] = ()
    names: Mapping[str, ClientName] = field(default_factory=dict)


def decode_tools(declarations: Iterable[Fields], reading: Reading) -> Tools:
    """The `tools` of each object. Tools that are not functions or custom ones run at a hosted service: they are left
    out and told. Of two with one name in different objects the later counts, as a client declares a tool anew.

    Raises `InvalidRequest`.
    """
    tools: dict[str, Tool] = {}
    names: dict[str, ClientName] = {}
    for fields in declarations:
        declared: set[str] = set()
        for where, name, tool in _callable_tools(fields, None, reading):
            if tool.name in declared:
                raise where.refuse("name", "a name that no other tool has")
            declared.add(tool.name)
            tools[tool.name] = tool
            names[tool.name] = name
    return Tools(tuple(tools.values()), names)


def _callable_tools(
    declaration: Fields, namespace: str | None, reading: Reading
) -> Iterator[tuple[Fields, ClientName, Tool]]:
    for fields in declaration.objects("tools"):
        kind = fields.required_string("type")
        if kind in CALLABLE_KINDS:
            client = ClientName(fields.required_string("name"), namespace, ToolKind(kind))
            name = model_name(namespace, client.name)
            decode = _decode_custom if client.kind is ToolKind.CUSTOM else _decode_function
            yield fields, client, decode(fields, name, reading)
        elif kind == "namespace" and namespace is None:
            yield from _callable_tools(fields, fields.required_string("name"), reading)
        else:
            reading.leave_out(fields.path(), f"a tool of type {kind} is not run here, so the model is not offered it")


def _decode_function(fields: Fields, name: str, reading: Reading) -> Tool:
    return Tool(
        name,
        description=fields.string("description"),
        parameters=fields.mapping("parameters"),
        strict=fields.flag("strict"),
        mark=reading.mark(fields),
    )


def _decode_custom(fields: Fields, name: str, reading: Reading) -> Tool:
    """A grammar is told to the model, beside the text that it is for."""
    tool = custom_tool(name, fields.string("description"), reading.mark(fields))
    form = fields.object("format")
    if form is None or form.raw("type") != "grammar":
        return tool
    told = f"Must follow this {form.required_string('syntax')} grammar:\n{form.required_string('definition')}"
    reading.leave_out(form.path(), "the grammar is told to the model; its text is not held to it")
    return replace(tool, parameters=_with_description(told))


def _with_description(description: str) -> Mapping[str, Any]:
    described = {"input": {"type": "string", "description": description}}
    return {**CUSTOM_PARAMETERS, "properties": described}


def decode_tool_choice(body: Fields, tools: Tools, reading: Reading) -> tuple[ToolChoice | None, tuple[Tool, ...]]:
    """The choice, and the tools that it leaves: a model is not shown those that it must not call."""
    offered = tools.tools
    if not isinstance(body.raw("tool_choice"), dict):
        mode = body.choice("tool_choice", PLAIN_CHOICES)
        return _required_of(body, mode, offered, reading), offered
    choice = body.required_object("tool_choice")
    kind = choice.required_string("type")
    if kind in CALLABLE_KINDS:
        return ToolChoice(ToolChoiceMode.NAMED, _chosen_name(choice, tools)), offered
    if kind == "allowed_tools":
        return _allowed(choice, tools, reading)
    reading.leave_out(choice.path(), f"a tool of type {kind} is not run here, so it cannot be chosen")
    return None, offered


def _allowed(choice: Fields, tools: Tools, reading: Reading) -> tuple[ToolChoice | None, tuple[Tool, ...]]:
    mode = choice.choice("mode", ALLOWED_MODES)
    if mode is None:
        raise choice.refuse("mode", f"one of {', '.join(ALLOWED_MODES)}")
    callable_tools = [entry for entry in choice.objects("tools") if entry.raw("type") in CALLABLE_KINDS]
    names = {_chosen_name(entry, tools) for entry in callable_tools}
    allowed = tuple(tool for tool in tools.tools if tool.name in names)
    return _required_of(choice, mode, allowed, reading), allowed


def _required_of(fields: Fields, mode: str | None, tools: tuple[Tool, ...], reading: Reading) -> ToolChoice | None:
    if mode != ToolChoiceMode.REQUIRED or tools:
        return None if mode is None else ToolChoice(ToolChoiceMode(mode))
    if not fields.objects("tools"):
        raise InvalidRequest('tool_choice is "required" but there are no tools', param="tool_choice")
    reading.leave_out("tool_choice", "none of the tools is run here, so none can be required")
    return None


def _chosen_name(fields: Fields, tools: Tools) -> str:
    name = model_name(fields.string("namespace"), fields.required_string("name"))
    if name not in tools.names:
        close = nearest(name, tools.names)
        hint = f" (did you mean {close}?)" if close else ""
        raise fields.refuse("name", f"the name of one of the {len(tools.names)} tools{hint}")
    return name
