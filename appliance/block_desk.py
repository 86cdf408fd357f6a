"""What is in the workers' caches and the host tier, block by block."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from appliance.api.block_views import BlockMapView
from appliance.cache.errors import CacheError
from appliance.cache.region_map import REGIONS
from appliance.errors import InvalidRequest, NotReady, WorkerDied

if TYPE_CHECKING:
    from appliance.cache.arena.row_map import RowMap
    from appliance.engine.retention.block_map import BlockMap
    from appliance.fleet import Fleet
    from appliance.host_arena import HostArena
    from appliance.pipeline import Pipeline


class BlockDesk:
    """`api.box.BlockDesk` over a pipeline, its workers and the host tier where there is one."""

    def __init__(self, pipeline: Pipeline, fleet: Fleet, arena: HostArena | None = None) -> None:
        self._pipeline = pipeline
        self._fleet = fleet
        self._arena = arena

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
        return self._map_view(worker, found)

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
            self._regions(found),
            _where(is_filled, found.priorities),
            _where(is_filled, found.ages_ms / 1000),
            _where(is_filled, found.hits),
        )

    def _host_view(self, arena: HostArena, sessions: set[str], cells: int) -> BlockMapView:
        found = arena.row_map(cells, sessions)
        is_filled = found.filled > 0
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
            self._host_regions(found, [arena.tier.own_hash(each) for each in found.hashes.tolist()]),
            _where(is_filled, found.priorities),
            _where(is_filled, found.ages_ms / 1000),
            [None] * len(found.filled),
        )

    def _host_regions(self, found: RowMap, hashes: list[int | None]) -> list[int | None]:
        """An arena has no places of blocks in prompts: those are found by name in the owners' last prompts."""
        codes: list[int | None] = [None] * len(hashes)
        for number, name in enumerate(found.names):
            prompt = self._pipeline.last_prompts.get(name)
            if prompt is None or prompt.regions is None:
                continue
            places = {block: place for place, block in enumerate(prompt.hashes.tolist())}
            for cell in np.flatnonzero(found.owners == number).tolist():
                own = hashes[cell]
                if own is not None and own in places:
                    first_token = places[own] * self._pipeline.router.block_tokens
                    codes[cell] = REGIONS.index(prompt.regions.at(first_token).region)
        return codes

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
