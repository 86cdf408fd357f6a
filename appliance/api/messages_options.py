"""Messages API, request side: everything beside messages and tools."""

from __future__ import annotations

from typing import Final

from appliance.api.extension import Extension
from appliance.api.fields import Fields
from appliance.api.messages_reading import Reading
from appliance.conversation import OutputFormat, OutputKind, Reasoning, Sampling
from appliance.errors import InvalidRequest

MAX_STOPS: Final = 64
MIN_BUDGET_TOKENS: Final = 1024
THINKING_TYPES: Final = ("enabled", "adaptive", "between_tools", "disabled")
DISPLAYS: Final = ("summarized", "omitted", "updates")
EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
SERVICE_TIERS: Final = ("auto", "standard_only")

READ: Final = frozenset(
    {
        "cache_control",
        "chat_template_kwargs",
        "context_management",
        "diagnostics",
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "nvext",
        "output_config",
        "output_format",
        "priority",
        "service_tier",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    }
)
NOT_SERVED: Final = {
    "container": "no code runs in containers here",
    "mcp_servers": "this box connects to no MCP servers",
    "inference_geo": "this box is where it is",
    "speed": "there is one speed",
    "fallbacks": "there is no other model to fall back to",
}
REFUSED: Final = {
    "compaction": "this box does not summarise conversations; leave it out",
    "thread": "this box holds no threads; send the whole conversation",
}


def decode_sampling(body: Fields, *, counts_only: bool) -> Sampling:
    """`max_tokens` is required unless the tokens are only to be counted; see `is_prewarming` for 0."""
    max_tokens = body.integer("max_tokens", 0)
    if max_tokens is None and not counts_only:
        raise body.refuse("max_tokens", "an integer ≥ 1")
    return Sampling(
        max_tokens=max_tokens if max_tokens is None else max(1, max_tokens),
        temperature=body.number("temperature", 0, 1),
        top_p=body.number("top_p", 0, 1, above_low=True),
        top_k=body.integer("top_k", 0),
        stop=_decode_stops(body),
    )


def is_prewarming(body: Fields) -> bool:
    """With `max_tokens` 0 the prompt is read into the cache and nothing is answered."""
    return body.integer("max_tokens", 0) == 0


def decode_reasoning(body: Fields, extension: Extension) -> Reasoning:
    thinking = body.object("thinking")
    config = body.object("output_config")
    return Reasoning(
        enabled=None if thinking is None else _decode_thinking_type(thinking) != "disabled",
        effort=None if config is None else config.choice("effort", EFFORTS),
        budget_tokens=_decode_budget(body, thinking, extension),
    )


def hides_thinking(body: Fields) -> bool:
    """The client wants to have thoughts closed: it keeps them, and nobody reads them."""
    thinking = body.object("thinking")
    return thinking is not None and thinking.choice("display", DISPLAYS) == "omitted"


def decode_output_format(body: Fields) -> OutputFormat:
    """`output_config.format`, or `output_format` as it was called earlier."""
    config = body.object("output_config")
    fields = None if config is None else config.object("format")
    fields = body.object("output_format") if fields is None else fields
    if fields is None:
        return OutputFormat()
    if fields.raw("type") != "json_schema":
        raise fields.refuse("type", '"json_schema"')
    return OutputFormat(OutputKind.JSON_SCHEMA, schema=fields.required_object("schema").values())


def tell_unread(body: Fields, reading: Reading) -> None:
    """What nothing here acts upon. Raises `InvalidRequest` for what an answer would be wrong without."""
    body.choice("service_tier", SERVICE_TIERS)
    for name, value in body.values().items():
        if name in READ or value is None:
            continue
        if name in REFUSED:
            raise InvalidRequest(f"{name}: {REFUSED[name]}", param=name, code="unsupported_parameter")
        reading.leave_out(name, NOT_SERVED.get(name, "nothing here acts upon it"))


def _decode_stops(body: Fields) -> tuple[str, ...]:
    stops = body.array("stop_sequences") or []
    if len(stops) > MAX_STOPS or not all(isinstance(stop, str) and stop for stop in stops):
        raise body.refuse("stop_sequences", f"an array of at most {MAX_STOPS} strings, none empty")
    return tuple(stops)


def _decode_thinking_type(thinking: Fields) -> str:
    kind = thinking.choice("type", THINKING_TYPES)
    if kind is None:
        raise thinking.refuse("type", f"one of {', '.join(THINKING_TYPES)}")
    return kind


def _decode_budget(body: Fields, thinking: Fields | None, extension: Extension) -> int | None:
    if thinking is None or thinking.raw("type") != "enabled":
        return extension.thinking_tokens
    budget = thinking.integer("budget_tokens", MIN_BUDGET_TOKENS)
    if budget is None:
        raise thinking.refuse("budget_tokens", f"an integer ≥ {MIN_BUDGET_TOKENS}")
    max_tokens = body.integer("max_tokens", 0)
    if max_tokens is not None and budget >= max_tokens:
        raise thinking.refuse("budget_tokens", f"less than max_tokens, {max_tokens}")
    return budget
