"""What is in the workers' caches, the host tier and the disk, block by block."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from appliance.api.block_views import BlockChain, BlockMapView
from appliance.block_chain import chain_view
from appliance.block_places import NOWHERE, places_in, region_code
from appliance.cache.errors import CacheError
from appliance.cache.region_map import REGIONS
from appliance.errors import InvalidRequest, NotReady, WorkerDied

if TYPE_CHECKING:
    from appliance.cache.arena.row_map import RowMap
    from appliance.disk_tier import DiskTier
    from appliance.engine.retention.block_map import BlockMap
    from appliance.fleet import Fleet
    from appliance.host_arena import HostArena
    from appliance.keeper.wire import Mapped
    from appliance.last_prompts import LastPrompt
    from appliance.pipeline import Pipeline
    from appliance.router.shared_tier import SharedTier


class BlockDesk:
    """`api.box.BlockDesk` over a pipeline, its workers, and the host tier and the disk where there are any."""

    def __init__(
        self, pipeline: Pipeline, fleet: Fleet, arena: HostArena | None = None, disk: DiskTier | None = None
    ) -> None:
        self._pipeline = pipeline
        self._fleet = fleet
        self._arena = arena
        self._disk = disk

    async def blocks(self, worker: int, cells: int) -> BlockMapView:
        """Raises `InvalidRequest` for a worker that is not there or has no retention, `NotReady` for a dead one."""
        members = self._fleet.members
        if worker not in members:
            raise InvalidRequest(f"there is no worker {worker} among {sorted(members)}", param="worker")
        try:
            found = await members[worker].worker.block_map(cells) if members[worker].worker.alive else None
        except WorkerDied as error:
            raise NotReady(str(error)) from error
        if found is None:
            if not members[worker].worker.alive:
                raise NotReady(f"worker {worker} is not alive")
            raise InvalidRequest('this box keeps no map: it was started with cache.policy = "off"', param="worker")
        # Measured: 6 ms for 2,048 cells of 500 owners.
        return await asyncio.to_thread(self._map_view, worker, found)

    async def host_blocks(self, cells: int) -> BlockMapView:
        """Raises `InvalidRequest` where there is no host tier, `NotReady` where no engine has made it yet."""
        if self._arena is None:
            raise InvalidRequest("this box has no host tier: cache.host.bytes is 0", param="tier")
        sessions = {name for name, _ in self._pipeline.last_prompts}
        if self._pipeline.retention is not None:
            sessions.update(self._pipeline.retention.sessions())
        try:
            # All rows are looked at, and thousands of names.
            return await asyncio.to_thread(self._host_view, self._arena, sessions, cells)
        except CacheError as error:
            raise NotReady(str(error)) from error

    async def disk_blocks(self, cells: int) -> BlockMapView:
        """Raises `InvalidRequest` where there is no disk tier, `NotReady` while its keeper does not answer."""
        if self._disk is None or not self._disk.has_disk:
            raise InvalidRequest("this box has no disk tier: cache.disk.bytes is 0", param="tier")
        told = await self._disk.map(cells)
        if told is None:
            raise NotReady("the keeper of the disk tier does not answer: it is opening the disk, or busy")
        # Its blocks are looked for in thousands of prompts.
        return await asyncio.to_thread(self._disk_view, told, self._disk, list(self._pipeline.last_prompts))

    async def chain(self, session: str, token: int) -> BlockChain:
        """Raises `InvalidRequest` for a session without a last prompt."""
        prompts = list(self._pipeline.last_prompts)
        prompt = self._pipeline.last_prompts.get(session)
        if prompt is None:
            raise InvalidRequest(f"no prompt of session {session!r} is remembered", param="session")
        router, blocks = self._pipeline.router, token // self._pipeline.router.block_tokens + 1
        depths = router.depths(prompt.hashes)
        return await asyncio.to_thread(
            chain_view, session, blocks, prompts, depths, sorted(self._fleet.members), router.block_tokens
        )

    def _map_view(self, worker: int, found: BlockMap) -> BlockMapView:
        is_filled = found.filled > 0
        has_owner = is_filled & (found.owners >= 0)
        return BlockMapView(
            "gpu",
            worker,
            self._pipeline.router.block_tokens,
            found.num_blocks,
            found.per_cell,
            found.names,
            [region.value for region in REGIONS],
            found.filled.tolist(),
            found.held.tolist(),
            found.awaited.tolist(),
            _where(has_owner, found.owners),
            _where(has_owner, found.first_tokens),
            self._regions(found),
            _where(is_filled, found.priorities),
            _where(is_filled, found.ages_ms / 1000),
            _where(is_filled, found.hits),
        )

    def _host_view(self, arena: HostArena, sessions: set[str], cells: int) -> BlockMapView:
        found = arena.row_map(cells, sessions)
        is_filled = found.filled > 0
        firsts = self._host_first_tokens(found, arena)
        return BlockMapView(
            "host",
            None,
            self._pipeline.router.block_tokens,
            found.num_rows,
            found.per_cell,
            found.names,
            [region.value for region in REGIONS],
            found.filled.tolist(),
            found.held.tolist(),
            found.awaited.tolist(),
            _where(found.owners >= 0, found.owners),
            _where(firsts != NOWHERE, firsts),
            self._codes(found.names, found.owners, firsts),
            _where(is_filled, found.priorities),
            _where(is_filled, found.ages_ms / 1000),
            [None] * len(found.filled),
        )

    def _disk_view(self, told: Mapped, disk: DiskTier, prompts: list[tuple[str, LastPrompt]]) -> BlockMapView:
        """A slab keeps of a block neither whose it was nor where in a prompt: it is the session's that asked last among
        those whose last prompt has it."""
        filled, priorities = np.frombuffer(told.filled, np.int32), np.frombuffer(told.priorities, np.uint8)
        ages, reads = np.frombuffer(told.ages_ms, np.int64) / 1000, np.frombuffer(told.reads, np.uint32)
        is_filled = filled > 0
        own = _own_hashes(disk.tier, np.where(is_filled, np.frombuffer(told.hashes, np.uint64), 0))
        found = places_in(((name, prompt.hashes) for name, prompt in prompts), own)
        is_found = found.owners != NOWHERE
        firsts = np.where(is_found, found.blocks * self._pipeline.router.block_tokens, NOWHERE)
        return BlockMapView(
            "disk",
            None,
            self._pipeline.router.block_tokens,
            told.num_rows,
            told.per_cell,
            found.names,
            [region.value for region in REGIONS],
            filled.tolist(),
            np.frombuffer(told.held, np.int32).tolist(),
            [0] * len(filled),
            _where(is_found, found.owners),
            _where(is_found, firsts),
            self._codes(found.names, found.owners, firsts),
            _where(is_filled, priorities),
            _where(is_filled, ages),
            _where(is_filled, reads),
        )

    def _host_first_tokens(self, found: RowMap, arena: HostArena) -> NDArray[np.int64]:
        """An arena has no places of blocks in prompts: those are found by name in the owners' last prompts."""
        firsts = np.full(len(found.filled), NOWHERE, np.int64)
        own = _own_hashes(arena.tier, np.where(found.filled > 0, found.hashes, 0))
        for number, name in enumerate(found.names):
            prompt = self._pipeline.last_prompts.get(name)
            if prompt is not None:
                cells = np.flatnonzero(found.owners == number)
                blocks = places_in([(name, prompt.hashes)], own[cells]).blocks
                firsts[cells] = np.where(blocks == NOWHERE, NOWHERE, blocks * self._pipeline.router.block_tokens)
        return firsts

    def _codes(self, names: list[str], owners: NDArray[np.int64], first_tokens: NDArray[np.int64]) -> list[int | None]:
        """What is there in the owners' last prompts, by cell."""
        prompts = [self._pipeline.last_prompts.get(name) for name in names]
        return [
            None if token == NOWHERE else region_code(prompts[owner], token)
            for owner, token in zip(owners.tolist(), first_tokens.tolist(), strict=True)
        ]

    def _regions(self, found: BlockMap) -> list[int | None]:
        """A session at a time: there are many cells and few owners."""
        codes: list[int | None] = [None] * len(found.filled)
        retention = self._pipeline.retention
        if retention is None:
            return codes
        for number, name in enumerate(found.names):
            cells = np.flatnonzero((found.owners == number) & (found.filled > 0))
            regions = retention.region_codes(name, found.first_tokens[cells])
            if regions is not None:
                for cell, code in zip(cells.tolist(), regions.tolist(), strict=True):
                    codes[cell] = code
        return codes


def _where(mask: NDArray[np.bool_], values: NDArray[Any]) -> list[Any]:
    return [value if is_known else None for is_known, value in zip(mask.tolist(), values.tolist(), strict=True)]


def _own_hashes(tier: SharedTier | None, hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The router's names of blocks of a tier that engines call so, 0 for one that it does not know."""
    own = [None if tier is None else tier.own_hash(one) for one in hashes.tolist()]
    return np.array([one or 0 for one in own], np.uint64)
