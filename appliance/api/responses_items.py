"""Responses, request side: the items of an input → messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from typing import Any, Final

from appliance.api.call_arguments import readable
from appliance.api.compaction import open_compaction
from appliance.api.custom_tools import custom_arguments
from appliance.api.fields import Fields
from appliance.api.responses_names import model_name
from appliance.api.responses_parts import INPUT_PARTS, TEXT_PARTS, decode_parts, joined_text
from appliance.api.responses_reading import Reading
from appliance.conversation import Block, Message, Role, Text, Thinking, ToolCall, ToolResult
from appliance.errors import InvalidRequest

ROLES: Final = ("user", "assistant", "system", "developer")
# Calls of tools that the client runs and the hosted models know without a schema: where each has its arguments.
CLIENT_CALLS: Final[Mapping[str, str]] = {
    "local_shell_call": "action",
    "shell_call": "action",
    "apply_patch_call": "operation",
    "computer_call": "action",
    "tool_search_call": "arguments",
}


class Place(IntEnum):
    """In one answer thoughts come first, then what is said, then calls."""

    THOUGHT = 0
    SPEECH = 1
    CALL = 2


class Transcript:
    """Messages in the making. Items that one answer may have had, in its order, come together in one message."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._answer: list[Block] = []
        self._place: Place | None = None

    def add_answer(self, place: Place, *blocks: Block) -> None:
        if self._place is not None and (place < self._place or place is self._place is Place.SPEECH):
            self._close()
        self._place = place
        self._answer.extend(blocks)

    def add(self, message: Message) -> None:
        self._close()
        self._messages.append(message)

    def finish(self) -> tuple[Message, ...]:
        self._close()
        return tuple(self._messages)

    def _close(self) -> None:
        if self._place is not None:
            self._messages.append(Message(Role.ASSISTANT, tuple(self._answer)))
            self._answer = []
            self._place = None


def decode_items(items: Iterable[Fields], reading: Reading) -> tuple[Message, ...]:
    """Raises `InvalidRequest` naming the first field that is wrong. References must be resolved before.

    An item that no model here can use is left out and told.
    """
    transcript = Transcript()
    for fields in items:
        kind = item_kind(fields)
        decoder = DECODERS.get(kind)
        if decoder is not None:
            decoder(fields, reading, transcript)
        else:
            reading.leave_out(fields.path(), f"an item of type {kind} is nothing that a model here can be shown")
    return transcript.finish()


def item_kind(fields: Fields) -> str:
    """`message` is what an item with a role is, and `item_reference` one with nothing but an id."""
    kind = fields.string("type")
    if kind is not None:
        return kind
    if fields.raw("role") is not None:
        return "message"
    if fields.values().keys() - {"type"} == {"id"}:
        return "item_reference"
    raise fields.refuse("type", "the type of an item, such as message or function_call_output")


def _decode_message(fields: Fields, reading: Reading, transcript: Transcript) -> None:
    role = fields.choice("role", ROLES)
    if role is None:
        raise fields.refuse("role", f"one of {', '.join(ROLES)}")
    if role == Role.ASSISTANT:
        transcript.add_answer(Place.SPEECH, *decode_parts(fields, "content", TEXT_PARTS, reading))
        return
    transcript.add(Message(Role(role), decode_parts(fields, "content", INPUT_PARTS, reading)))


def _decode_reasoning(fields: Fields, reading: Reading, transcript: Transcript) -> None:
    """What the box closed itself is the thought; else its text, else a summary is better than nothing."""
    closed = fields.string("encrypted_content") or None
    text = reading.seal.open(closed) if closed is not None else None
    if text is None:
        text = joined_text(fields, "content")
    if not text and closed is not None:
        reading.leave_out(fields.path("encrypted_content"), "this thought was closed elsewhere and cannot be read here")
        transcript.add_answer(Place.THOUGHT, Thinking("", sealed=closed))
        return
    text = text or "\n\n".join(part.required_string("text") for part in fields.objects("summary"))
    if text:
        transcript.add_answer(Place.THOUGHT, Thinking(text))


def _decode_function_call(fields: Fields, reading: Reading, transcript: Transcript) -> None:
    arguments = fields.string("arguments")
    if arguments is None:
        raise fields.refuse("arguments", "JSON text in a string")
    _add_call(fields, _called_name(fields), readable(arguments), reading, transcript)


