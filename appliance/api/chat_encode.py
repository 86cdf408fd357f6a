"""Chat completions, the other way: `Conversation` → request JSON, for replays and for tests of the codec."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from appliance.api.chat_files import encode_file
from appliance.api.chat_messages import TTL_SECONDS
from appliance.api.custom_tools import custom_arguments, custom_input, custom_names
from appliance.api.extension_reply import encode_agent_hints, encode_directive
from appliance.api.ttl import ttl_text
from appliance.conversation import (
    Block,
    CacheMark,
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

    Left out is what this protocol's body cannot say: the client (a header carries it), what was ignored, marks on
    thinking, where a document is from, `is_error` of tool results. Blocks of an assistant come in the order thinking,
    text, tool calls, and a tool message holds one result.
    """
    customs = custom_names(conversation.tools)
    compared = conversation.reporting.compare_with
    body = {
        "model": conversation.model,
        "messages": [_encode_message(message, customs) for message in conversation.messages],
        "tools": [_encode_tool(tool) for tool in conversation.tools],
        "tool_choice": _encode_tool_choice(conversation.tool_choice, customs),
        "parallel_tool_calls": None if conversation.parallel_tool_calls else False,
        "response_format": _encode_output_format(conversation.output_format),
        "chat_template_kwargs": conversation.template_arguments,
        "cache_salt": conversation.cache_salt,
        "prompt_cache_key": conversation.identity.session_id,
        "prompt_cache_options": None if compared is None else {"comparison_response_id": compared},
        "user": conversation.identity.user,
        "nvext": encode_extension(conversation) or None,
        **_encode_reasoning(conversation.reasoning),
        **_encode_sampling(conversation.sampling),
    }
    return without_absent(body)


def encode_extension(conversation: Conversation) -> JsonObject:
    hints = conversation.hints
    extension = {
        "agent_hints": encode_agent_hints(hints) or None,
        "retention": [encode_directive(directive) for directive in hints.retention],
        "backend_instance_id": hints.worker,
        "parent_session_id": conversation.identity.parent_session_id,
        "extra_fields": sorted(conversation.reporting.fields),
    }
    return without_absent(extension)


def _encode_reasoning(reasoning: Reasoning) -> JsonObject:
    rest = without_absent({"enabled": reasoning.enabled, "max_tokens": reasoning.budget_tokens})
    return {"reasoning_effort": reasoning.effort, "reasoning": rest or None}


def _encode_message(message: Message, customs: frozenset[str]) -> JsonObject:
    name = {} if message.name is None else {"name": message.name}
    result = next((block for block in message.blocks if isinstance(block, ToolResult)), None)
    if result is not None:
        return {"role": message.role, **name, **_encode_tool_result(result)}
    body: JsonObject = {"role": message.role, **name, "content": _encode_content(message.blocks)}
    if message.role is Role.ASSISTANT:
        body |= _encode_assistant(message.blocks, customs)
    return body


def _encode_tool_result(result: ToolResult) -> JsonObject:
    return {
        "tool_call_id": result.call_id,
        "content": _encode_content(result.content),
        **encode_mark(result.mark),
    }


def _encode_assistant(blocks: tuple[Block, ...], customs: frozenset[str]) -> JsonObject:
    thinking = "".join(block.text for block in blocks if isinstance(block, Thinking))
    calls = [_encode_tool_call(block, customs) for block in blocks if isinstance(block, ToolCall)]
    return without_absent({"reasoning_content": thinking or None, "tool_calls": calls})


def _encode_tool_call(call: ToolCall, customs: frozenset[str]) -> JsonObject:
    """A call of a custom tool as one, unless its arguments would not come back as they are."""
    text = custom_input(call.arguments)
    if call.name in customs and custom_arguments(text) == call.arguments:
        return {
            "id": call.id,
            "type": "custom",
            "custom": {"name": call.name, "input": text},
            **encode_mark(call.mark),
        }
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function, **encode_mark(call.mark)}


def _encode_content(blocks: Iterable[Block]) -> str | list[JsonObject]:
    parts = [block for block in blocks if isinstance(block, Text | Image | Document)]
    if not parts:
        return ""
    first = parts[0]
    if len(parts) == 1 and isinstance(first, Text) and first.text and first.mark is None:
        return first.text
    return [{**_encode_part(part), **encode_mark(part.mark)} for part in parts]


def _encode_part(part: Text | Image | Document) -> JsonObject:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, Document):
        return encode_file(part)
    return {"type": "image_url", "image_url": without_absent({"url": part.url, "detail": part.detail})}


def encode_mark(mark: CacheMark | None) -> JsonObject:
    if mark is None:
        return {}
    ttl = ttl_text(mark.ttl_seconds)
    if ttl in TTL_SECONDS:
        return {"cache_control": {"type": "ephemeral", "ttl": ttl}}
    return {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": ttl}}


def _encode_tool(tool: Tool) -> JsonObject:
    """`parameters` of a custom tool are always the same, and not sent."""
    described = {"name": tool.name, "description": tool.description}
    if tool.kind is ToolKind.CUSTOM:
        return {"type": "custom", "custom": without_absent(described), **encode_mark(tool.mark)}
    function = without_absent({**described, "parameters": tool.parameters, "strict": tool.strict})
    return {"type": "function", "function": function, **encode_mark(tool.mark)}


def _encode_tool_choice(choice: ToolChoice | None, customs: frozenset[str]) -> str | JsonObject | None:
    if choice is None:
        return None
    if choice.mode is not ToolChoiceMode.NAMED:
        return str(choice.mode)
    kind = "custom" if choice.name in customs else "function"
    return {"type": kind, kind: {"name": choice.name}}


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


def without_absent(body: JsonObject) -> JsonObject:
    """Drop what says nothing: `None` and empty arrays. Empty objects stay, they mean something."""
    return {name: value for name, value in body.items() if value is not None and value != []}
