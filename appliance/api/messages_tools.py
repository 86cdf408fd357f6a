"""Messages API, request side: tools and which of them may be called."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from appliance.api.client_tools import CLIENT_TOOLS
from appliance.api.fields import Fields
from appliance.api.messages_reading import Reading
from appliance.conversation import Tool, ToolChoice, ToolChoiceMode
from appliance.errors import InvalidRequest, nearest

CHOICES: Final = {
    "auto": ToolChoiceMode.AUTO,
    "any": ToolChoiceMode.REQUIRED,
    "tool": ToolChoiceMode.NAMED,
    "none": ToolChoiceMode.NONE,
}
NOT_SHOWN: Final = {
    "defer_loading": "the tool is shown to the model from the start",
    "input_examples": "examples are not shown to the model",
    "allowed_callers": "only the model calls tools here",
}


@dataclass(frozen=True, slots=True)
class Tools:
    """`left_out` are the names of tools that only a server runs."""

    kept: tuple[Tool, ...]
    left_out: frozenset[str]


@dataclass(frozen=True, slots=True)
class Calling:
    choice: ToolChoice | None
    parallel: bool


def decode_tools(body: Fields, reading: Reading) -> Tools:
    """A mark on a tool that is left out is one on the tool before it. Raises `InvalidRequest`."""
    kept: list[Tool] = []
    names: set[str] = set()
    left_out: set[str] = set()
    for fields in body.objects("tools"):
        tool = _decode_tool(fields, reading)
        mark = reading.mark(fields)
        if tool is None:
            left_out.add(fields.string("name") or "")
            if mark is not None and kept and kept[-1].mark is None:
                kept[-1] = replace(kept[-1], mark=mark)
            continue
        if tool.name in names:
            raise fields.refuse("name", "a name that no other tool has")
        names.add(tool.name)
        kept.append(replace(tool, mark=mark) if mark is not None else tool)
    return Tools(tuple(kept), frozenset(left_out))


def _decode_tool(fields: Fields, reading: Reading) -> Tool | None:
    kind = fields.string("type")
    if kind is None or kind == "custom":
        return _decode_custom(fields, reading)
    known = CLIENT_TOOLS.get(kind)
    if known is None:
        reading.leave_out(fields.path(), f"tools of type {kind} are not run here")
        return None
    if fields.string("name") not in (None, known.name):
        raise fields.refuse("name", f'"{known.name}" for a tool of type {kind}')
    return Tool(known.name, known.description, known.parameters)


def _decode_custom(fields: Fields, reading: Reading) -> Tool:
    for name, reason in NOT_SHOWN.items():
        if fields.raw(name):
            reading.leave_out(fields.path(name), reason)
    return Tool(
        name=fields.required_string("name"),
        description=fields.string("description"),
        parameters=fields.required_object("input_schema").values(),
        strict=fields.flag("strict"),
    )


def decode_tool_choice(body: Fields, tools: Tools, reading: Reading) -> Calling:
    """A choice that only tools which were left out could satisfy is left out with them. Raises `InvalidRequest`."""
    fields = body.object("tool_choice")
    if fields is None:
        return Calling(None, parallel=True)
    kind = fields.choice("type", CHOICES)
    if kind is None:
        raise fields.refuse("type", f"one of {', '.join(CHOICES)}")
    parallel = not fields.flag("disable_parallel_tool_use")
    if kind == "tool":
        return Calling(_named(fields, tools, reading), parallel)
    if kind == "any" and not tools.kept:
        _tell_nothing_to_choose(fields, tools, reading)
        return Calling(None, parallel)
    return Calling(ToolChoice(CHOICES[kind]), parallel)


def _named(fields: Fields, tools: Tools, reading: Reading) -> ToolChoice | None:
    name = fields.required_string("name")
    names = [tool.name for tool in tools.kept]
    if name in names:
        return ToolChoice(ToolChoiceMode.NAMED, name)
    if name in tools.left_out:
        reading.leave_out(fields.path(), f"the tool {name} is not run here")
        return None
    close = nearest(name, names)
    hint = f" (did you mean {close}?)" if close else ""
    raise fields.refuse("name", f"the name of one of the {len(names)} tools{hint}")


def _tell_nothing_to_choose(fields: Fields, tools: Tools, reading: Reading) -> None:
    if not tools.left_out:
        raise InvalidRequest(f"{fields.path()}: there are no tools to choose from", param=fields.path())
    reading.leave_out(fields.path(), "none of the tools is run here")
