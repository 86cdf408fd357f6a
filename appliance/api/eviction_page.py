"""What had to go from the engines' caches, block by block, as operators see it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class EvictedBlock(Struct, frozen=True):
    """One block that had to go. `number` counts all evictions since the box started, from 0; `at` is in seconds since
    1970, when the box was told.

    The victim: `block_hash` as in KV events (hexadecimal if it is bytes), the block's first token in its prompt, its
    region, and the session that used it last, `age_seconds` before. Why it went: `priority` is what it was worth,
    `rule` what decided that; `awaited`: a waiting request wanted it. Who needed the room: `cause`, and that session and
    request by name. `null`: unknown, or nobody.
    """

    number: int
    at: float
    worker: int
    block_hash: int | str | None
    first_token: int
    region: str | None
    owner: str | None
    age_seconds: float
    priority: int
    rule: str | None
    awaited: bool
    cause: Literal["same_session", "other_session", "unnamed"]
    cause_session: str | None
    cause_request: str | None


class EvictionPage(Struct, frozen=True):
    """Oldest first. `next` is the `since` with which to ask for what follows; `missed` were asked for and are not
    remembered any more."""

    evictions: list[EvictedBlock]
    next: int
    missed: int
