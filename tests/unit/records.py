"""A record of a request to be changed by tests."""

from __future__ import annotations

from typing import Any

from appliance.cache.ledger import Blame, Divergence, Reason, Source, TokenRange
from appliance.records import Outcome, RequestRecord


def read(start: int, end: int, source: Source = Source.GPU) -> TokenRange:
    return TokenRange(start, end, source)


def computed(start: int, end: int, reason: Reason, **fields: Any) -> TokenRange:
    return TokenRange(start, end, Source.RECOMPUTED, reason, **fields)


def record(*ranges: TokenRange, **fields: Any) -> RequestRecord:
    """Asked by session s at 100 s of worker 0."""
    found: dict[str, Any] = {
        "id": "r1",
        "session": "s",
        "parent": None,
        "turn": 2,
        "client": "claude-cli/2",
        "model": "m",
        "worker": 0,
        "arrived_at": 100.0,
        "first_token_seconds": 0.5,
        "total_seconds": 1.0,
        "queued_seconds": 0.0,
        "prompt_tokens": ranges[-1].end if ranges else 10,
        "cached_tokens": sum(one.tokens for one in ranges if one.source is not Source.RECOMPUTED),
        "completion_tokens": 3,
        "outcome": Outcome.FINISHED,
        "finish": "stop",
        "ranges": ranges,
    }
    return RequestRecord(**(found | fields))


def blame(session: str | None = "sub", request: str | None = "r9") -> Blame:
    return Blame(session, request, "p:1", 35, 58.0, 61.0)


def changed(before: str | None = "a b c", now: str | None = "a x c", **fields: Any) -> Divergence:
    found: dict[str, Any] = {"token": 1200, "place": "system", "before": before, "now": now, "against": "r0"}
    return Divergence(**(found | fields))
