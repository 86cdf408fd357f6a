"""Requests of the messages API, as the OpenAPI document describes them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from appliance.api.messages_identity import MAX_USER_CHARACTERS
from appliance.api.messages_options import MAX_STOPS, MIN_BUDGET_TOKENS
from appliance.api.openapi.shared import CacheControl, Count, JsonObject, Name, Nvext, ShortText


class Block(Struct, kw_only=True):
    cache_control: CacheControl | None = None


class TextBlock(Block, tag="text"):
    text: str


class Base64Image(Struct, tag="base64"):
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: Name


class UrlImage(Struct, tag="url"):
    url: Annotated[str, Meta(pattern="^https?://")]


class ImageBlock(Block, tag="image"):
    source: Base64Image | UrlImage


class Base64Pdf(Struct, tag="base64"):
    media_type: Literal["application/pdf"]
    data: Name


class PlainText(Struct, tag="text"):
    media_type: Literal["text/plain"]
    data: str


class ContentSource(Struct, tag="content"):
    content: str | list[TextBlock | ImageBlock]


class DocumentBlock(Block, tag="document"):
    source: Base64Pdf | PlainText | ContentSource
    title: str | None = None
    context: str | None = None


class SearchResultBlock(Block, tag="search_result"):
    source: Name
    title: str
    content: list[TextBlock]


class ThinkingBlock(Block, tag="thinking"):
    """With the signature that came with it."""

    thinking: str
    signature: str | None = None


class RedactedThinkingBlock(Block, tag="redacted_thinking"):
    data: Name


class ToolUseBlock(Block, tag="tool_use"):
    id: Name
    name: Name
    input: JsonObject


class ToolResultBlock(Block, tag="tool_result"):
    """The result of a call that an earlier message made."""

    tool_use_id: Name
    content: str | list[TextBlock | ImageBlock | DocumentBlock | SearchResultBlock] | None = None
    is_error: bool | None = None


UserBlock = TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolResultBlock
AssistantBlock = TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock


class UserTurn(Struct, tag_field="role", tag="user"):
    content: str | list[UserBlock]


class AssistantTurn(Struct, tag_field="role", tag="assistant"):
    content: str | list[AssistantBlock]


class SystemTurn(Struct, tag_field="role", tag="system"):
    content: str | list[TextBlock]
    clear_at: Literal["never", "next_user_message"] | None = None


class Tool(Block):
    """Tools that the client runs by an agreed schema (bash, text editor, memory) go by their dated `type` instead of an
    `input_schema`; those that a server runs are left out, and told."""

    name: Name
    input_schema: JsonObject
    type: Literal["custom"] | None = None
    description: str | None = None
    strict: bool | None = None


class AutoChoice(Struct, tag="auto"):
    disable_parallel_tool_use: bool | None = None


class AnyChoice(Struct, tag="any"):
    disable_parallel_tool_use: bool | None = None


class ToolChoice(Struct, tag="tool"):
    name: Name
    disable_parallel_tool_use: bool | None = None


class NoChoice(Struct, tag="none"):
    pass


class EnabledThinking(Struct, tag="enabled"):
    """`budget_tokens` is less than `max_tokens`."""

    budget_tokens: Annotated[int, Meta(ge=MIN_BUDGET_TOKENS)]
    display: Literal["summarized", "omitted", "updates"] | None = None


class AdaptiveThinking(Struct, tag="adaptive"):
    display: Literal["summarized", "omitted", "updates"] | None = None


class DisabledThinking(Struct, tag="disabled"):
    pass


class JsonSchemaOutput(Struct, tag="json_schema"):
    schema: JsonObject


class OutputConfig(Struct):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonSchemaOutput | None = None


class Metadata(Struct):
    user_id: Annotated[str, Meta(max_length=MAX_USER_CHARACTERS)] | None = None


class Amount(Struct):
    type: Literal["input_tokens", "tool_uses", "thinking_turns"]
    value: Count


class ContextEdit(Struct):
    """What to clear from a long history before the model reads it. Edits of other types are left out, and told."""

    type: Literal["clear_tool_uses_20250919", "clear_thinking_20251015"]
    trigger: Amount | None = None
    keep: Amount | Literal["all"] | None = None
    clear_at_least: Amount | None = None
    exclude_tools: list[str] | None = None
    clear_tool_inputs: bool | list[str] | None = None


class ContextManagement(Struct):
    edits: list[ContextEdit] | None = None


class Diagnostics(Struct):
    """Asks why the prompt of an earlier answer could not be read from cache; null on a first turn."""

    previous_message_id: ShortText | None = None


class CountRequest(Block, kw_only=True):
    """A request whose tokens are to be counted. At most four things carry `cache_control`."""

    model: Name
    messages: Annotated[list[UserTurn | AssistantTurn | SystemTurn], Meta(min_length=1)]
    system: str | list[TextBlock] | None = None
    tools: list[Tool] | None = None
    tool_choice: AutoChoice | AnyChoice | ToolChoice | NoChoice | None = None
    thinking: EnabledThinking | AdaptiveThinking | DisabledThinking | None = None
    output_config: OutputConfig | None = None
    context_management: ContextManagement | None = None
    nvext: Nvext | None = None


class MessagesRequest(CountRequest, kw_only=True):
    """With `max_tokens` 0 the prompt is read into the cache, and nothing is answered."""

    max_tokens: Count
    stream: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Count | None = None
    stop_sequences: Annotated[list[Name], Meta(max_length=MAX_STOPS)] | None = None
    metadata: Metadata | None = None
    diagnostics: Diagnostics | None = None
