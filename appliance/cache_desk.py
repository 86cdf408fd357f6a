"""What the tiers of the cache hold, whether that is sound, and dropping it, for operators."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from appliance.api.cache_views import (
    CacheView,
    Flushed,
    Flushes,
    Resized,
    SessionCache,
    SessionCaches,
    TierName,
    TierView,
    Verification,
    Verified,
)
from appliance.cache.arena.index import ArenaIndex
from appliance.cache.errors import CacheError
from appliance.errors import BoxError, InvalidRequest, WorkerDied

if TYPE_CHECKING:
    from appliance.disk_tier import DiskTier
    from appliance.fleet import Fleet, Member
    from appliance.host_arena import HostArena
    from appliance.retention import Retention, SessionFacts

NO_KEEPER = "its keeper is not there, or does not answer"
BUSY = "requests run there; try again when they have ended"


class CacheDesk:
    """`api.box.CacheDesk` over the workers' caches, and the host and the disk tier where there are these. `turns`
    counts a session's requests, `prefill_seconds` says what computing so many tokens takes."""

    def __init__(
        self,
        fleet: Fleet,
        block_tokens: int,
        retention: Retention | None = None,
        arena: HostArena | None = None,
        disk: DiskTier | None = None,
        *,
        turns: Callable[[str], int | None] = lambda _session: None,
        prefill_seconds: Callable[[int], float] | None = None,
    ) -> None:
        self._fleet = fleet
        self._block_tokens = block_tokens
        self._retention = retention
        self._arena = arena
        self._disk = disk
        self._turns = turns
        self._prefill_seconds = prefill_seconds
        self.on_flush: Callable[[int], None] = lambda _worker: None
        """Told of each worker whose GPU was flushed."""

    def tiers(self) -> CacheView:
        tiers = [_worker_tier(member) for member in self._fleet.members.values()]
        stats = self._arena.stats if self._arena is not None else None
        if self._arena is not None and stats is not None:
            num_bytes = stats.rows * self._arena.row_bytes
            tiers.append(TierView("host", None, stats.rows, stats.used, stats.held, num_bytes))
        on_disk = self._disk.on_disk if self._disk is not None else None
        if on_disk is not None:
            slab = on_disk.slab
            num_bytes = slab.rows * on_disk.counts.row_bytes
            checked = self._disk.checked if self._disk is not None else None
            tiers.append(TierView("disk", None, slab.rows, slab.used, slab.held, num_bytes, checked))
        if self._disk is not None and self._disk.remote_url is not None:
            tiers.append(TierView("remote", None, None, None, None, None))
        return CacheView(self._block_tokens, tiers)

    async def sessions(self, limit: int) -> SessionCaches:
        """At most so many, of those that retention knows."""
        on_gpu = await asyncio.gather(*map(_sessions_of, self._fleet.members.values()))
        if self._retention is None:
            return SessionCaches([], 0)
        known = self._retention.facts()
        newest = known[: -limit - 1 : -1]
        on_host = self._arena.blocks_of(facts.name for facts in newest) if self._arena is not None else {}
        return SessionCaches([self._session(facts, dict(on_gpu), on_host) for facts in newest], len(known))

    async def verify(self) -> Verification:
        """Each tier's own check of all that it holds. An engine stops for that time."""
        checks = list(await asyncio.gather(*(self._verified(member) for member in self._fleet.members.values())))
        if self._arena is not None and self._arena.stats is not None:
            checks.append(Verified("host", None, await asyncio.to_thread(_arena_error, self._arena)))
        if self._disk is not None and self._disk.has_disk:
            checks.append(Verified("disk", None, await _disk_error(self._disk)))
        return Verification(all(check.error is None for check in checks), checks)

    async def flush(self, tier: TierName, worker: int | None) -> Flushes:
        """Drop all that nobody is using. Raises `InvalidRequest` for a tier or a worker that is not there."""
        if tier == "host":
            return Flushes([Flushed("host", None, self._host().flush())])
        if tier == "disk":
            counted = await self._slab().flush()
            return Flushes([Flushed("disk", None, counted.blocks if counted else 0, None if counted else NO_KEEPER)])
        told = list(await asyncio.gather(*(_flushed(member) for member in self._chosen(worker))))
        for one in told:
            if one.worker is not None and one.error is None:
                self.on_flush(one.worker)
        return Flushes(told)

    async def resize(self, tier: TierName, num_bytes: int) -> Resized:
        """While it is in use. Raises `InvalidRequest` for a tier that is not there, or has one size for good."""
        if tier == "host":
            arena = self._host()
            error = await arena.resize(num_bytes)
            rows = arena.stats.rows if arena.stats is not None else 0
            return Resized("host", rows, rows * arena.row_bytes, error)
        if tier == "disk":
            disk = self._slab()
            error = await disk.resize(num_bytes)
            told = disk.on_disk
            rows, row_bytes = (told.slab.rows, told.counts.row_bytes) if told is not None else (0, 0)
            return Resized("disk", rows, rows * row_bytes, error)
        raise InvalidRequest(
            "an engine takes its memory when it starts: set cache.gpu.bytes and start the box again", param="tier"
        )

    def _host(self) -> HostArena:
        if self._arena is None:
            raise InvalidRequest("this box has no host tier: cache.host.bytes is 0", param="tier")
        return self._arena

    def _slab(self) -> DiskTier:
        if self._disk is None or not self._disk.has_disk:
            raise InvalidRequest("this box has no disk tier: cache.disk.bytes is 0", param="tier")
        return self._disk

    def _chosen(self, worker: int | None) -> list[Member]:
        members = self._fleet.members
        if worker is not None and worker not in members:
            raise InvalidRequest(f"there is no worker {worker} among {sorted(members)}", param="worker")
        return [members[worker]] if worker is not None else list(members.values())

    def _session(self, facts: SessionFacts, on_gpu: dict[int, dict[str, int]], on_host: dict[str, int]) -> SessionCache:
        name, tokens = facts.name, self._block_tokens
        gpu_tokens = {str(worker): blocks[name] * tokens for worker, blocks in on_gpu.items() if name in blocks}
        host_tokens = on_host.get(name, 0) * tokens
        told = SessionCache(
            name,
            facts.parent,
            facts.state.value,
            facts.prompt_tokens,
            gpu_tokens,
            host_tokens,
            self._turns(name),
            facts.client,
            claim_seconds=facts.claim_seconds,
        )
        if self._prefill_seconds is None:
            return told
        lacking = told.lacking_tokens
        return replace(told, prefill_seconds=self._prefill_seconds(lacking) if lacking else 0.0)

    async def _verified(self, member: Member) -> Verified:
        try:
            error = await member.worker.check_integrity()
        except WorkerDied as death:
            error = str(death)
        if error is None and not member.mirror.in_step:
            error = "the router's index is not in step with the engine"
        return Verified("gpu", member.id, error)


