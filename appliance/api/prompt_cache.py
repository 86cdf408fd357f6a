"""How a client of OpenAI's protocols asks to keep a prompt: `prompt_cache_retention`, `prompt_cache_options` and
`prompt_cache_breakpoint`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from appliance.api.fields import Fields
from appliance.api.ttl import TTL_RANGE, ttl_seconds
from appliance.conversation import CacheMark

# OpenAI keeps what is held in memory for five to ten minutes after its last use.
RETENTION_SECONDS: Final = {"in_memory": 600.0, "in-memory": 600.0, "24h": 86400.0}
MODES: Final = ("implicit", "explicit")
DEFAULT_BREAKPOINT_SECONDS: Final = 1800.0


@dataclass(frozen=True, slots=True)
class PromptCache:
    """`mark` is for the last block of the request; a breakpoint that names no ttl lives for `breakpoint_seconds`."""

    mark: CacheMark | None = None
    breakpoint_seconds: float = DEFAULT_BREAKPOINT_SECONDS


def decode_prompt_cache(body: Fields) -> PromptCache:
    """Of a retention and a ttl the longer counts. In mode `explicit` the ttl is for breakpoints only.

    Raises `InvalidRequest`.
    """
    retention = body.choice("prompt_cache_retention", RETENTION_SECONDS)
    options = body.object("prompt_cache_options") or Fields({})
    is_implicit = options.choice("mode", MODES) != "explicit"
    ttl = _ttl(options)
    wanted = [seconds for seconds in (RETENTION_SECONDS.get(retention or ""), ttl if is_implicit else None) if seconds]
    return PromptCache(CacheMark(max(wanted)) if wanted else None, ttl or DEFAULT_BREAKPOINT_SECONDS)


def decode_breakpoint(part: Fields, default_seconds: float) -> CacheMark | None:
    """The `prompt_cache_breakpoint` of a part. Raises `InvalidRequest`."""
    found = part.object("prompt_cache_breakpoint")
    if found is None:
        return None
    if found.raw("mode") != "explicit":
        raise found.refuse("mode", '"explicit"')
    return CacheMark(_ttl(found) or default_seconds)


def _ttl(fields: Fields) -> float | None:
    text = fields.string("ttl")
    seconds = None if text is None else ttl_seconds(text)
    if text is not None and seconds is None:
        raise fields.refuse("ttl", TTL_RANGE)
    return seconds