def _decode_custom_call(fields: Fields, reading: Reading, transcript: Transcript) -> None:
    text = fields.string("input")
    if text is None:
        raise fields.refuse("input", "a string")
    _add_call(fields, _called_name(fields), custom_arguments(text), reading, transcript)


def _decode_client_call(fields: Fields, reading: Reading, transcript: Transcript) -> None:
    kind = item_kind(fields)
    if fields.raw("call_id") is None:
        reading.leave_out(fields.path(), f"a {kind} that was run elsewhere is not shown to the model")
        return
    place = CLIENT_CALLS[kind]
    arguments = _as_json(fields.raw(place))
    _add_call(fields, kind.removesuffix("_call"), arguments, reading, transcript)


def _decode_mcp_call(fields: Fields, reading: Reading, transcript: Transcript) -> None:
    """Call and result in one item."""
    call_id, arguments = fields.required_string("id"), readable(fields.string("arguments") or "")
    reading.call_ids.add(call_id)
    error = fields.raw("error")
    output = fields.string("output") if error is None else error if isinstance(error, str) else _as_json(error)
    transcript.add_answer(Place.CALL, ToolCall(call_id, fields.required_string("name"), arguments))
    content = (Text(output),) if output else ()
    transcript.add(Message(Role.TOOL, (ToolResult(call_id, content, is_error=error is not None),)))


def _decode_output(fields: Fields, reading: Reading, transcript: Transcript) -> None:
    _add_result(fields, "call_id", decode_parts(fields, "output", INPUT_PARTS, reading), reading, transcript)


def _decode_client_output(fields: Fields, reading: Reading, transcript: Transcript) -> None:
    output = fields.raw("output")
    if isinstance(output, dict):
        content = decode_parts(Fields({"output": [output]}, fields), "output", INPUT_PARTS, reading)
    else:
        content = (Text(output if isinstance(output, str) else _as_json(output or fields.raw("status"))),)
    id_field = "id" if fields.raw("call_id") is None else "call_id"
    _add_result(fields, id_field, content, reading, transcript)


def _decode_search_output(fields: Fields, reading: Reading, transcript: Transcript) -> None:
    """The tools that a search has found may be called from now on."""
    reading.more_tools.append(fields)
    if fields.raw("call_id") is not None:
        names = [tool.string("name") or "" for tool in fields.objects("tools")]
        _add_result(fields, "call_id", (Text(f"Found: {', '.join(names)}"),), reading, transcript)


def _decode_more_tools(fields: Fields, reading: Reading, _: Transcript) -> None:
    reading.more_tools.append(fields)


def _decode_compaction(fields: Fields, reading: Reading, transcript: Transcript) -> None:
    transcript.add(open_compaction(fields, reading.seal))


def _called_name(fields: Fields) -> str:
    return model_name(fields.string("namespace"), fields.required_string("name"))


def _add_call(fields: Fields, name: str, arguments: str, reading: Reading, transcript: Transcript) -> None:
    call_id = fields.required_string("call_id")
    reading.call_ids.add(call_id)
    transcript.add_answer(Place.CALL, ToolCall(call_id, name, arguments, reading.mark(fields)))


def _add_result(
    fields: Fields, id_field: str, content: tuple[Any, ...], reading: Reading, transcript: Transcript
) -> None:
    call_id = fields.required_string(id_field)
    if call_id not in reading.call_ids:
        message = f"No tool call found for function call output with call_id {call_id}."
        raise InvalidRequest(message, param=fields.path(id_field))
    transcript.add(Message(Role.TOOL, (ToolResult(call_id, content, mark=reading.mark(fields)),)))


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


Decoder = Callable[[Fields, Reading, Transcript], None]
DECODERS: Final[Mapping[str, Decoder]] = {
    "message": _decode_message,
    "reasoning": _decode_reasoning,
    "function_call": _decode_function_call,
    "function_call_output": _decode_output,
    "custom_tool_call": _decode_custom_call,
    "custom_tool_call_output": _decode_output,
    "mcp_call": _decode_mcp_call,
    **dict.fromkeys(CLIENT_CALLS, _decode_client_call),
    "local_shell_call_output": _decode_client_output,
    "shell_call_output": _decode_client_output,
    "apply_patch_call_output": _decode_client_output,
    "computer_call_output": _decode_client_output,
    "tool_search_output": _decode_search_output,
    "additional_tools": _decode_more_tools,
    "compaction": _decode_compaction,
    "compaction_summary": _decode_compaction,
}
