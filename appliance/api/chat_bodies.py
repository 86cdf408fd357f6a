"""Chat completions, answer side: the JSON bodies.

Structs are encoded by msgspec; no validation runs per token. A field that is `UNSET` does not appear.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import UNSET, Struct, UnsetType

from appliance import __version__
from appliance.generation import FinishReason, TokenLogprob, Usage

FINGERPRINT: Final = f"dynamo-box-{__version__}"

# JSON has no infinity: an impossible token would be written as null, which clients that expect a number reject.
LEAST_LOGPROB: Final = -9999.0

JsonObject = dict[str, Any]


class PromptDetails(Struct, frozen=True):
    cached_tokens: int


class CompletionDetails(Struct, frozen=True):
    reasoning_tokens: int


class UsageBody(Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails | UnsetType = UNSET


class LogprobBody(Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[LogprobBody] | UnsetType = UNSET


class LogprobsBody(Struct, frozen=True):
    content: list[LogprobBody]
    refusal: None = None


class FunctionBody(Struct, frozen=True):
    arguments: str
    name: str | UnsetType = UNSET


class CustomBody(Struct, frozen=True):
    input: str
    name: str | UnsetType = UNSET


class CallBody(Struct, frozen=True):
    """Exactly one of `function` and `custom` is set."""

    function: FunctionBody | UnsetType = UNSET
    custom: CustomBody | UnsetType = UNSET
    index: int | UnsetType = UNSET
    id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET


class DeltaBody(Struct, frozen=True):
    role: str | UnsetType = UNSET
    content: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    tool_calls: list[CallBody] | UnsetType = UNSET


class ChunkChoice(Struct, frozen=True):
    index: int
    delta: DeltaBody
    logprobs: LogprobsBody | None = None
    finish_reason: FinishReason | None = None
    stop_reason: str | int | UnsetType | None = UNSET


class Chunk(Struct, frozen=True):
    id: str
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: UsageBody | UnsetType | None = UNSET
    nvext: JsonObject | UnsetType = UNSET
    prompt_cache_diagnostics: JsonObject | UnsetType = UNSET
    object: str = "chat.completion.chunk"
    system_fingerprint: str = FINGERPRINT
    service_tier: str = "default"


class MessageBody(Struct, frozen=True):
    content: str | None
    reasoning_content: str | None
    tool_calls: list[CallBody] | UnsetType
    reasoning: str | None
    refusal: None = None
    role: str = "assistant"


class ChoiceBody(Struct, frozen=True):
    index: int
    message: MessageBody
    logprobs: LogprobsBody | None
    finish_reason: FinishReason
    stop_reason: str | int | None


class Completion(Struct, frozen=True):
    id: str
    created: int
    model: str
    choices: list[ChoiceBody]
    usage: UsageBody
    nvext: JsonObject | UnsetType = UNSET
    prompt_cache_diagnostics: JsonObject | UnsetType = UNSET
    object: str = "chat.completion"
    system_fingerprint: str = FINGERPRINT
    service_tier: str = "default"


def usage_body(usage: Usage) -> UsageBody:
    return UsageBody(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=PromptDetails(usage.cached_tokens),
        completion_tokens_details=CompletionDetails(usage.reasoning_tokens),
    )


def logprob_body(entry: TokenLogprob) -> LogprobBody:
    return LogprobBody(
        entry.token,
        max(entry.logprob, LEAST_LOGPROB),
        list(entry.utf8),
        [LogprobBody(top.token, max(top.logprob, LEAST_LOGPROB), list(top.utf8)) for top in entry.top],
    )
