"""`nvext` and the `x-dynamo-…` headers: what an agent says beside its request, the same in every protocol."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from appliance.api.fields import Fields
from appliance.api.identity import MAX_ID_CHARACTERS, NOT_TOLD, SessionIds
from appliance.api.lenient import Lenient
from appliance.api.ttl import TTL_RANGE, ttl_seconds
from appliance.conversation import (
    CacheMark,
    Hints,
    Ignored,
    Message,
    Reporting,
    RetentionDirective,
    Text,
    Thinking,
)

REPORTABLE: Final = ("worker_id", "timing", "cache", "hit_rate", "retention", "agent_hints", "ignored")
MAX_DIRECTIVES: Final = 64
DEFAULT_RETENTION_PRIORITY: Final = 35
INT32_MAX: Final = 2**31 - 1
UINT32_MAX: Final = 2**32 - 1

PRIORITY_HEADER: Final = "x-dynamo-request-priority"
STRICT_PRIORITY_HEADER: Final = "x-dynamo-request-strict-priority"
WORKER_HEADER: Final = "x-dynamo-worker-instance-id"
FINAL_HEADER: Final = "x-dynamo-session-final"
TYPED_HEADERS: Final = (PRIORITY_HEADER, STRICT_PRIORITY_HEADER, WORKER_HEADER, FINAL_HEADER)
WORKER_FIELDS: Final = ("backend_instance_id", "decode_worker_id", "prefill_worker_id")
"""Here one worker reads the prompt and writes the answer: whoever names one of the two means it."""
TENANT_HEADER: Final = "x-tenant-id"

Value = TypeVar("Value")

_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")
_FLAGS: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Extension:
    """`mark` is for the last block of the request that can be marked (`with_mark`), `session` is what `identify` takes
    as `stated`, `thinking_tokens` is the most that the model may think."""

    hints: Hints = field(default_factory=Hints)
    reporting: Reporting = field(default_factory=Reporting)
    mark: CacheMark | None = None
    cache_salt: str | None = None
    session: SessionIds = NOT_TOLD
    thinking_tokens: int | None = None


def decode_extension(body: Fields, headers: Mapping[str, str]) -> Extension:
    """Never raises: what is wrong or not known is left out, and told in `reporting.ignored`.

    A header wins over the same thing in `nvext`, as in Dynamo: a gateway in front of the box has the last word. Of
    priorities, `agent_hints.priority` wins over its old name `latency_sensitivity` (rounded up), and both over the
    body's own `priority`, which is vLLM's and counts the other way round. Header names are in lower case.
    """
    ignored: list[Ignored] = []
    outer = Lenient(body, ignored)
    said = Lenient(Fields(_typed_headers(headers)), ignored)
    nvext = outer.part("nvext")
    agent = nvext.part("agent_hints")
    extension = Extension(
        hints=_decode_hints(outer, said, nvext, agent),
        mark=_decode_mark(nvext),
        cache_salt=headers.get(TENANT_HEADER, "").strip() or nvext.string("cache_salt", MAX_ID_CHARACTERS),
        session=SessionIds(_either(agent, nvext, "session_id"), _either(agent, nvext, "parent_session_id")),
        thinking_tokens=nvext.integer("max_thinking_tokens", 0, INT32_MAX),
    )
    fields = nvext.names("extra_fields", REPORTABLE)
    agent.tell_rest()
    nvext.tell_rest()
    return replace(extension, reporting=Reporting(fields=fields, ignored=tuple(ignored)))


def with_mark(messages: tuple[Message, ...], mark: CacheMark | None) -> tuple[Message, ...]:
    """Marks the last block that can be marked: not a thought, and not an empty text. Of two marks on one block the
    longer stays. No-op for `None`, and where nothing can be marked."""
    if mark is None:
        return messages
    for position in range(len(messages) - 1, -1, -1):
        blocks = messages[position].blocks
        for index in range(len(blocks) - 1, -1, -1):
            block = blocks[index]
            if isinstance(block, Thinking) or (isinstance(block, Text) and not block.text):
                continue
            longer = mark if block.mark is None else max(mark, block.mark, key=lambda each: each.ttl_seconds)
            marked = (*blocks[:index], replace(block, mark=longer), *blocks[index + 1 :])
            return (*messages[:position], replace(messages[position], blocks=marked), *messages[position + 1 :])
    return messages


def joined(*reportings: Reporting) -> Reporting:
    """Everything that any of them asks for or ignored; of several `compare_with` the first."""
    return Reporting(
        fields=frozenset().union(*(reporting.fields for reporting in reportings)),
        diagnose=any(reporting.diagnose for reporting in reportings),
        compare_with=next((reporting.compare_with for reporting in reportings if reporting.compare_with), None),
        ignored=tuple(entry for reporting in reportings for entry in reporting.ignored),
    )


def decode_anthropic_diagnostics(body: Fields) -> Reporting:
    """`diagnostics: {previous_message_id}`, null on the first turn. Raises `InvalidRequest`."""
    asked = body.object("diagnostics")
    if asked is None:
        return Reporting()
    return Reporting(diagnose=True, compare_with=asked.short_string("previous_message_id", MAX_ID_CHARACTERS))


def decode_openai_diagnostics(body: Fields) -> Reporting:
    """`prompt_cache_options: {comparison_response_id}`; without it nothing is asked. Raises `InvalidRequest`."""
    options = body.object("prompt_cache_options")
    compared = options.short_string("comparison_response_id", MAX_ID_CHARACTERS) if options is not None else None
    return Reporting(diagnose=compared is not None, compare_with=compared)


def _decode_hints(outer: Lenient, said: Lenient, nvext: Lenient, agent: Lenient) -> Hints:
    is_final = _first(said.flag(FINAL_HEADER), agent.flag("session_final"), nvext.flag("session_final"))
    return Hints(
        priority=_decode_priority(outer, said, agent),
        strict_priority=_first(
            said.integer(STRICT_PRIORITY_HEADER, 0, UINT32_MAX), agent.integer("strict_priority", 0, UINT32_MAX)
        ),
        output_tokens=_first(agent.integer("osl", 0, UINT32_MAX), agent.integer("output_tokens", 0, UINT32_MAX)),
        speculative_prefill=agent.flag("speculative_prefill") or False,
        prefix_id=agent.string("prefix_id", MAX_ID_CHARACTERS),
        total_requests=agent.integer("total_requests", 0, UINT32_MAX),
        interarrival_seconds=_seconds(agent.number("iat", 0, INT32_MAX)),
        session_final=is_final or False,
        worker=_first(said.integer(WORKER_HEADER, 0), *(nvext.integer(name, 0) for name in WORKER_FIELDS)),
        retention=_decode_retention(nvext),
        tool_wait_seconds=_seconds(agent.number("tool_wait_ms", 0, INT32_MAX)),
    )


def _decode_priority(outer: Lenient, said: Lenient, agent: Lenient) -> int:
    sensitivity = agent.number("latency_sensitivity", -INT32_MAX, INT32_MAX)
    plain = outer.integer("priority", -INT32_MAX, INT32_MAX)
    stated = _first(
        said.integer(PRIORITY_HEADER, -INT32_MAX, INT32_MAX),
        agent.integer("priority", -INT32_MAX, INT32_MAX),
        None if sensitivity is None else math.ceil(sensitivity),
        None if plain is None else -plain,
    )
    return stated or 0


def _decode_retention(nvext: Lenient) -> tuple[RetentionDirective, ...]:
    directives = (_decode_directive(fields) for fields in nvext.objects("retention", MAX_DIRECTIVES))
    return tuple(directive for directive in directives if directive is not None)


def _decode_directive(fields: Lenient) -> RetentionDirective | None:
    """TensorRT-LLM's names. A directive without a place in the prompt, or with a wrong value, is left out whole."""
    num_told = fields.num_told
    start = fields.integer("token_start", 0, INT32_MAX)
    end = fields.integer("token_end", 0, INT32_MAX)
    priority = fields.integer("priority", 0, 100)
    duration_ms = fields.number("duration_ms", 0, INT32_MAX)
    if start is None or (end is not None and end <= start):
        fields.refuse("token_start", "a token position below token_end")
    is_right = fields.num_told == num_told
    fields.tell_rest()
    if start is None or not is_right:
        return None
    return RetentionDirective(
        start,
        end,
        priority=DEFAULT_RETENTION_PRIORITY if priority is None else priority,
        duration_seconds=_seconds(duration_ms),
    )


