"""What requests of several protocols have in common, as the OpenAPI document describes it.

These types describe requests, they read none: decoding takes every field by itself, and tells what is wrong with it. A
field that may be left out may also be null, and fields that are not named here are no errors. Whole requests are
dataclasses, since structs cannot have two bases.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from appliance.api.chat_options import MAX_CHOICES, MAX_STOPS
from appliance.api.extension import DEFAULT_RETENTION_PRIORITY
from appliance.api.identity import MAX_ID_CHARACTERS

JsonObject = dict[str, Any]
Name = Annotated[str, Meta(min_length=1)]
ShortText = Annotated[str, Meta(max_length=MAX_ID_CHARACTERS)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
ImageUrl = Annotated[str, Meta(pattern="^(data:image/|https?://)", description="A data: URL or one to fetch")]
Ttl = Annotated[str, Meta(pattern="^[1-9][0-9]{0,2}s$|^[1-9][0-9]{0,2}m$|^[1-9]h$", description="Such as 90s, 5m, 1h")]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Reportable = Literal["worker_id", "timing", "cache", "hit_rate", "retention", "agent_hints", "ignored"]


class CacheControl(Struct):
    """Keep the prompt up to and including what carries this."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class Breakpoint(Struct):
    """OpenAI's word for `cache_control`."""

    mode: Literal["explicit"]
    ttl: Ttl | None = None


class Markable(Struct, kw_only=True):
    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: Breakpoint | None = None


class PromptCacheOptions(Struct):
    """`comparison_response_id` asks why the prompt of an earlier answer could not be read from cache."""

    mode: Literal["implicit", "explicit"] | None = None
    ttl: Ttl | None = None
    comparison_response_id: ShortText | None = None


class AgentHints(Struct):
    """`osl`, or `output_tokens`, is the expected length of the answer in tokens, `iat` the milliseconds between
    an answer and the next request, `prefix_id` what keeps requests without a session on one worker, `total_requests` is
    for rules of policies only. `tool_wait_ms`: how long a tool that the answer may call takes; ours, not in Dynamo."""

    priority: int | None = None
    strict_priority: Count | None = None
    osl: Count | None = None
    output_tokens: Count | None = None
    speculative_prefill: bool | None = None
    prefix_id: ShortText | None = None
    total_requests: Count | None = None
    iat: Annotated[float, Meta(ge=0)] | None = None
    session_id: ShortText | None = None
    parent_session_id: ShortText | None = None
    session_final: bool | None = None
    tool_wait_ms: Annotated[float, Meta(ge=0)] | None = None


class Directive(Struct):
    """How long to keep the prompt's tokens `token_start` up to, not including, `token_end`."""

    token_start: Count
    token_end: Count | None = None
    priority: Annotated[int, Meta(ge=0, le=100)] = DEFAULT_RETENTION_PRIORITY
    duration_ms: Annotated[float, Meta(ge=0)] | None = None


class Nvext(Struct):
    """What an agent says beside its request. Nothing in it is ever an error: `ignored` of the answer's `nvext` tells
    what was not acted upon. `extra_fields` names the parts that the answer is to have."""

    extra_fields: list[Reportable] | None = None
    agent_hints: AgentHints | None = None
    retention: list[Directive] | None = None
    cache_control: CacheControl | None = None
    cache_salt: ShortText | None = None
    backend_instance_id: Count | None = None
    decode_worker_id: Count | None = None
    prefill_worker_id: Count | None = None
    max_thinking_tokens: Count | None = None


@dataclass(kw_only=True)
class Drawing:
    """How tokens are drawn, in every protocol of OpenAI's. Left out: the model's own default."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0)] | None = None
    seed: Seed | None = None


@dataclass(kw_only=True)
class Stopping(Drawing):
    """What else chat completions and completions take."""

    max_tokens: Positive | None = None
    max_completion_tokens: Positive | None = None
    min_tokens: Count | None = None
    stop: Name | Annotated[list[Name], Meta(max_length=MAX_STOPS)] | None = None
    stop_token_ids: list[Count] | None = None
    ignore_eos: bool | None = None
    logit_bias: dict[Annotated[str, Meta(pattern="^[0-9]+$")], Annotated[float, Meta(ge=-100, le=100)]] | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None


class StreamOptions(Struct):
    """Only together with `stream`. `continuous_usage_stats`, beside `include_usage`, is for counts in every chunk."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class TextFormat(Struct, tag="text"):
    pass


class JsonObjectFormat(Struct, tag="json_object"):
    pass


class NamedSchema(Struct):
    schema: JsonObject
    name: str | None = None
    strict: bool | None = None


class JsonSchemaFormat(Struct, tag="json_schema"):
    json_schema: NamedSchema


@dataclass(kw_only=True)
class Asking:
    """What every generating request of OpenAI's protocols may say beside its content."""

    stream: bool | None = None
    prompt_cache_key: ShortText | None = None
    user: ShortText | None = None
    cache_salt: str | None = None
    nvext: Nvext | None = None


@dataclass(kw_only=True)
class Caching:
    cache_control: CacheControl | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    prompt_cache_options: PromptCacheOptions | None = None
    chat_template_kwargs: JsonObject | None = None
    parallel_tool_calls: bool | None = None
