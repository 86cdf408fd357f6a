"""A `Conversation` as vLLM's own chat request, which its renderer and parsers take."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from xml.sax.saxutils import quoteattr

from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

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
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolResult,
)

FORCED_MODES = frozenset({ToolChoiceMode.REQUIRED, ToolChoiceMode.NAMED})


def chat_request(conversation: Conversation) -> ChatCompletionRequest:
    """The request without its length limit, which the renderer checks by itself. Raises vLLM's validation errors."""
    sampling = conversation.sampling
    fields: dict[str, Any] = {
        "messages": [],
        "model": conversation.model,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "repetition_penalty": sampling.repetition_penalty,
        "min_tokens": sampling.min_tokens or 0,
        "seed": sampling.seed,
        "stop": list(sampling.stop),
        "stop_token_ids": list(sampling.stop_token_ids),
        "ignore_eos": sampling.ignore_eos,
        "logprobs": sampling.logprobs is not None,
        "top_logprobs": sampling.logprobs or 0,
        "logit_bias": dict(sampling.logit_bias) if sampling.logit_bias else None,
        "n": sampling.n,
        "stream": True,
        "parallel_tool_calls": conversation.parallel_tool_calls,
        "reasoning_effort": conversation.reasoning.effort,
        "response_format": _response_format(conversation.output_format),
        "chat_template_kwargs": _template_arguments(conversation) or None,
        "cache_salt": conversation.cache_salt,
        "continue_final_message": conversation.continue_final or None,
        "add_generation_prompt": False if conversation.continue_final else None,
    }
    if conversation.tools:
        forced = conversation.tool_choice is not None and conversation.tool_choice.mode in FORCED_MODES
        fields["tools"] = [_tool(tool, forced=forced) for tool in conversation.tools]
        fields["tool_choice"] = _tool_choice(conversation.tool_choice)
    request = ChatCompletionRequest.model_validate({name: value for name, value in fields.items() if value is not None})
    # Set after validation: checking a long history against vLLM's unions of message types costs more than rendering it.
    request.messages = wire_messages(conversation)
    return request


def wire_messages(conversation: Conversation) -> list[dict[str, Any]]:
    """As they stand in a chat request."""
    return [part for message in conversation.messages for part in _messages(message)]


def as_user(conversation: Conversation) -> Conversation:
    """The same with every system message but a leading one told by the user; itself when there is none."""
    rest = conversation.messages[1:]
    if all(message.role not in _SYSTEM_ROLES for message in rest):
        return conversation
    told = (replace(message, role=Role.USER) if message.role in _SYSTEM_ROLES else message for message in rest)
    return replace(conversation, messages=(*conversation.messages[:1], *told))


_SYSTEM_ROLES = frozenset({Role.SYSTEM, Role.DEVELOPER})


def _template_arguments(conversation: Conversation) -> dict[str, Any]:
    """Templates name the switch for thinking in two ways; one that knows neither never sees them."""
    return _thinking_switches(conversation.reasoning) | dict(conversation.template_arguments or {})


def _thinking_switches(reasoning: Reasoning) -> dict[str, Any]:
    return {} if reasoning.enabled is None else {"enable_thinking": reasoning.enabled, "thinking": reasoning.enabled}


def _messages(message: Message) -> Iterable[dict[str, Any]]:
    """One message; a message with tool results is one `tool` message for each of them."""
    results = [block for block in message.blocks if isinstance(block, ToolResult)]
    yield from (_tool_result(result) for result in results)
    rest = [block for block in message.blocks if not isinstance(block, ToolResult)]
    if rest or not results:
        yield _plain_message(message, rest)


def _plain_message(message: Message, blocks: Sequence[Block]) -> dict[str, Any]:
    # Few templates know a developer, and what they make of it is a system message.
    role = Role.SYSTEM if message.role is Role.DEVELOPER else message.role
    wire: dict[str, Any] = {"role": role.value, "content": _content(blocks)}
    if message.name is not None:
        wire["name"] = message.name
    if message.role is Role.ASSISTANT:
        thoughts = [block.text for block in blocks if isinstance(block, Thinking) and block.text]
        if thoughts:
            wire["reasoning"] = "".join(thoughts)
        calls = [_tool_call(block) for block in blocks if isinstance(block, ToolCall)]
        if calls:
            wire["tool_calls"] = calls
    return wire


def _content(blocks: Iterable[Block]) -> str | list[dict[str, Any]]:
    """One string where all is text, so that templates which know only strings see no list."""
    shown = [block for block in blocks if isinstance(block, Text | Image | Document)]
    if not any(isinstance(block, Image) for block in shown):
        return "".join(_text(block) for block in shown if not isinstance(block, Image))
    return [_part(block) for block in shown]


def _text(block: Text | Document) -> str:
    if isinstance(block, Text):
        return block.text
    named = {"title": block.title, "source": block.source, "context": block.context}
    attributes = "".join(f" {name}={quoteattr(value)}" for name, value in named.items() if value is not None)
    return f"<document{attributes}>\n{block.text}\n</document>\n"


def _part(block: Text | Image | Document) -> dict[str, Any]:
    if not isinstance(block, Image):
        return {"type": "text", "text": _text(block)}
    url = {"url": block.url} if block.detail is None else {"url": block.url, "detail": block.detail}
    return {"type": "image_url", "image_url": url}


def _tool_result(result: ToolResult) -> dict[str, Any]:
    content = _content(result.content) or ("The tool failed." if result.is_error else "")
    return {"role": "tool", "tool_call_id": result.call_id, "content": content}


def _tool_call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _arguments(call)}}


def _arguments(call: ToolCall) -> str:
    """The renderer parses arguments as JSON; what a model wrote wrongly must not fail the whole history."""
    try:
        parsed = json.loads(call.arguments or "{}")
    except ValueError:
        return json.dumps({"_unparsed": call.arguments}, ensure_ascii=False)
    if not isinstance(parsed, dict):
        return json.dumps({"_value": parsed}, ensure_ascii=False)
    return call.arguments or "{}"


def _tool(tool: Tool, *, forced: bool) -> dict[str, Any]:
    """vLLM holds the arguments to the schema only of a strict tool. Those of a forced call are held to it unless the
    client said that they need not be: the model was not asked whether it has all that the tool wants."""
    function: dict[str, Any] = {"name": tool.name}
    optional: Mapping[str, Any] = {
        "description": tool.description,
        "parameters": None if tool.parameters is None else dict(tool.parameters),
        "strict": True if forced and tool.strict is None else tool.strict,
    }
    function |= {name: value for name, value in optional.items() if value is not None}
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice | None) -> Any:
    if choice is None:
        return "auto"
    if choice.mode is ToolChoiceMode.NAMED:
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode.value


def _response_format(output: OutputFormat) -> dict[str, Any] | None:
    if output.kind is OutputKind.TEXT:
        return None
    if output.kind is OutputKind.JSON_OBJECT:
        return {"type": "json_object"}
    schema = {"name": output.name or "answer", "schema": dict(output.schema or {})}
    return {
        "type": "json_schema",
        "json_schema": schema if output.strict is None else schema | {"strict": output.strict},
    }