def _decode_mark(nvext: Lenient) -> CacheMark | None:
    """`{"type": "ephemeral", "ttl": "90s" | "5m" | "1h"}`, five minutes when `ttl` is absent."""
    control = nvext.object("cache_control")
    if control is None:
        return None
    kind = control.string("type", MAX_ID_CHARACTERS)
    seconds = ttl_seconds(control.string("ttl", MAX_ID_CHARACTERS) or "5m")
    control.tell_rest()
    if kind not in (None, "ephemeral"):
        control.refuse("type", '"ephemeral"')
    elif seconds is None:
        control.refuse("ttl", TTL_RANGE)
    else:
        return CacheMark(seconds)
    return None


def _typed_headers(headers: Mapping[str, str]) -> dict[str, Any]:
    """The headers that carry numbers and flags, as JSON would; what does not read as one stays a string."""
    return {name: _typed(headers[name].strip()) for name in TYPED_HEADERS if name in headers}


def _typed(text: str) -> Any:
    if _INTEGER.fullmatch(text):
        return int(text)
    return _FLAGS.get(text.lower(), text or None)


def _either(agent: Lenient, nvext: Lenient, name: str) -> str | None:
    return _first(agent.string(name, MAX_ID_CHARACTERS), nvext.string(name, MAX_ID_CHARACTERS))


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _first(*values: Value | None) -> Value | None:
    return next((value for value in values if value is not None), None)
