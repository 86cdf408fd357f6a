"""Completions, answer side: the JSON bodies, the same for a whole answer and for the chunks of a stream."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from appliance.api.chat_bodies import FINGERPRINT, LEAST_LOGPROB, UsageBody
from appliance.generation import FinishReason, TokenLogprob

JsonObject = dict[str, Any]


class LogprobsBody(Struct, frozen=True):
    """One entry a token. `text_offset` counts characters from the beginning of the choice's text."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class ChoiceBody(Struct, frozen=True):
    index: int
    text: str
    logprobs: LogprobsBody | None = None
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None


class CompletionBody(Struct, frozen=True):
    id: str
    created: int
    model: str
    choices: list[ChoiceBody]
    usage: UsageBody | UnsetType | None = UNSET
    nvext: JsonObject | UnsetType = UNSET
    object: str = "text_completion"
    system_fingerprint: str = FINGERPRINT


def logprobs_body(entries: list[TokenLogprob], offset: int) -> LogprobsBody:
    """The alternatives of a token include itself, as OpenAI has it."""
    offsets: list[int] = []
    for entry in entries:
        offsets.append(offset)
        offset += len(entry.token)
    return LogprobsBody(
        tokens=[entry.token for entry in entries],
        token_logprobs=[_least(entry.logprob) for entry in entries],
        top_logprobs=[_alternatives(entry) for entry in entries],
        text_offset=offsets,
    )


def _alternatives(entry: TokenLogprob) -> dict[str, float]:
    return {each.token: _least(each.logprob) for each in (*entry.top, entry)} if entry.top else {}


def _least(logprob: float) -> float:
    return max(logprob, LEAST_LOGPROB)
