"""Chat completions, request side: messages and tools."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from appliance.api.fields import Fields
from appliance.conversation import (
    Block,
    CacheMark,
    Image,
    Message,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from appliance.errors import InvalidRequest

TTL_SECONDS = {"5m": 300.0, "1h": 3600.0}
IMAGE_DETAILS = ("auto", "low", "high")
ROLES = tuple(str(role) for role in Role)


def decode_messages(body: Fields) -> tuple[Message, ...]:
    messages = tuple(_decode_message(message) for message in body.objects("messages"))
    if not messages:
        raise body.refuse("messages", "an array of at least one message")
    return messages


def decode_tools(body: Fields) -> tuple[Tool, ...]:
    if body.raw("functions") is not None or body.raw("function_call") is not None:
        raise InvalidRequest(
            "functions and function_call are not supported; use tools and tool_choice",
            param="functions" if body.raw("functions") is not None else "function_call",
            code="unsupported_parameter",
        )
    names: set[str] = set()
    tools: list[Tool] = []
    for fields in body.objects("tools"):
        tool = _decode_tool(fields)
        if tool.name in names:
            raise fields.required_object("function").refuse("name", "a name that no other tool has")
        names.add(tool.name)
        tools.append(tool)
    return tuple(tools)


def _decode_tool(fields: Fields) -> Tool:
    if fields.raw("type") != "function":
        raise fields.refuse("type", '"function", the only kind of tool here')
    function = fields.required_object("function")
    return Tool(
        name=function.required_string("name"),
        description=function.string("description"),
        parameters=function.mapping("parameters"),
        strict=function.flag("strict"),
        mark=decode_mark(fields) or decode_mark(function),
    )


def decode_mark(fields: Fields) -> CacheMark | None:
    """The `cache_control` of a part, a message or a tool."""
    control = fields.object("cache_control")
    if control is None:
        return None
    if control.raw("type") != "ephemeral":
        raise control.refuse("type", '"ephemeral"')
    return CacheMark(TTL_SECONDS[control.choice("ttl", TTL_SECONDS) or "5m"])


def _decode_message(fields: Fields) -> Message:
    role = fields.choice("role", ROLES) if fields.raw("role") != "function" else None
    if role is None:
        raise fields.refuse("role", f'one of {", ".join(ROLES)} (for a function\'s result: "tool" with tool_call_id)')
    if role == Role.TOOL:
        blocks: tuple[Block, ...] = (_decode_tool_result(fields),)
    elif role == Role.ASSISTANT:
        blocks = _mark_last(_decode_assistant(fields), decode_mark(fields))
    else:
        kinds = USER_PARTS if role == Role.USER else TEXT_PARTS
        blocks = _mark_last(_decode_content(fields, kinds), decode_mark(fields))
    return Message(Role(role), blocks, fields.string("name"))


def _decode_tool_result(fields: Fields) -> ToolResult:
    return ToolResult(
        call_id=fields.required_string("tool_call_id"),
        content=_decode_content(fields, USER_PARTS),
        mark=decode_mark(fields),
    )


def _decode_assistant(fields: Fields) -> tuple[Block, ...]:
    if fields.raw("function_call") is not None:
        raise fields.refuse("function_call", "tool_calls")
    thinking = fields.string("reasoning_content") or fields.string("reasoning")
    refused = fields.string("refusal")
    calls = [_decode_tool_call(call) for call in fields.objects("tool_calls")]
    blocks: list[Block] = [Thinking(thinking)] if thinking else []
    if fields.raw("content") is not None or not (thinking or refused or calls):
        blocks.extend(_decode_content(fields, ASSISTANT_PARTS))
    if refused:
        blocks.append(Text(refused))
    return (*blocks, *calls)


def _decode_tool_call(fields: Fields) -> ToolCall:
    if fields.raw("type") not in (None, "function"):
        raise fields.refuse("type", '"function", the only kind of tool here')
    function = fields.required_object("function")
    arguments = function.string("arguments")
    if arguments is None:
        raise function.refuse("arguments", "JSON text in a string")
    return ToolCall(fields.required_string("id"), function.required_string("name"), arguments, decode_mark(fields))


Part = Text | Image
PartDecoder = Callable[[Fields], Part]


def _decode_content(fields: Fields, kinds: dict[str, PartDecoder]) -> tuple[Part, ...]:
    content = fields.raw("content")
    if isinstance(content, str):
        return (Text(content),) if content else ()
    if not isinstance(content, list):
        raise fields.refuse("content", "a string or an array of parts")
    return tuple(_decode_part(part, kinds) for part in fields.objects("content"))


def _decode_part(fields: Fields, kinds: dict[str, PartDecoder]) -> Part:
    kind = fields.raw("type")
    decoder = kinds.get(kind) if isinstance(kind, str) else None
    if decoder is None:
        raise fields.refuse("type", f"one of {', '.join(kinds)} in a message of this role")
    return decoder(fields)


def _decode_text(fields: Fields) -> Text:
    return Text(_present_string(fields, "text"), decode_mark(fields))


def _decode_refusal(fields: Fields) -> Text:
    return Text(_present_string(fields, "refusal"), decode_mark(fields))


def _decode_image(fields: Fields) -> Image:
    image = fields.required_object("image_url")
    url = image.required_string("url")
    if not url.startswith(("data:image/", "https://", "http://")):
        raise image.refuse("url", "a data:image/… URL or an http(s) URL")
    return Image(url, image.choice("detail", IMAGE_DETAILS), decode_mark(fields))


def _present_string(fields: Fields, name: str) -> str:
    value = fields.string(name)
    if value is None:
        raise fields.refuse(name, "a string")
    return value


def _mark_last(blocks: tuple[Block, ...], mark: CacheMark | None) -> tuple[Block, ...]:
    """A mark on a whole message is a mark on its last block."""
    if mark is None or not blocks or blocks[-1].mark is not None:
        return blocks
    return (*blocks[:-1], replace(blocks[-1], mark=mark))


TEXT_PARTS: dict[str, PartDecoder] = {"text": _decode_text}
USER_PARTS: dict[str, PartDecoder] = {"text": _decode_text, "image_url": _decode_image}
ASSISTANT_PARTS: dict[str, PartDecoder] = {"text": _decode_text, "refusal": _decode_refusal}