def _worker_tier(member: Member) -> TierView:
    blocks, load = member.worker.kv_blocks, member.worker.load
    held = round(load.kv_usage * blocks) if blocks is not None and member.worker.alive else None
    return TierView("gpu", member.id, blocks, member.mirror.num_blocks, held, None)


async def _sessions_of(member: Member) -> tuple[int, dict[str, int]]:
    try:
        return member.id, await member.worker.session_blocks()
    except WorkerDied:
        return member.id, {}


async def _flushed(member: Member) -> Flushed:
    blocks = member.mirror.num_blocks
    try:
        is_done = await member.worker.flush()
    except BoxError as error:
        return Flushed("gpu", member.id, 0, str(error))
    if not is_done:
        return Flushed("gpu", member.id, 0, BUSY)
    # The engine tells of it with its next step only; until then the router would count on what is gone.
    member.mirror.reset(engine_is_empty=True)
    return Flushed("gpu", member.id, blocks)


async def _disk_error(disk: DiskTier) -> str | None:
    counted = await disk.verify()
    if counted is None:
        return NO_KEEPER
    return f"{counted.bad} of {counted.blocks} blocks were not what they should be: dropped" if counted.bad else None


def _arena_error(arena: HostArena) -> str | None:
    """In a way of its own into the arena: it takes time linear in its rows."""
    index = ArenaIndex.open(arena.place)
    try:
        index.check_integrity()
    except CacheError as error:
        return str(error)
    finally:
        index.close()
    return None
