"""Blocks as the operator API shows them. `null` means unknown, or nobody."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

DEFAULT_CELLS: Final = 1024
MAX_CELLS: Final = 8192
MAP_TIERS: Final = ("gpu", "host")
MapTier = Literal["gpu", "host"]


class BlockMapView(Struct, frozen=True):
    """A worker's cache in cells, each `blocks_per_cell` blocks with neighbouring numbers, the last for what is left; or
    the host tier, which is no single worker's (`worker` is `null`).

    By cell: how many of its blocks are `filled`, `held` by running requests, `awaited` by waiting ones. The rest speaks
    of the one of them that was used last: `owner` is a place in `owners`, `region` one in `regions`; what it is worth,
    how long ago it was used, and how often it was found again. `null` where none is filled, or nobody knows: the host
    tier counts no reuse, and knows the region of what is in its owner's last prompt.
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
    region: list[int | None]
    priority: list[int | None]
    age_seconds: list[float | None]
    reuse: list[int | None]
