"""What is noted of one request while it runs, and what becomes of it in the book."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, NamedTuple

from appliance.cache.ledger import TokenRange
from appliance.cache.outline import opening_messages
from appliance.cache.region_map import RegionMap
from appliance.cache.seen_blocks import Seen
from appliance.conversation import Conversation, Hints, Identity, RetentionDirective
from appliance.divergence import Layout
from appliance.records import Outcome, RequestRecord
from appliance.router.decision import Decision
from appliance.router.hashing import Hashes

_NO_HINTS: Final = Hints()


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """The decision by which it went to the engine that read its prompt, and what was known then. `at` is in seconds
    since 1970."""

    decision: Decision
    seen: Seen
    at: float


@dataclass(slots=True, eq=False)
class Entry:
    """`name` is the answer's id, `arrived_at` in seconds since 1970. Of what happens later the fields are set when it
    has happened."""

    number: int
    name: str
    identity: Identity
    model: str
    hints: Hints
    layout: Layout
    tool_names: tuple[str, ...]
    prompt_tokens: int
    arrived_at: float
    turn: int | None = None
    remembered_tokens: int = 0
    """Of its session's last prompt, when that was before this box was started: `remembered_at`."""
    remembered_at: float | None = None
    queued_seconds: float = 0.0
    was_set_aside: bool = False
    """Before its first token."""
    sent: Sent | None = field(default=None, repr=False)
    read: Sequence[TokenRange] = ()
    read_at: float | None = None
    first_token_seconds: float | None = None
    answer: Sequence[int] = field(default=(), repr=False)
    """Its tokens but the last, which no engine has computed."""
    hashes: Hashes | None = field(default=None, repr=False)
    """Of the full blocks of prompt and answer, once it has ended."""

    @property
    def cached_tokens(self) -> int:
        return self.read[-1].end if self.read else 0


def entry_of(
    number: int, name: str, told: Conversation, regions: RegionMap | None, prompt_tokens: int, arrived_at: float
) -> Entry:
    """`told` is the conversation as it was rendered."""
    layout = Layout(regions, opening_messages(told.messages))
    names = tuple(tool.name for tool in told.tools)
    return Entry(number, name, told.identity, told.model, told.hints, layout, names, prompt_tokens, arrived_at)


class Ending(NamedTuple):
    """How a request ended. `answer` has the tokens of its first choice, `hashes` those of prompt and answer."""

    outcome: Outcome
    finish: str | None
    completion_tokens: int
    total_seconds: float
    answer: Sequence[int] = ()
    hashes: Hashes | None = None
    state: str | None = None
    """Of its session from now on."""
    error: str | None = None


def record_of(entry: Entry, ending: Ending, ranges: tuple[TokenRange, ...]) -> RequestRecord:
    return RequestRecord(
        id=entry.name,
        session=entry.identity.session_id,
        parent=entry.identity.parent_session_id,
        turn=entry.turn,
        client=entry.identity.client,
        model=entry.model,
        worker=None if entry.sent is None else entry.sent.decision.worker,
        arrived_at=entry.arrived_at,
        first_token_seconds=entry.first_token_seconds,
        total_seconds=ending.total_seconds,
        queued_seconds=entry.queued_seconds,
        prompt_tokens=entry.prompt_tokens,
        cached_tokens=entry.cached_tokens,
        completion_tokens=ending.completion_tokens,
        outcome=ending.outcome,
        finish=ending.finish,
        ranges=ranges,
        hints=given(entry.hints),
        error=ending.error,
    )


def given(hints: Hints) -> Mapping[str, Any]:
    """The hints that the client gave, by name."""
    named = {one.name: getattr(hints, one.name) for one in fields(hints)}
    return {name: _plain(value) for name, value in named.items() if value != getattr(_NO_HINTS, name)}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, RetentionDirective):
        return {one.name: getattr(value, one.name) for one in fields(value)}
    return value
