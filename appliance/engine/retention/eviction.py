"""One block that had to go, as the engine tells it."""

from __future__ import annotations

from typing import NamedTuple


class Eviction(NamedTuple):
    """`block_hash` is what KV events call the block; `first_token` is where in its prompt it started.

    `owner` is the session that used it last, `cause` and `cause_request` who needed the room; `None` where they have
    no name. `rule` decided what it was worth (`None`: nobody had claimed it), `priority` is what it was worth in the
    end, `age_seconds` the time since its last use. `awaited`: a waiting request wanted it.
    """

    block: int
    block_hash: int | bytes | None
    first_token: int
    owner: str | None
    cause: str | None
    cause_request: str | None
    priority: int
    rule: str | None
    age_seconds: float
    awaited: bool


class EvictionBatch(NamedTuple):
    """What was reported since the last time, oldest first. `num_left` is still to come, `num_dropped` lost so far."""

    evictions: tuple[Eviction, ...]
    num_left: int
    num_dropped: int
