"""A keeper made from what it was told: the arena that is there, the slab that belongs to it, the remote store."""

from __future__ import annotations

import os
from pathlib import Path

from appliance.cache.arena.index import ArenaIndex
from appliance.cache.arena.place import ArenaPlace
from appliance.cache.arena.tables import mapped
from appliance.cache.errors import CacheError
from appliance.cache.slab.file import Progress, Slab
from appliance.cache.slab.index import SlabIndex
from appliance.cache.slab.layout import Records, Shape
from appliance.cache.slab.uses import load, uses_file, with_uses
from appliance.keeper.budget import WriteBudget
from appliance.keeper.disk import Disk
from appliance.keeper.keeper import Keeper
from appliance.keeper.remote.remote import Remote
from appliance.keeper.remote.stores import Limits, open_store
from appliance.keeper.tiers import Near
from appliance.keeper.wire import DiskPlace, KeeperSettings, RemotePlace


def open_keeper(settings: KeeperSettings, progress: Progress) -> Keeper:
    """Open the arena that is there and the slab that belongs to it, and rebuild the slab's index from its headers.

    Blocks for as long as that takes. Raises `CacheError` when there is no arena, no room for the slab, or an address
    that means no store.
    """
    arena = ArenaIndex.open(ArenaPlace(Path(settings.arena_memory), Path(settings.arena_locks)))
    try:
        arena.join(os.urandom(16))
        near = Near(arena, mapped(arena.place.rows_file, arena.geometry.num_rows * arena.geometry.row_bytes))
        remote, remote_budget = _remote(settings.remote, near)
        disk, disk_budget = _disk(settings.disk, near, progress)
    except BaseException:
        arena.close()
        raise
    return Keeper(near, disk, disk_budget, remote, remote_budget)


def _disk(place: DiskPlace | None, near: Near, progress: Progress) -> tuple[Disk | None, WriteBudget | None]:
    if place is None:
        return None, None
    slab = _open_slab(place, near.arena)
    index, budget = SlabIndex(slab.shape.num_rows), WriteBudget(place.write_budget)
    records = slab.scan(progress)
    index.restore(with_uses(records, load(uses_file(slab.path))))
    budget.spend(_written_since(records, budget.day_began_ms) * slab.shape.stride)
    return Disk(near, slab, index), budget


def _remote(place: RemotePlace | None, near: Near) -> tuple[Remote | None, WriteBudget | None]:
    if place is None:
        return None, None
    limits = Limits(place.timeout_seconds, place.connections)
    return Remote(near, open_store(place.url, limits), limits), WriteBudget(place.write_budget)


def _open_slab(place: DiskPlace, arena: ArenaIndex) -> Slab:
    path, row_bytes = Path(place.path), arena.geometry.row_bytes
    num_rows = Shape.rows_in(place.num_bytes, row_bytes)
    if not num_rows:
        raise CacheError(f"{path}: {place.num_bytes} bytes have no room for a block of {row_bytes}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CacheError(f"{path}: its folder cannot be made: {error.strerror}") from error
    return Slab.open(path, Shape(num_rows, row_bytes, arena.namespace))


def _written_since(records: Records, wall_ms: int) -> int:
    """Rows that still hold what was written since then: the least that this day's writes can have been."""
    return int((records["last_use_ms"] >= wall_ms).sum())
