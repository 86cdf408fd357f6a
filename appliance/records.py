"""What is remembered of what happened: said once, never changed. Times are seconds since 1970.

The box makes them, `state/` keeps them, the operator API shows them. `None` means unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from appliance.cache.ledger import TokenRange

MOST_ACCESSES: Final = 1 << 15
"""That are remembered for what-if; older ones would change little of what it says."""
MOST_BLOCKS: Final = 1 << 22
"""That are remembered one by one, of all accesses together: those that are new in their prompts."""


class Outcome(StrEnum):
    FINISHED = "finished"
    FAILED = "failed"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request that has ended. `ranges` cover its prompt without gaps, in order; empty where no engine has read it.

    `turn` counts the requests of its session from 1; `hints` are those that the client gave, by name.
    """

    id: str
    session: str | None
    parent: str | None
    turn: int | None
    client: str | None
    model: str
    worker: int | None
    arrived_at: float
    first_token_seconds: float | None
    total_seconds: float
    queued_seconds: float
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    outcome: Outcome
    finish: str | None
    ranges: tuple[TokenRange, ...]
    hints: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session as it was left: enough to go on with it after a restart. `state` is `SessionState`'s.

    What follows the model may be unknown where only the session's requests were told of.
    """

    name: str
    parent: str | None
    client: str | None
    model: str
    state: str | None
    turns: int | None
    first_seen_at: float
    last_used_at: float
    prompt_tokens: int | None
    plan: Mapping[str, Any] | None = None
    """What `appliance.retention` needs to plan for it again."""


@dataclass(frozen=True, slots=True)
class EvictionRecord:
    """A block that had to go. `number` counts evictions since the box's start, `boot` is that start's time."""

    boot: float
    number: int
    at: float
    worker: int
    block_hash: str | None
    first_token: int
    region: str | None
    owner: str | None
    cause: str | None
    cause_request: str | None
    rule: str | None
    priority: int
    age_seconds: float
    awaited: bool


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """Where the router sent a request. `boot` is the start of the box that decided, `number` counts since then; `body`
    is what it weighed, as `appliance.decision_views` makes and reads it. Told again when its first token has come."""

    boot: float
    number: int
    at: float
    request: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class ActionRecord:
    """What an operator, or a client by an API of operators, did: `verb` to `target`. `before` and `after` undo it."""

    at: float
    who: str
    verb: str
    target: str | None
    details: Mapping[str, Any]
    effect: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """A version of the policy that became active. `text` is its TOML, with all that it includes."""

    activated_at: float
    name: str
    text: str
    author: str
    note: str | None = None


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """The whole box in one second: `status` is `BoxStatus` as JSON knows it."""

    at: float
    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ViewRecord:
    """What there was to see beside the status, as `appliance.past_views` makes and reads it: `name` says of what."""

    at: float
    name: str
    parts: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class AccessRecord:
    """The blocks that a request asked for, for what-if; `appliance.access_records` makes and reads it.

    Its prompt begins with the first `kept` blocks of its session's access before it. `keys` are what follows, and in
    front of them the last one of those that are kept, where there is one: a key names all that precedes it, so it
    shows whether the access that is found before it is the right one. `regions` are of the whole prompt, a byte a
    block. Keys say nothing beside those of another model or size of blocks.
    """

    model: str
    block_tokens: int
    session: str
    worker: int
    read_tokens: int
    arrived_at: float
    ended_at: float
    prompt_tokens: int
    output_tokens: int
    waits_for_tool: bool
    is_final: bool
    tool_wait_seconds: float | None
    kept: int
    keys: bytes
    regions: bytes


Record = (
    RequestRecord
    | SessionRecord
    | EvictionRecord
    | DecisionRecord
    | ActionRecord
    | PolicyRecord
    | SnapshotRecord
    | ViewRecord
    | AccessRecord
)


class Recorder(Protocol):
    """Takes records in the serving loop and never waits: what finds no room is dropped and counted by kind."""

    def record(self, record: Record) -> None: ...


class NoRecorder:
    """For a box that keeps nothing."""

    def record(self, record: Record) -> None:
        """Forget it."""
