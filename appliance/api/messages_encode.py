"""Messages API, the other way: `Conversation` → request JSON, for replays and for tests of the codec."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from appliance.api.chat_messages import TTL_SECONDS
from appliance.api.messages_identity import join_user_id
from appliance.api.messages_tools import CHOICES
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
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)

JsonObject = dict[str, Any]

ROLES: Final = {Role.TOOL: Role.USER, Role.DEVELOPER: Role.SYSTEM}
NO_PARAMETERS: Final[JsonObject] = {"type": "object"}


def encode_request(conversation: Conversation) -> JsonObject:
    """The request body that decodes to `conversation`.

    Left out is what this protocol's body cannot say: the parent session and the client (headers carry them), hints and
    reporting, sampling beyond its own five fields, names of messages, an image's detail, a document's context beside
    its source, calls whose arguments are no JSON object, and parallel calls without a choice of tools.
    """
    sampling = conversation.sampling
    system, messages = _split(conversation.messages)
    body = {
        "model": conversation.model,
        "max_tokens": sampling.max_tokens,
        "system": _encode_blocks(system),
        "messages": [_encode_message(message) for message in messages],
        "tools": [_encode_tool(tool) for tool in conversation.tools],
        "tool_choice": _encode_tool_choice(conversation),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "stop_sequences": list(sampling.stop),
        "thinking": _encode_thinking(conversation.reasoning),
        "output_config": _encode_output(conversation.output_format, conversation.reasoning) or None,
        "chat_template_kwargs": conversation.template_arguments,
        "metadata": _present({"user_id": join_user_id(conversation.identity)}) or None,
        "nvext": _present({"cache_salt": conversation.cache_salt}) or None,
    }
    return _present({name: value for name, value in body.items() if value != [] or name == "messages"})


def _split(messages: tuple[Message, ...]) -> tuple[tuple[Block, ...], tuple[Message, ...]]:
    """The system prompt, and the turns after it."""
    if messages and messages[0].role is Role.SYSTEM:
        return messages[0].blocks, messages[1:]
    return (), messages


def _encode_message(message: Message) -> JsonObject:
    return {"role": ROLES.get(message.role, message.role), "content": _encode_blocks(message.blocks)}


def _encode_blocks(blocks: Iterable[Block]) -> list[JsonObject]:
    return [_encode_block(block) | _encode_mark(block.mark) for block in blocks]


def _encode_block(block: Block) -> JsonObject:
    if isinstance(block, Text):
        return {"type": "text", "text": block.text}
    if isinstance(block, Image):
        return {"type": "image", "source": _image_source(block.url)}
    if isinstance(block, Document):
        return _encode_document(block)
    if isinstance(block, Thinking):
        return _encode_thought(block)
    if isinstance(block, ToolCall):
        return {"type": "tool_use", "id": block.id, "name": block.name, "input": json.loads(block.arguments)}
    return _encode_tool_result(block)


def _image_source(url: str) -> JsonObject:
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    media_type, _, data = url.removeprefix("data:").partition(";base64,")
    return {"type": "base64", "media_type": media_type, "data": data}


def _encode_document(document: Document) -> JsonObject:
    if document.source is not None:
        text = {"type": "text", "text": document.text}
        return {"type": "search_result", "source": document.source, "title": document.title or "", "content": [text]}
    source = {"type": "text", "media_type": "text/plain", "data": document.text}
    return {"type": "document", "source": source, **_present({"title": document.title, "context": document.context})}


def _encode_thought(thought: Thinking) -> JsonObject:
    if thought.sealed is not None:
        return {"type": "redacted_thinking", "data": thought.sealed}
    return {"type": "thinking", "thinking": thought.text, "signature": thought.signature or ""}


def _encode_tool_result(result: ToolResult) -> JsonObject:
    error = {"is_error": True} if result.is_error else {}
    return {
        "type": "tool_result",
        "tool_use_id": result.call_id,
        "content": _encode_blocks(result.content),
        **error,
    }


def _encode_mark(mark: CacheMark | None) -> JsonObject:
    if mark is None:
        return {}
    ttl = next((name for name, seconds in TTL_SECONDS.items() if seconds >= mark.ttl_seconds), "1h")
    return {"cache_control": {"type": "ephemeral", "ttl": ttl}}


def _encode_tool(tool: Tool) -> JsonObject:
    body = {
        "name": tool.name,
        "description": tool.description,
        "input_schema": NO_PARAMETERS if tool.parameters is None else tool.parameters,
        "strict": tool.strict,
    }
    return _present(body) | _encode_mark(tool.mark)


def _encode_tool_choice(conversation: Conversation) -> JsonObject | None:
    choice = conversation.tool_choice
    if choice is None:
        return None
    kind = next(name for name, mode in CHOICES.items() if mode is choice.mode)
    parallel = None if conversation.parallel_tool_calls else True
    return _present({"type": kind, "name": choice.name, "disable_parallel_tool_use": parallel})


def _encode_thinking(reasoning: Reasoning) -> JsonObject | None:
    if reasoning.enabled is None:
        return None
    if not reasoning.enabled:
        return {"type": "disabled"}
    if reasoning.budget_tokens is None:
        return {"type": "adaptive"}
    return {"type": "enabled", "budget_tokens": reasoning.budget_tokens}


def _encode_output(output: OutputFormat, reasoning: Reasoning) -> JsonObject:
    is_schema = output.kind is OutputKind.JSON_SCHEMA
    form = {"type": "json_schema", "schema": output.schema} if is_schema else None
    return _present({"effort": reasoning.effort, "format": form})


def _present(body: JsonObject) -> JsonObject:
    return {name: value for name, value in body.items() if value is not None}
