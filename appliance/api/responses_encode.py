"""Responses, the other way: `Conversation` → request JSON, for replays and for tests of the codec."""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator
from typing import Any

from appliance.api.chat_encode import encode_extension, encode_mark, without_absent
from appliance.api.custom_tools import custom_arguments, custom_input, custom_names
from appliance.api.responses_options import LOGPROBS
from appliance.conversation import (
    Block,
    Conversation,
    Document,
    Image,
    Message,
    OutputFormat,
    OutputKind,
    Reasoning,
    Role,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolKind,
    ToolResult,
)

JsonObject = dict[str, Any]

SAMPLING_FIELDS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "seed",
)


def encode_request(conversation: Conversation) -> JsonObject:
    """The request body that decodes to `conversation`.

    Left out is what this protocol's body cannot say: the client (a header carries it), what was ignored, names of
    messages, marks on thinking, where a document is from, `is_error` of tool results. An assistant's blocks come in the
    order thinking, text, tool calls, two assistants do not follow each other, and a tool message holds one result.
    """
    customs = custom_names(conversation.tools)
    compared = conversation.reporting.compare_with
    body = {
        "model": conversation.model,
        "input": [item for message in conversation.messages for item in _encode_message(message, customs)],
        "tools": [_encode_tool(tool) for tool in conversation.tools],
        "tool_choice": _encode_tool_choice(conversation.tool_choice, customs),
        "parallel_tool_calls": None if conversation.parallel_tool_calls else False,
        "text": _encode_output_format(conversation.output_format),
        "reasoning": _encode_reasoning(conversation.reasoning),
        "chat_template_kwargs": conversation.template_arguments,
        "cache_salt": conversation.cache_salt,
        "prompt_cache_key": conversation.identity.session_id,
        "prompt_cache_options": None if compared is None else {"comparison_response_id": compared},
        "user": conversation.identity.user,
        "nvext": encode_extension(conversation) or None,
        **_encode_sampling(conversation.sampling),
    }
    return without_absent(body)


def _encode_message(message: Message, customs: frozenset[str]) -> Iterator[JsonObject]:
    result = next((block for block in message.blocks if isinstance(block, ToolResult)), None)
    if result is not None:
        yield _encode_result(result)
    elif message.role is Role.ASSISTANT:
        yield from _encode_answer(message.blocks, customs)
    else:
        yield {"type": "message", "role": message.role, "content": _encode_content(message.blocks)}


def _encode_answer(blocks: tuple[Block, ...], customs: frozenset[str]) -> Iterator[JsonObject]:
    """An answer that says nothing and is nothing else is an empty message."""
    yield from (_encode_thinking(block) for block in blocks if isinstance(block, Thinking))
    texts = [block for block in blocks if isinstance(block, Text)]
    if texts or not blocks:
        parts = [{"type": "output_text", "text": text.text, **encode_mark(text.mark)} for text in texts]
        yield {"type": "message", "role": "assistant", "content": parts}
    yield from (_encode_call(block, customs) for block in blocks if isinstance(block, ToolCall))


def _encode_thinking(thinking: Thinking) -> JsonObject:
    content = [{"type": "reasoning_text", "text": thinking.text}] if thinking.text else None
    said = without_absent({"content": content, "encrypted_content": thinking.sealed})
    return {"type": "reasoning", "summary": [], **said}


def _encode_call(call: ToolCall, customs: frozenset[str]) -> JsonObject:
    """A call of a custom tool as one, unless its arguments would not come back as they are."""
    text = custom_input(call.arguments)
    if call.name in customs and custom_arguments(text) == call.arguments:
        kind: JsonObject = {"type": "custom_tool_call", "input": text}
    else:
        kind = {"type": "function_call", "arguments": call.arguments}
    return {**kind, "call_id": call.id, "name": call.name, **encode_mark(call.mark)}


def _encode_result(result: ToolResult) -> JsonObject:
    output = _encode_content(result.content)
    return {"type": "function_call_output", "call_id": result.call_id, "output": output, **encode_mark(result.mark)}


def _encode_content(blocks: Iterable[Block]) -> str | list[JsonObject]:
    parts = [block for block in blocks if isinstance(block, Text | Image | Document)]
    first = parts[0] if parts else None
    if len(parts) == 1 and isinstance(first, Text) and first.text and first.mark is None:
        return first.text
    return [{**_encode_part(part), **encode_mark(part.mark)} for part in parts]


def _encode_part(part: Text | Image | Document) -> JsonObject:
    if isinstance(part, Text):
        return {"type": "input_text", "text": part.text}
    if isinstance(part, Image):
        return without_absent({"type": "input_image", "image_url": part.url, "detail": part.detail})
    content = binascii.b2a_base64(part.text.encode(), newline=False).decode()
    data = f"data:text/plain;base64,{content}"
    return without_absent({"type": "input_file", "file_data": data, "filename": part.title})


def _encode_tool(tool: Tool) -> JsonObject:
    """`parameters` of a custom tool are always the same, and not sent."""
    described = {"type": tool.kind, "name": tool.name, "description": tool.description, **encode_mark(tool.mark)}
    if tool.kind is ToolKind.CUSTOM:
        return without_absent(described)
    return without_absent({**described, "parameters": tool.parameters, "strict": tool.strict})


def _encode_tool_choice(choice: ToolChoice | None, customs: frozenset[str]) -> str | JsonObject | None:
    if choice is None:
        return None
    if choice.mode is not ToolChoiceMode.NAMED:
        return str(choice.mode)
    return {"type": "custom" if choice.name in customs else "function", "name": choice.name}


def _encode_output_format(output: OutputFormat) -> JsonObject | None:
    if output.kind is OutputKind.TEXT:
        return None
    if output.kind is OutputKind.JSON_OBJECT:
        return {"format": {"type": "json_object"}}
    schema = {"name": output.name, "strict": output.strict, "schema": output.schema}
    return {"format": {"type": "json_schema", **without_absent(schema)}}


def _encode_reasoning(reasoning: Reasoning) -> JsonObject | None:
    said = {"effort": reasoning.effort, "enabled": reasoning.enabled, "max_tokens": reasoning.budget_tokens}
    return without_absent(said) or None


def _encode_sampling(sampling: Sampling) -> JsonObject:
    return {
        **{name: getattr(sampling, name) for name in SAMPLING_FIELDS},
        "max_output_tokens": sampling.max_tokens,
        "include": None if sampling.logprobs is None else [LOGPROBS],
        "top_logprobs": sampling.logprobs or None,
    }
