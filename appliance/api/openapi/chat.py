"""Requests of chat completions and of completions, as the OpenAPI document describes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta, Struct

from appliance.api.chat_options import MAX_TOP_LOGPROBS
from appliance.api.completions_prompt import MAX_PROMPTS
from appliance.api.openapi.shared import (
    Asking,
    Caching,
    Count,
    Effort,
    ImageUrl,
    JsonObject,
    JsonObjectFormat,
    JsonSchemaFormat,
    Markable,
    Name,
    Stopping,
    StreamOptions,
    TextFormat,
)

Format = TextFormat | JsonObjectFormat | JsonSchemaFormat
TopLogprobs = Annotated[int, Meta(ge=0, le=MAX_TOP_LOGPROBS)]


class TextPart(Markable, tag="text"):
    text: str


class RefusalPart(Markable, tag="refusal"):
    refusal: str


class ImageReference(Struct):
    url: ImageUrl
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Markable, tag="image_url"):
    image_url: ImageReference


class FileContent(Struct):
    """`file_data` is a data: URL with base64, of a text or a PDF."""

    file_data: str | None = None
    filename: str | None = None
    file_id: str | None = None


class FilePart(Markable, tag="file"):
    file: FileContent


class FunctionCall(Struct):
    name: Name
    arguments: Annotated[str, Meta(description="JSON text, as the model wrote it")]


class FunctionToolCall(Markable, tag="function"):
    id: Name
    function: FunctionCall


class CustomCall(Struct):
    name: Name
    input: str


class CustomToolCall(Markable, tag="custom"):
    id: Name
    custom: CustomCall


class SystemMessage(Markable, tag_field="role", tag="system"):
    content: str | list[TextPart]
    name: str | None = None


class DeveloperMessage(Markable, tag_field="role", tag="developer"):
    content: str | list[TextPart]
    name: str | None = None


class UserMessage(Markable, tag_field="role", tag="user"):
    content: str | list[TextPart | ImagePart | FilePart]
    name: str | None = None


class AssistantMessage(Markable, tag_field="role", tag="assistant"):
    """With neither thoughts nor calls, `content` is required."""

    content: str | list[TextPart | RefusalPart] | None = None
    reasoning_content: str | None = None
    tool_calls: list[FunctionToolCall | CustomToolCall] | None = None
    refusal: str | None = None
    name: str | None = None


class ToolMessage(Markable, tag_field="role", tag="tool"):
    """The result of a call that an earlier message made."""

    tool_call_id: Name
    content: str | list[TextPart | ImagePart | FilePart]


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


class Function(Struct):
    name: Name
    description: str | None = None
    parameters: Annotated[JsonObject, Meta(description="A JSON schema")] | None = None
    strict: bool | None = None


class FunctionTool(Markable, tag="function"):
    function: Function


class Custom(Struct):
    name: Name
    description: str | None = None


class CustomTool(Markable, tag="custom"):
    custom: Custom


class Named(Struct):
    name: Name


class FunctionChoice(Struct, tag="function"):
    function: Named


class CustomChoice(Struct, tag="custom"):
    custom: Named


class ReasoningOptions(Struct):
    effort: Effort | None = None
    enabled: bool | None = None
    max_tokens: Count | None = None


@dataclass(kw_only=True)
class ChatRequest(Asking, Stopping, Caching):
    """Tools of other types are left out, and told."""

    model: Name
    messages: Annotated[list[Message], Meta(min_length=1)]
    tools: list[FunctionTool | CustomTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice | CustomChoice | None = None
    response_format: Format | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    reasoning_effort: Effort | None = None
    reasoning: ReasoningOptions | None = None


Tokens = Annotated[list[Count], Meta(min_length=1)]


@dataclass(kw_only=True)
class CompletionRequest(Asking, Stopping):
    """A prompt is text or tokens; an array of prompts is one request for each. `echo` takes text, and no `logprobs`."""

    model: Name
    prompt: Annotated[
        Name | list[Name | Count | Tokens],
        Meta(description=f"Text, tokens, or an array of at most {MAX_PROMPTS} of the same kind"),
    ]
    response_format: Format | None = None
    stream_options: StreamOptions | None = None
    logprobs: TopLogprobs | None = None
    echo: bool | None = None
