"""Chat completions, request side: messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from appliance.api.call_arguments import readable
from appliance.api.chat_files import decode_file
from appliance.api.chat_reading import Reading
from appliance.api.custom_tools import custom_arguments
from appliance.api.fields import Fields
from appliance.api.prompt_cache import decode_breakpoint
from appliance.conversation import (
    Block,
    CacheMark,
    Document,
    Image,
    Message,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

TTL_SECONDS = {"5m": 300.0, "1h": 3600.0}
IMAGE_DETAILS = ("auto", "low", "high")
ROLES = tuple(str(role) for role in Role)


def decode_messages(body: Fields, reading: Reading) -> tuple[Message, ...]:
    messages = tuple(_decode_message(message, reading) for message in body.objects("messages"))
    if not messages:
        raise body.refuse("messages", "an array of at least one message")
    return messages


def decode_mark(fields: Fields) -> CacheMark | None:
    """The `cache_control` of a part, a message, a tool or a whole request."""
    control = fields.object("cache_control")
    if control is None:
        return None
    if control.raw("type") != "ephemeral":
        raise control.refuse("type", '"ephemeral"')
    return CacheMark(TTL_SECONDS[control.choice("ttl", TTL_SECONDS) or "5m"])


def decode_any_mark(fields: Fields, reading: Reading) -> CacheMark | None:
    """As `decode_mark`, or OpenAI's own `prompt_cache_breakpoint`."""
    return decode_mark(fields) or decode_breakpoint(fields, reading.breakpoint_seconds)


def _decode_message(fields: Fields, reading: Reading) -> Message:
    role = fields.choice("role", ROLES) if fields.raw("role") != "function" else None
    if role is None:
        raise fields.refuse("role", f'one of {", ".join(ROLES)} (for a function\'s result: "tool" with tool_call_id)')
    if role == Role.TOOL:
        blocks: tuple[Block, ...] = (_decode_tool_result(fields, reading),)
    elif role == Role.ASSISTANT:
        blocks = _mark_last(_decode_assistant(fields, reading), decode_any_mark(fields, reading))
    else:
        kinds = USER_PARTS if role == Role.USER else TEXT_PARTS
        blocks = _mark_last(_decode_content(fields, kinds, reading), decode_any_mark(fields, reading))
    return Message(Role(role), blocks, fields.string("name"))


def _decode_tool_result(fields: Fields, reading: Reading) -> ToolResult:
    call_id = fields.required_string("tool_call_id")
    if call_id not in reading.call_ids:
        raise fields.refuse("tool_call_id", "the id of a call in the tool_calls of an earlier message")
    return ToolResult(
        call_id=call_id,
        content=_decode_content(fields, USER_PARTS, reading),
        mark=decode_any_mark(fields, reading),
    )


def _decode_assistant(fields: Fields, reading: Reading) -> tuple[Block, ...]:
    if fields.raw("function_call") is not None:
        raise fields.refuse("function_call", "tool_calls")
    thinking = fields.string("reasoning_content") or fields.string("reasoning")
    refused = fields.string("refusal")
    calls = [_decode_tool_call(call, reading) for call in fields.objects("tool_calls")]
    blocks: list[Block] = [Thinking(thinking)] if thinking else []
    if fields.raw("content") is not None or not (thinking or refused or calls):
        blocks.extend(_decode_content(fields, ASSISTANT_PARTS, reading))
    if refused:
        blocks.append(Text(refused))
    return (*blocks, *calls)


def _decode_tool_call(fields: Fields, reading: Reading) -> ToolCall:
    kind = fields.raw("type") or "function"
    if kind == "custom":
        custom = fields.required_object("custom")
        name, arguments = custom.required_string("name"), custom_arguments(_present_string(custom, "input"))
    elif kind == "function":
        function = fields.required_object("function")
        name, arguments = function.required_string("name"), _arguments(function)
    else:
        raise fields.refuse("type", '"function" or "custom"')
    call_id = fields.required_string("id")
    reading.call_ids.add(call_id)
    return ToolCall(call_id, name, arguments, decode_any_mark(fields, reading))


def _arguments(function: Fields) -> str:
    arguments = function.string("arguments")
    if arguments is None:
        raise function.refuse("arguments", "JSON text in a string")
    return readable(arguments)


Part = Text | Image | Document
PartDecoder = Callable[[Fields, Reading], tuple[Part, ...]]


def _decode_content(fields: Fields, kinds: dict[str, PartDecoder], reading: Reading) -> tuple[Part, ...]:
    content = fields.raw("content")
    if isinstance(content, str):
        return (Text(content),) if content else ()
    if not isinstance(content, list):
        raise fields.refuse("content", "a string or an array of parts")
    return tuple(part for entry in fields.objects("content") for part in _decode_part(entry, kinds, reading))


def _decode_part(fields: Fields, kinds: dict[str, PartDecoder], reading: Reading) -> tuple[Part, ...]:
    kind = fields.raw("type")
    decoder = kinds.get(kind) if isinstance(kind, str) else None
    if decoder is None:
        raise fields.refuse("type", f"one of {', '.join(kinds)} in a message of this role")
    mark = decode_any_mark(fields, reading)
    return tuple(part if mark is None else replace(part, mark=mark) for part in decoder(fields, reading))


def _decode_text(fields: Fields, _: Reading) -> tuple[Part, ...]:
    return (Text(_present_string(fields, "text")),)


def _decode_refusal(fields: Fields, _: Reading) -> tuple[Part, ...]:
    return (Text(_present_string(fields, "refusal")),)


def _decode_image(fields: Fields, _: Reading) -> tuple[Part, ...]:
    image = fields.required_object("image_url")
    url = image.required_string("url")
    if not url.startswith(("data:image/", "https://", "http://")):
        raise image.refuse("url", "a data:image/… URL or an http(s) URL")
    return (Image(url, image.choice("detail", IMAGE_DETAILS)),)


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
USER_PARTS: dict[str, PartDecoder] = {"text": _decode_text, "image_url": _decode_image, "file": decode_file}
ASSISTANT_PARTS: dict[str, PartDecoder] = {"text": _decode_text, "refusal": _decode_refusal}
