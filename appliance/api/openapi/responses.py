"""Requests of the responses API and of conversations, as the OpenAPI document describes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta, Struct

from appliance.api.chat_options import MAX_TOP_LOGPROBS
from appliance.api.conversations import MAX_ITEMS_AT_ONCE
from appliance.api.openapi.shared import (
    Asking,
    Breakpoint,
    Caching,
    Drawing,
    Effort,
    ImageUrl,
    JsonObject,
    JsonObjectFormat,
    Markable,
    Name,
    Positive,
    PromptCacheOptions,
    ShortText,
    TextFormat,
)
from appliance.api.responses_options import MAX_METADATA, MAX_METADATA_KEY, MAX_METADATA_VALUE

MetadataKey = Annotated[str, Meta(max_length=MAX_METADATA_KEY)]
MetadataValue = Annotated[str, Meta(max_length=MAX_METADATA_VALUE)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Meta(max_length=MAX_METADATA)]


class InputText(Markable, tag="input_text"):
    text: str


class OutputText(Markable, tag="output_text"):
    text: str


class InputImage(Markable, tag="input_image"):
    image_url: ImageUrl
    detail: Literal["auto", "low", "high", "original"] | None = None


class InputFile(Markable, tag="input_file"):
    """`file_data` is base64, of a text or a PDF."""

    file_data: Name
    filename: str | None = None


Part = InputText | OutputText | InputImage | InputFile


class InputMessage(Struct, tag="message"):
    role: Literal["user", "system", "developer", "assistant"]
    content: str | list[Part]


class SummaryText(Struct, tag="summary_text"):
    text: Name


class ReasoningText(Struct, tag="reasoning_text"):
    text: str


class Reasoning(Struct, tag="reasoning"):
    summary: list[SummaryText]
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None


class Called(Struct, kw_only=True):
    call_id: Name
    prompt_cache_breakpoint: Breakpoint | None = None


class FunctionCall(Called, tag="function_call"):
    name: Name
    arguments: Annotated[str, Meta(description="JSON text, as the model wrote it")]


class FunctionCallOutput(Called, tag="function_call_output"):
    """The result of a call that an earlier item made."""

    output: str | list[Part]


class CustomToolCall(Called, tag="custom_tool_call"):
    name: Name
    input: str


class CustomToolCallOutput(Called, tag="custom_tool_call_output"):
    output: str | list[Part]


class Compaction(Struct, tag="compaction"):
    """What `/v1/responses/compact` made of an earlier part of the conversation."""

    encrypted_content: Name


class ItemReference(Struct, tag="item_reference"):
    """An item that is kept here."""

    id: Name


Item = (
    InputMessage
    | Reasoning
    | FunctionCall
    | FunctionCallOutput
    | CustomToolCall
    | CustomToolCallOutput
    | Compaction
    | ItemReference
)


class FunctionTool(Markable, tag="function"):
    name: Name
    description: str | None = None
    parameters: Annotated[JsonObject, Meta(description="A JSON schema")] | None = None
    strict: bool | None = None


class CustomTool(Markable, tag="custom"):
    name: Name
    description: str | None = None


class FunctionChoice(Struct, tag="function"):
    name: Name


class CustomChoice(Struct, tag="custom"):
    name: Name


class JsonSchemaFormat(Struct, tag="json_schema"):
    name: Name
    schema: JsonObject
    strict: bool | None = None


class TextOptions(Struct):
    format: TextFormat | JsonObjectFormat | JsonSchemaFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningOptions(Struct):
    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class PreparingOptions(PromptCacheOptions):
    """With `prewarm` the prompt is read into the cache, and nothing is answered."""

    prewarm: bool | None = None


@dataclass(kw_only=True)
class Prompting(Caching):
    """What a prompt is made of: an `input`, or something kept to go on from. Items and tools of other types are left
    out, and told."""

    input: str | list[Item] | None = None
    instructions: str | None = None
    previous_response_id: ShortText | None = None
    conversation: ShortText | None = None
    tools: list[FunctionTool | CustomTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice | CustomChoice | None = None
    reasoning: ReasoningOptions | None = None
    text: TextOptions | None = None


@dataclass(kw_only=True)
class CountRequest(Prompting):
    model: Name | None = None


@dataclass(kw_only=True)
class CompactRequest(Prompting):
    model: Name


@dataclass(kw_only=True)
class ResponsesRequest(Prompting, Asking, Drawing):
    model: Name
    prompt_cache_options: PreparingOptions | None = None
    max_output_tokens: Positive | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    include: list[str] | None = None
    metadata: Metadata | None = None
    store: bool | None = None
    background: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    safety_identifier: ShortText | None = None


class NewConversation(Struct):
    metadata: Metadata | None = None
    items: Annotated[list[Item], Meta(max_length=MAX_ITEMS_AT_ONCE)] | None = None


class NewMetadata(Struct):
    metadata: Metadata | None = None


class NewItems(Struct):
    items: Annotated[list[Item], Meta(min_length=1, max_length=MAX_ITEMS_AT_ONCE)]
