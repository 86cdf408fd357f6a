"""What an answer says beside its content: `nvext`, the same in every protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from appliance.conversation import Conversation, Hints, Ignored, RetentionDirective
from appliance.generation import Finished, Started, Usage

JsonObject = dict[str, Any]

MAX_TOLD: Final = 64
MAX_TOLD_CHARACTERS: Final = 240


def nvext_of(conversation: Conversation, started: Started | None, finished: Finished | None) -> JsonObject | None:
    """The parts that `nvext.extra_fields` asked for, as far as they are known yet.

    What was ignored is told unasked, for a client that relied on it must learn so; `None` when there is nothing to say.
    Of a long list of what was ignored the first `MAX_TOLD` are told, and how many more there are.
    """
    answer: JsonObject = {}
    for name in sorted(conversation.reporting.fields):
        told = PARTS[name](conversation, started, finished)
        if told is not None:
            answer[name] = told
    if _all_ignored(conversation, started):
        answer["ignored"] = _ignored(conversation, started, finished)
    return answer or None


def encode_agent_hints(hints: Hints) -> JsonObject:
    """`agent_hints` as they were understood, in the words of the request; what was not said is left out."""
    said = {
        "priority": hints.priority or None,
        "strict_priority": hints.strict_priority,
        "osl": hints.output_tokens,
        "speculative_prefill": hints.speculative_prefill or None,
        "prefix_id": hints.prefix_id,
        "total_requests": hints.total_requests,
        "iat": _milliseconds(hints.interarrival_seconds),
        "session_final": hints.session_final or None,
        "tool_wait_ms": _milliseconds(hints.tool_wait_seconds),
    }
    return {name: value for name, value in said.items() if value is not None}


def encode_directive(directive: RetentionDirective) -> JsonObject:
    return {
        "token_start": directive.token_start,
        "token_end": directive.token_end,
        "priority": directive.priority,
        "duration_ms": _milliseconds(directive.duration_seconds),
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _worker_id(_: Conversation, started: Started | None, __: Finished | None) -> JsonObject | None:
    """Dynamo's shape: one worker reads the prompt and writes the answer."""
    return None if started is None else {"prefill_worker_id": started.worker, "decode_worker_id": started.worker}


def _timing(_: Conversation, started: Started | None, finished: Finished | None) -> JsonObject | None:
    if finished is None or finished.timing is None:
        return None
    return {
        "ttft_ms": _milliseconds(finished.timing.first_token_seconds),
        "total_ms": _milliseconds(finished.timing.total_seconds),
        "kv_hit_rate": _hit_rate(_, started, finished),
    }


def _cache(_: Conversation, started: Started | None, finished: Finished | None) -> JsonObject | None:
    read = _prompt_tokens(started, finished)
    if read is None:
        return None
    by_tier = read.below.by_name(read.cached_tokens)
    return {"tokens_by_tier": by_tier, "recomputed_tokens": read.prompt_tokens - read.cached_tokens}


def _hit_rate(_: Conversation, started: Started | None, finished: Finished | None) -> float | None:
    read = _prompt_tokens(started, finished)
    return None if read is None or not read.prompt_tokens else round(read.cached_tokens / read.prompt_tokens, 4)


def _prompt_tokens(started: Started | None, finished: Finished | None) -> Started | Usage | None:
    """Who tells what was read of the prompt."""
    return finished.usage if finished is not None else started


def _retention(conversation: Conversation, started: Started | None, _: Finished | None) -> JsonObject:
    marked = () if started is None else started.marked
    return {
        "marks": [{"tokens": mark.tokens, "ttl_seconds": mark.ttl_seconds} for mark in marked],
        "directives": [encode_directive(directive) for directive in conversation.hints.retention],
    }


def _agent_hints(conversation: Conversation, _: Started | None, __: Finished | None) -> JsonObject:
    """With the session that the request was found to belong to, whoever told it."""
    identity = conversation.identity
    sessions = {"session_id": identity.session_id, "parent_session_id": identity.parent_session_id}
    known = {name: value for name, value in sessions.items() if value is not None}
    return encode_agent_hints(conversation.hints) | known


def _all_ignored(conversation: Conversation, started: Started | None) -> tuple[Ignored, ...]:
    return conversation.reporting.ignored + (() if started is None else started.ignored)


def _ignored(conversation: Conversation, started: Started | None, _: Finished | None) -> list[JsonObject]:
    ignored = _all_ignored(conversation, started)
    told = [{"field": _short(entry.field), "reason": _short(entry.reason)} for entry in ignored[:MAX_TOLD]]
    if len(ignored) > MAX_TOLD:
        told.append({"field": "", "reason": f"{len(ignored) - MAX_TOLD} more"})
    return told


def _short(text: str) -> str:
    return text if len(text) <= MAX_TOLD_CHARACTERS else f"{text[:MAX_TOLD_CHARACTERS]}…"


Part = Callable[[Conversation, Started | None, Finished | None], Any]

PARTS: Final[dict[str, Part]] = {
    "worker_id": _worker_id,
    "timing": _timing,
    "cache": _cache,
    "hit_rate": _hit_rate,
    "retention": _retention,
    "agent_hints": _agent_hints,
    "ignored": _ignored,
}
