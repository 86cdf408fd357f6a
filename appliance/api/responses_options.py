"""Responses, request side: everything beside input and tools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from appliance.api.chat_options import INFINITY, MAX_TOP_LOGPROBS
from appliance.api.fields import INT64_MAX, Fields, refusal
from appliance.api.identity import MAX_ID_CHARACTERS
from appliance.api.responses_reading import Reading
from appliance.conversation import OutputFormat, OutputKind, Sampling
from appliance.errors import InvalidRequest

MAX_METADATA: Final = 16
MAX_METADATA_KEY: Final = 64
MAX_METADATA_VALUE: Final = 512
OUTPUT_KINDS: Final = tuple(str(kind) for kind in OutputKind)
SUMMARIES: Final = ("auto", "concise", "detailed")
VERBOSITIES: Final = ("low", "medium", "high")
TRUNCATIONS: Final = ("auto", "disabled")
ENCRYPTED_REASONING: Final = "reasoning.encrypted_content"
LOGPROBS: Final = "message.output_text.logprobs"

# Known, and without effect here. The others of a hosted service's fields are told when they come up.
IDLE_FIELDS: Final[Mapping[str, str]] = {
    "access_programs": "there are none here",
    "background_options": "a background response starts as soon as there is room",
    "context_management": "nothing is compacted unless /v1/responses/compact is called",
    "image": "pictures are not compressed here",
    "max_tool_calls": "it limits tools that a hosted service runs, and none are run here",
    "moderation": "nothing is moderated here",
}
READ_FIELDS: Final = frozenset(
    {
        "background",
        "cache_salt",
        "chat_template_kwargs",
        "conversation",
        "enable_thinking",
        "frequency_penalty",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "metadata",
        "min_p",
        "model",
        "nvext",
        "parallel_tool_calls",
        "presence_penalty",
        "previous_response_id",
        "priority",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "reasoning_effort",
        "repetition_penalty",
        "safety_identifier",
        "seed",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "thinking",
        "thinking_token_budget",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    }
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """How the answer is to come.

    `seals` asks for thoughts in a closed form that can be sent back, `summarises` for thoughts as a summary.
    `truncates` allows to leave the oldest messages out of a prompt that is too long. `prewarms` wants no answer at all,
    only its prompt in the cache.
    """

    streams: bool = False
    stores: bool = True
    background: bool = False
    seals: bool = False
    summarises: bool = False
    truncates: bool = False
    prewarms: bool = False


def decode_delivery(body: Fields, reading: Reading) -> Delivery:
    streams = body.flag("stream") or False
    _check_stream_options(body, reading, streams=streams)
    background = body.flag("background") or False
    stores = body.flag("store") is not False
    if background and not stores:
        raise body.refuse("background", 'it only together with "store": true')
    reasoning = body.object("reasoning") or Fields({})
    summary = reasoning.choice("summary", SUMMARIES) or reasoning.choice("generate_summary", SUMMARIES)
    return Delivery(
        streams,
        stores,
        background,
        seals=ENCRYPTED_REASONING in decode_includes(body),
        summarises=summary is not None,
        truncates=body.choice("truncation", TRUNCATIONS) == "auto",
        prewarms=(body.object("prompt_cache_options") or Fields({})).flag("prewarm") or False,
    )


def decode_includes(body: Fields) -> frozenset[str]:
    """What is asked for beyond this box's tools is simply never there."""
    includes = body.array("include") or []
    if not all(isinstance(name, str) for name in includes):
        raise body.refuse("include", "an array of strings")
    return frozenset(includes)


def decode_sampling(body: Fields) -> Sampling:
    limit = body.integer("max_output_tokens", 1)
    return Sampling(
        max_tokens=limit,
        temperature=body.number("temperature", 0, 2),
        top_p=body.number("top_p", 0, 1, above_low=True),
        top_k=body.integer("top_k", -1),
        min_p=body.number("min_p", 0, 1),
        frequency_penalty=body.number("frequency_penalty", -2, 2),
        presence_penalty=body.number("presence_penalty", -2, 2),
        repetition_penalty=body.number("repetition_penalty", 0, INFINITY, above_low=True),
        seed=body.integer("seed", -INT64_MAX - 1),
        logprobs=_decode_logprobs(body),
    )


def decode_output_format(body: Fields, reading: Reading) -> OutputFormat:
    text = body.object("text")
    if text is None:
        return OutputFormat()
    if text.choice("verbosity", VERBOSITIES) is not None:
        reading.leave_out(text.path("verbosity"), "a model here has no such control")
    fields = text.object("format")
    if fields is None:
        return OutputFormat()
    kind = fields.choice("type", OUTPUT_KINDS)
    if kind is None:
        raise fields.refuse("type", f"one of {', '.join(OUTPUT_KINDS)}")
    if kind != OutputKind.JSON_SCHEMA:
        return OutputFormat(OutputKind(kind))
    return OutputFormat(
        OutputKind.JSON_SCHEMA,
        schema=fields.required_object("schema").values(),
        name=fields.required_string("name"),
        strict=fields.flag("strict"),
    )


def decode_metadata(body: Fields) -> Mapping[str, str]:
    metadata = body.mapping("metadata") or {}
    if len(metadata) > MAX_METADATA:
        raise body.refuse("metadata", f"at most {MAX_METADATA} keys")
    for key, value in metadata.items():
        if len(key) > MAX_METADATA_KEY:
            raise refusal("metadata", key, f"keys of at most {MAX_METADATA_KEY} characters")
        if not isinstance(value, str) or len(value) > MAX_METADATA_VALUE:
            raise refusal(f"metadata.{key}", value, f"a string of at most {MAX_METADATA_VALUE} characters")
    return metadata


def decode_user(body: Fields) -> str | None:
    return body.short_string("safety_identifier", MAX_ID_CHARACTERS) or body.short_string("user", MAX_ID_CHARACTERS)


def tell_idle_fields(body: Fields, reading: Reading) -> None:
    """Add what has no effect here to what was ignored. Raises for what a request cannot do without."""
    if body.raw("prompt") is not None:
        message = "prompt: this box keeps no prompt templates; send the prompt itself in instructions and input"
        raise InvalidRequest(message, param="prompt", code="unsupported_parameter")
    for name in body.values():
        if body.raw(name) is not None and name not in READ_FIELDS:
            reading.leave_out(name, IDLE_FIELDS.get(name, "nothing here acts upon it"))


def _check_stream_options(body: Fields, reading: Reading, *, streams: bool) -> None:
    options = body.object("stream_options")
    if options is None:
        return
    if not streams:
        raise body.refuse("stream_options", 'it only together with "stream": true')
    if options.flag("include_obfuscation"):
        reading.leave_out("stream_options.include_obfuscation", "events are not padded")


def _decode_logprobs(body: Fields) -> int | None:
    alternatives = body.integer("top_logprobs", 0, MAX_TOP_LOGPROBS)
    if LOGPROBS in decode_includes(body):
        return alternatives or 0
    return alternatives or None


def decode_model(body: Fields, default: str | None) -> str:
    """`default` stands in for a model that is not named; with none, it must be."""
    if default is not None and body.raw("model") is None:
        return default
    return body.required_string("model")
