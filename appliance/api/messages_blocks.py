"""Messages API, request side: the content blocks of each role."""

from __future__ import annotations

import json
from typing import Final

from appliance.api.fields import SHOWN_CHARACTERS, Fields
from appliance.api.messages_content import BlockDecoder, decode_content, decode_text, present_string
from appliance.api.messages_documents import decode_document, decode_image, decode_search_result
from appliance.api.messages_reading import Reading
from appliance.conversation import Block, Document, Image, Text, Thinking, ToolCall, ToolResult
from appliance.errors import InvalidRequest


def _decode_thinking(fields: Fields, reading: Reading) -> tuple[Block, ...]:
    """A thought keeps its text whoever signed it. One that was sent without its text is in its signature."""
    text = present_string(fields, "thinking")
    signature = fields.string("signature")
    if not signature:
        return (Thinking(text),)
    if not text:
        return _opened(fields, "signature", signature, reading)
    if not reading.seal.is_signed(text, signature):
        reading.leave_out(fields.path("signature"), "this box did not sign this thought")
        return (Thinking(text),)
    return (Thinking(text, signature=signature),)


def _decode_redacted_thinking(fields: Fields, reading: Reading) -> tuple[Block, ...]:
    return _opened(fields, "data", fields.required_string("data"), reading)


def _opened(fields: Fields, name: str, sealed: str, reading: Reading) -> tuple[Block, ...]:
    text = reading.seal.open(sealed)
    if text is not None:
        return (Thinking(text),)
    reading.leave_out(fields.path(name), "this box did not close this thought and cannot open it")
    return (Thinking("", sealed=sealed),)


def _decode_tool_use(fields: Fields, reading: Reading) -> tuple[Block, ...]:
    arguments = json.dumps(fields.required_object("input").values(), ensure_ascii=False)
    call = ToolCall(fields.required_string("id"), fields.required_string("name"), arguments)
    reading.call_ids.add(call.id)
    return (call,)


def _decode_tool_result(fields: Fields, reading: Reading) -> tuple[Block, ...]:
    call_id = fields.required_string("tool_use_id")
    if call_id not in reading.call_ids:
        message = (
            f"{fields.path()}: unexpected `tool_use_id` found in `tool_result` blocks: {call_id[:SHOWN_CHARACTERS]}. "
            "Each `tool_result` block must have a corresponding `tool_use` block before it."
        )
        raise InvalidRequest(message, param=fields.path("tool_use_id"))
    parts = () if fields.raw("content") is None else decode_content(fields, RESULT_KINDS, reading)
    content = tuple(part for part in parts if isinstance(part, Text | Image | Document))
    return (ToolResult(call_id, content, is_error=fields.flag("is_error") or False),)


RESULT_KINDS: Final[dict[str, BlockDecoder]] = {
    "text": decode_text,
    "image": decode_image,
    "document": decode_document,
    "search_result": decode_search_result,
}
USER_KINDS: Final[dict[str, BlockDecoder]] = {**RESULT_KINDS, "tool_result": _decode_tool_result}
ASSISTANT_KINDS: Final[dict[str, BlockDecoder]] = {
    "text": decode_text,
    "thinking": _decode_thinking,
    "redacted_thinking": _decode_redacted_thinking,
    "tool_use": _decode_tool_use,
}
