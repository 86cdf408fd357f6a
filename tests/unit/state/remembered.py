"""Records as a box makes them, for tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from appliance.cache.ledger import Blame, Divergence, Reason, Source, TokenRange
from appliance.records import (
    AccessRecord,
    ActionRecord,
    DecisionRecord,
    EvictionRecord,
    Outcome,
    PolicyRecord,
    RequestRecord,
    SessionRecord,
    SnapshotRecord,
    ViewRecord,
)

RANGES = (
    TokenRange(0, 64, Source.GPU),
    TokenRange(64, 96, Source.RECOMPUTED, Reason.EVICTED, Blame("s2", "r2", "coding-agent:3", 35, 90.0, 4.5)),
    TokenRange(
        96, 100, Source.RECOMPUTED, Reason.DIVERGED, divergence=Divergence(96, "system", "old", "new", "r0", "dates")
    ),
)


def request(id: str = "r1", session: str | None = "s1", arrived_at: float = 100.0, **changed: Any) -> RequestRecord:  # noqa: A002 – the field's name
    return RequestRecord(
        **{
            "id": id,
            "session": session,
            "parent": None,
            "turn": 1,
            "client": "claude-code",
            "model": "demo",
            "worker": 0,
            "arrived_at": arrived_at,
            "first_token_seconds": 0.25,
            "total_seconds": 1.5,
            "queued_seconds": 0.0,
            "prompt_tokens": 100,
            "cached_tokens": 64,
            "completion_tokens": 7,
            "outcome": Outcome.FINISHED,
            "finish": "stop",
            "ranges": RANGES,
            "hints": {"priority": 3},
        }
        | changed
    )


def session(name: str = "s1", last_used_at: float = 101.5, **changed: Any) -> SessionRecord:
    return SessionRecord(
        **{
            "name": name,
            "parent": None,
            "client": "claude-code",
            "model": "demo",
            "state": "idle",
            "turns": 1,
            "first_seen_at": 100.0,
            "last_used_at": last_used_at,
            "prompt_tokens": 100,
            "plan": {"regions": [["system", 64]]},
        }
        | changed
    )


def eviction(number: int = 0, at: float = 100.0, owner: str | None = "s1") -> EvictionRecord:
    return EvictionRecord(
        50.0, number, at, 0, "ab12", 64, "system", owner, "s2", "r2", "coding-agent:3", 35, 4.5, awaited=False
    )


def decision(number: int = 1, at: float = 100.0, body: bytes = b"weighed") -> DecisionRecord:
    return DecisionRecord(50.0, number, at, "r1", body)


def action(at: float = 100.0) -> ActionRecord:
    return ActionRecord(at, "operator", "pin", "s1", {"ttl_seconds": 60, "before": None}, "12 blocks")


def policy(name: str = "coding-agent", activated_at: float = 100.0, text: str | None = None) -> PolicyRecord:
    return PolicyRecord(activated_at, name, text or f"# {name}\n[[rule]]\npriority = {len(name)}\n", "settings")


def snapshot(at: float = 100.0, **status: Any) -> SnapshotRecord:
    return SnapshotRecord(at, {"phase": "running", "workers": [{"id": 0, "kv_usage": 0.5}], **status})


def view(at: float = 100.0, name: str = "sessions", parts: tuple[bytes, ...] = (b"head", b"row")) -> ViewRecord:
    return ViewRecord(at, name, parts)


def access(name: str = "s1", arrived_at: float = 100.0, **changed: Any) -> AccessRecord:
    """Of two blocks, and whole."""
    fields: dict[str, Any] = {
        "model": "demo",
        "block_tokens": 16,
        "session": name,
        "worker": 0,
        "read_tokens": 16,
        "arrived_at": arrived_at,
        "ended_at": arrived_at + 1.5,
        "prompt_tokens": 40,
        "output_tokens": 7,
        "waits_for_tool": True,
        "is_final": False,
        "tool_wait_seconds": None,
        "kept": 0,
        "keys": bytes(range(16)),
        "regions": bytes(2),
    }
    return AccessRecord(**(fields | changed))


_text = st.one_of(st.none(), st.text(max_size=8))
_seconds = st.floats(0, 2**31, allow_nan=False)
_blames = st.builds(Blame, _text, _text, _text, st.integers(0, 100), _seconds, _seconds)
_divergences = st.builds(Divergence, st.integers(0, 2**20), _text, _text, _text)


@st.composite
def ranges(draw: st.DrawFn) -> tuple[TokenRange, ...]:
    """In order, without gaps."""
    lengths = draw(st.lists(st.integers(1, 1000), max_size=5))
    found, start = [], 0
    for length in lengths:
        source = draw(st.sampled_from(Source))
        reason = draw(st.sampled_from(Reason)) if source is Source.RECOMPUTED else None
        blame, divergence = draw(st.none() | _blames), draw(st.none() | _divergences)
        worker = draw(st.none() | st.integers(0, 7))
        found.append(TokenRange(start, start + length, source, reason, blame, divergence, worker))
        start += length
    return tuple(found)


requests = st.builds(
    request,
    id=st.text(min_size=1, max_size=8),
    session=_text,
    parent=_text,
    arrived_at=_seconds,
    ranges=ranges(),
    outcome=st.sampled_from(Outcome),
    hints=st.dictionaries(st.text(max_size=4), st.integers() | _text, max_size=3),
    first_token_seconds=st.none() | _seconds,
    error=_text,
)
