"""Responses, answer side: the response object and its items.

Structs are encoded by msgspec, their tag as the field `type`; no validation runs per token. A field that is `UNSET`
does not appear.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import UNSET, Raw, Struct, UnsetType

from appliance.api.chat_bodies import LEAST_LOGPROB
from appliance.generation import TokenLogprob, Usage

IN_PROGRESS: Final = "in_progress"
COMPLETED: Final = "completed"
INCOMPLETE: Final = "incomplete"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
QUEUED: Final = "queued"


class TopLogprobBody(Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int]


class LogprobBody(Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprobBody]


class OutputText(Struct, frozen=True, tag="output_text"):
    text: str = ""
    logprobs: list[LogprobBody] = []
    annotations: list[None] = []


class ReasoningText(Struct, frozen=True, tag="reasoning_text"):
    text: str = ""


class SummaryText(Struct, frozen=True, tag="summary_text"):
    text: str = ""


class MessageItem(Struct, frozen=True, tag="message"):
    id: str
    status: str
    content: list[OutputText]
    role: str = "assistant"


class ReasoningItem(Struct, frozen=True, tag="reasoning"):
    id: str
    status: str
    summary: list[SummaryText]
    content: list[ReasoningText] | UnsetType = UNSET
    encrypted_content: str | UnsetType = UNSET


class FunctionCallItem(Struct, frozen=True, tag="function_call"):
    id: str
    status: str
    call_id: str
    name: str
    arguments: str = ""
    namespace: str | UnsetType = UNSET


class CustomCallItem(Struct, frozen=True, tag="custom_tool_call"):
    id: str
    status: str
    call_id: str
    name: str
    input: str = ""
    namespace: str | UnsetType = UNSET


class CompactionItem(Struct, frozen=True, tag="compaction"):
    id: str
    encrypted_content: str


ItemBody = MessageItem | ReasoningItem | FunctionCallItem | CustomCallItem


class InputDetails(Struct, frozen=True):
    """What was not read from cache is written to it."""

    cached_tokens: int
    cache_write_tokens: int


class OutputDetails(Struct, frozen=True):
    reasoning_tokens: int


class UsageBody(Struct, frozen=True):
    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class ConversationRef(Struct, frozen=True):
    id: str


class ErrorBody(Struct, frozen=True):
    code: str
    message: str


class IncompleteBody(Struct, frozen=True):
    reason: str


class Echo(Struct, frozen=True, kw_only=True):
    """What a response says of its request. Large parts are encoded once, for they come in every life-cycle event."""

    background: bool
    conversation: ConversationRef | None
    instructions: Raw
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: Raw
    model: str
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    prompt_cache_options: Raw
    prompt_cache_retention: str | None
    reasoning: Raw
    safety_identifier: str | None
    store: bool
    temperature: float | None
    text: Raw
    tool_choice: Raw
    tools: Raw
    top_logprobs: int
    top_p: float | None
    truncation: str
    user: str | None
    service_tier: str = "default"


class ResponseBody(Echo, frozen=True, kw_only=True):
    """One response, at any time of its life."""

    id: str
    created_at: int
    status: str
    object: str = "response"
    completed_at: int | None = None
    error: ErrorBody | None = None
    incomplete_details: IncompleteBody | None = None
    output: list[ItemBody] = []
    usage: UsageBody | None = None
    prompt_cache_diagnostics: dict[str, Any] | UnsetType = UNSET
    nvext: dict[str, Any] | UnsetType = UNSET


def usage_body(usage: Usage) -> UsageBody:
    return UsageBody(
        input_tokens=usage.prompt_tokens,
        input_tokens_details=InputDetails(usage.cached_tokens, usage.prompt_tokens - usage.cached_tokens),
        output_tokens=usage.completion_tokens,
        output_tokens_details=OutputDetails(usage.reasoning_tokens),
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
    )


def logprob_body(entry: TokenLogprob) -> LogprobBody:
    top = [TopLogprobBody(other.token, _finite(other.logprob), list(other.utf8)) for other in entry.top]
    return LogprobBody(entry.token, _finite(entry.logprob), list(entry.utf8), top)


def _finite(logprob: float) -> float:
    return max(logprob, LEAST_LOGPROB)
