"""An operator's word on sessions, as the operator API takes and shows it. `null` means unknown, or not said."""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import Struct

HintVerb = Literal["pin", "release", "ttl", "priority"]
HintAction = Literal["pin", "release", "ttl", "priority", "prefetch", "warm", "turn_finished"]

DEFAULT_SECONDS: Final = 3600.0
MAX_SECONDS: Final = 7 * 86400.0
MAX_NAME: Final = 512


class HintRequest(Struct, frozen=True):
    """What to do with a session's blocks.

    `pin` keeps the tokens `token_start` … `token_end` (exclusive; `null`: all of its prompt) at `priority` (100 if not
    said), `release` gives them up; both go before what clients and the policy say. `ttl` keeps them for `ttl_seconds`
    after their last use, as a client's mark does. `priority` is that of its requests, in place of the client's own.
    These four end after `expires_in` seconds (an hour if not said, a week at most).

    `prefetch` reads its last prompt into the cache of `worker` (the best one if not said), `warm` brings what the disk
    or the remote store has of it up into the host tier, and `turn_finished` says that nothing more will come of it.
    `by` says who asks.
    """

    verb: HintAction
    session: str
    token_start: int | None = None
    token_end: int | None = None
    priority: int | None = None
    ttl_seconds: float | None = None
    expires_in: float | None = None
    worker: int | None = None
    by: str | None = None


class HintEffect(Struct, frozen=True):
    """What came of a hint since it was given, or since the box was started: the session's `turns` that an engine has
    read, their `prompt_tokens` and the `cached_tokens` among these. Of the tokens it is about `held_tokens` are in the
    cache of the worker that has most. `text` says it in words."""

    turns: int
    prompt_tokens: int
    cached_tokens: int
    held_tokens: int | None
    text: str


class HintView(Struct, frozen=True):
    """One that is active, and for how much longer. Times are seconds since 1970."""

    id: str
    verb: HintVerb
    session: str
    by: str
    given_at: float
    expires_at: float
    remaining_seconds: float
    token_start: int
    token_end: int | None
    priority: int | None
    ttl_seconds: float | None
    effect: HintEffect | None = None


class Hints(Struct, frozen=True):
    """In the order in which they were given."""

    hints: list[HintView]


class HintImpact(Struct, frozen=True):
    """What it comes to, estimated from what is in the engines' caches now. `resident_tokens` of the session are there,
    by worker, of which `tokens` are meant. To keep them `displaced_tokens` of `displaced_sessions` would go sooner when
    room is needed, those first whose return is least likely. `prefill_seconds` is what computing again takes: what is
    displaced, or for a release what is given up. `text` says it in words."""

    tokens: int | None
    resident_tokens: dict[str, int] | None
    displaced_tokens: int | None
    displaced_sessions: list[str] | None
    prefill_seconds: float | None
    text: str


class HintAnswer(Struct, frozen=True):
    """`hint` is `null` for a dry run and for what does not last; `effect` says what was done, `null` for a dry run."""

    dry_run: bool
    impact: HintImpact
    hint: HintView | None
    effect: str | None


class HintWithdrawn(Struct, frozen=True):
    hint: HintView
    effect: str


class ActionView(Struct, frozen=True):
    """What an operator did. `at` is in seconds since 1970."""

    at: float
    who: str
    verb: str
    target: str | None
    details: dict[str, Any]
    effect: str | None


class Actions(Struct, frozen=True):
    """The newest comes first."""

    actions: list[ActionView]
