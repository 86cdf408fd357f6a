"""Chat completions, the other way: `Conversation` → request JSON, for replays and for tests of the codec."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from appliance.api.chat_messages import TTL_SECONDS
from appliance.conversation import (
    Block,
    CacheMark,
    Conversation,
    Image,
    Message,
    OutputFormat,
    OutputKind,
    Role,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolResult,
)

JsonObject = dict[str, Any]

SAMPLING_FIELDS = (
    "max_tokens",
    "min_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "seed",
    "logit_bias",
)


def encode_request(conversation: Conversation) -> JsonObject:
    """The request body that decodes to `conversation`.

    Left out is what this protocol's body cannot say: the parent session and the client (headers carry them), marks on
    thinking, `is_error` of tool results. Blocks of an assistant come in the order thinking, text, tool calls, and a
    tool message holds one result.
    """
    identity, hints = conversation.identity, conversation.hints
    body = {
        "model": conversation.model,
        "messages": [_encode_message(message) for message in conversation.messages],
        "tools": [_encode_tool(tool) for tool in conversation.tools],
        "tool_choice": _encode_tool_choice(conversation.tool_choice),
        "parallel_tool_calls": None if conversation.parallel_tool_calls else False,
        "response_format": _encode_output_format(conversation.output_format),
        "reasoning_effort": conversation.reasoning.effort,
        "chat_template_kwargs": conversation.template_arguments,
        "cache_salt": conversation.cache_salt,
        "prompt_cache_key": identity.session_id,
        "user": identity.user,
        "nvext": {"agent_hints": {"priority": hints.priority}} if hints.priority else None,
        **_encode_sampling(conversation.sampling),
    }
    return _without_absent(body)


def _encode_message(message: Message) -> JsonObject:
    name = {} if message.name is None else {"name": message.name}
    result = next((block for block in message.blocks if isinstance(block, ToolResult)), None)
    if result is not None:
        return {"role": message.role, **name, **_encode_tool_result(result)}
    body: JsonObject = {"role": message.role, **name, "content": _encode_content(message.blocks)}
    if message.role is Role.ASSISTANT:
        body |= _encode_assistant(message.blocks)
    return body


def _encode_tool_result(result: ToolResult) -> JsonObject:
    return {"tool_call_id": result.call_id, "content": _encode_content(result.content), **_encode_mark(result.mark)}


def _encode_assistant(blocks: tuple[Block, ...]) -> JsonObject:
    thinking = "".join(block.text for block in blocks if isinstance(block, Thinking))
    calls = [_encode_tool_call(block) for block in blocks if isinstance(block, ToolCall)]
    return _without_absent({"reasoning_content": thinking or None, "tool_calls": calls})


def _encode_tool_call(call: ToolCall) -> JsonObject:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function, **_encode_mark(call.mark)}


def _encode_content(blocks: Iterable[Block]) -> str | list[JsonObject]:
    parts = [block for block in blocks if isinstance(block, Text | Image)]
    if not parts:
        return ""
    first = parts[0]
    if len(parts) == 1 and isinstance(first, Text) and first.text and first.mark is None:
        return first.text
    return [_encode_part(part) for part in parts]


def _encode_part(part: Text | Image) -> JsonObject:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text, **_encode_mark(part.mark)}
    image = _without_absent({"url": part.url, "detail": part.detail})
    return {"type": "image_url", "image_url": image, **_encode_mark(part.mark)}


def _encode_mark(mark: CacheMark | None) -> JsonObject:
    if mark is None:
        return {}
    ttl = next(name for name, seconds in TTL_SECONDS.items() if seconds >= mark.ttl_seconds or name == "1h")
    return {"cache_control": {"type": "ephemeral", "ttl": ttl}}


def _encode_tool(tool: Tool) -> JsonObject:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }
    present = {name: value for name, value in function.items() if value is not None}
    return {"type": "function", "function": present, **_encode_mark(tool.mark)}


def _encode_tool_choice(choice: ToolChoice | None) -> str | JsonObject | None:
    if choice is None:
        return None
    if choice.mode is ToolChoiceMode.NAMED:
        return {"type": "function", "function": {"name": choice.name}}
    return str(choice.mode)


def _encode_output_format(output: OutputFormat) -> JsonObject | None:
    if output.kind is OutputKind.TEXT:
        return None
    if output.kind is OutputKind.JSON_OBJECT:
        return {"type": "json_object"}
    schema = {"name": output.name, "strict": output.strict, "schema": output.schema}
    present = {name: value for name, value in schema.items() if value is not None}
    return {"type": "json_schema", "json_schema": present}


def _encode_sampling(sampling: Sampling) -> JsonObject:
    return {
        **{name: getattr(sampling, name) for name in SAMPLING_FIELDS},
        "stop": list(sampling.stop),
        "stop_token_ids": list(sampling.stop_token_ids),
        "ignore_eos": sampling.ignore_eos or None,
        "logprobs": None if sampling.logprobs is None else True,
        "top_logprobs": sampling.logprobs or None,
        "n": None if sampling.n == 1 else sampling.n,
    }


def _without_absent(body: JsonObject) -> JsonObject:
    """Drop what says nothing: `None` and empty arrays. Empty objects stay, they mean something."""
    return {name: value for name, value in body.items() if value is not None and value != []}
