"""Blocks, and the prompts that they are of, as the operator API shows them. `null` means unknown, or nobody."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

DEFAULT_CELLS: Final = 1024
MAX_CELLS: Final = 8192
DEFAULT_PROMPTS: Final = 64
MAX_PROMPTS: Final = 512
MOST_NAMES: Final = 16
MAX_PARTS: Final = 512
MAP_TIERS: Final = ("gpu", "host", "disk")
MapTier = Literal["gpu", "host", "disk"]


class BlockMapView(Struct, frozen=True):
    """A worker's cache in cells, each `blocks_per_cell` blocks with neighbouring numbers, the last for what is left; or
    the host tier or the disk, which are no single worker's (`worker` is `null`).

    By cell: how many of its blocks are `filled`, `held` by running requests, `awaited` by waiting ones. The rest speaks
    of the one of them that was used last: `owner` is a place in `owners`, `region` one in `regions`, `first_token`
    where in its owner's prompt it begins; what it is worth, how long ago it was used, and how often it was found again.
    `null` where none is filled, or nobody knows. The host tier counts no reuse, and knows of what is in its owner's
    last prompt where that is. The disk keeps no owner: it is the session that asked last among those whose last prompt
    has the block. Its reuse is how often the block was brought back since the keeper began.
    """

    tier: MapTier
    worker: int | None
    block_tokens: int
    blocks: int
    blocks_per_cell: int
    owners: list[str]
    regions: list[str]
    filled: list[int]
    held: list[int]
    awaited: list[int]
    owner: list[int | None]
    first_token: list[int | None]
    region: list[int | None]
    priority: list[int | None]
    age_seconds: list[float | None]
    reuse: list[int | None]


class ChainPart(Struct, frozen=True):
    """Tokens `start_token` … `end_token` (exclusive) of a prompt: of one region, shared by the last prompts of the same
    `sessions` (at most 16 are named), and found by each worker in one place: the fastest tier, `null` where it would be
    computed, also for what is there behind a gap."""

    start_token: int
    end_token: int
    region: str | None
    sessions: int
    names: list[str]
    tiers: dict[str, str | None]


class BlockChain(Struct, frozen=True):
    """A session's last prompt of `prompt_tokens` from its start to the end of a block, `end_token`; to its last full
    block at most. `parts` lead to `told_tokens`: there are at most 512."""

    session: str
    block_tokens: int
    prompt_tokens: int
    end_token: int
    told_tokens: int
    parts: list[ChainPart]


class PrefixView(Struct, frozen=True):
    """Tokens `start_token` … `end_token` (exclusive) that the last prompts of so many `sessions` have in common; behind
    it they go apart, or end. `id` counts from 0, `parent` comes before it. At most 16 are named. `region` is what its
    last token belongs to; `resident_tokens` of it are found in each worker's cache now."""

    id: int
    parent: int | None
    start_token: int
    end_token: int
    sessions: int
    names: list[str]
    region: str | None
    resident_tokens: dict[str, int]


class Prefixes(Struct, frozen=True):
    """Each node before its children. `sessions` were looked at, those that asked last, of `known`; their prompts have
    `prompt_tokens` in whole blocks, of which `distinct_tokens` differ."""

    nodes: list[PrefixView]
    block_tokens: int
    sessions: int
    known: int
    prompt_tokens: int
    distinct_tokens: int
