"""Messages API, answer side: the JSON bodies.

Structs are encoded by msgspec, their tag as the field `type`; no validation runs per token. A field that is `UNSET`
does not appear.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType


class TextBlock(Struct, frozen=True, tag="text"):
    text: str


class ThinkingBlock(Struct, frozen=True, tag="thinking"):
    thinking: str
    signature: str


class ToolUseBlock(Struct, frozen=True, tag="tool_use"):
    id: str
    name: str
    input: Raw


BlockBody = TextBlock | ThinkingBlock | ToolUseBlock


class TextDelta(Struct, frozen=True, tag="text_delta"):
    text: str


class ThinkingDelta(Struct, frozen=True, tag="thinking_delta"):
    thinking: str


class SignatureDelta(Struct, frozen=True, tag="signature_delta"):
    signature: str


class InputDelta(Struct, frozen=True, tag="input_json_delta"):
    partial_json: str


DeltaBody = TextDelta | ThinkingDelta | SignatureDelta | InputDelta


class BlockStart(Struct, frozen=True, tag="content_block_start"):
    index: int
    content_block: BlockBody


class BlockDelta(Struct, frozen=True, tag="content_block_delta"):
    index: int
    delta: DeltaBody


class BlockStop(Struct, frozen=True, tag="content_block_stop"):
    index: int


Step = BlockStart | BlockDelta | BlockStop


class CacheCreation(Struct, frozen=True):
    ephemeral_5m_input_tokens: int
    ephemeral_1h_input_tokens: int


class OutputDetails(Struct, frozen=True):
    thinking_tokens: int


class UsageBody(Struct, frozen=True):
    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    cache_creation: CacheCreation
    output_tokens: int
    output_tokens_details: OutputDetails | UnsetType = UNSET
    service_tier: str = "standard"


class FinalUsage(Struct, frozen=True):
    """The cumulative counts at the end of a stream."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int
    output_tokens_details: OutputDetails


class MissBody(Struct, frozen=True):
    """`at`, the place of the first difference, is what the owner of the cache can say more."""

    type: str
    cache_missed_input_tokens: int | UnsetType = UNSET
    at: str | UnsetType = UNSET


class DiagnosticsBody(Struct, frozen=True):
    cache_miss_reason: MissBody


class ClearedToolUses(Struct, frozen=True, tag="clear_tool_uses_20250919"):
    cleared_tool_uses: int
    cleared_input_tokens: int


class ClearedThinking(Struct, frozen=True, tag="clear_thinking_20251015"):
    cleared_thinking_turns: int
    cleared_input_tokens: int


class ContextBody(Struct, frozen=True):
    applied_edits: list[ClearedToolUses | ClearedThinking]


class MessageBody(Struct, frozen=True, tag="message"):
    """A whole answer, and what `message_start` says of one that is to come."""

    id: str
    model: str
    content: list[BlockBody]
    stop_reason: str | None
    stop_sequence: str | None
    usage: UsageBody
    diagnostics: DiagnosticsBody | UnsetType | None = UNSET
    context_management: ContextBody | UnsetType = UNSET
    nvext: dict[str, Any] | UnsetType = UNSET
    role: str = "assistant"


class MessageStart(Struct, frozen=True, tag="message_start"):
    message: MessageBody


class Ping(Struct, frozen=True, tag="ping"):
    pass


class StopBody(Struct, frozen=True):
    stop_reason: str
    stop_sequence: str | None


class MessageDelta(Struct, frozen=True, tag="message_delta"):
    delta: StopBody
    usage: FinalUsage
    context_management: ContextBody | UnsetType = UNSET
    nvext: dict[str, Any] | UnsetType = UNSET


class MessageStop(Struct, frozen=True, tag="message_stop"):
    pass


EventBody = MessageStart | Ping | Step | MessageDelta | MessageStop


class TokenCount(Struct, frozen=True):
    """`context_management` says how many tokens there were before its edits."""

    input_tokens: int
    context_management: dict[str, int] | UnsetType = UNSET
