"""What is in the workers' caches and the host tier, block by block, and how the prompts of sessions hang together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from appliance.api.block_views import MOST_NAMES, BlockMapView, Prefixes, PrefixView
from appliance.cache.errors import CacheError
from appliance.cache.prefix_tree import PrefixNode, prefix_tree
from appliance.cache.region_map import REGIONS
from appliance.errors import InvalidRequest, NotReady, WorkerDied
from appliance.router.index import Tier

if TYPE_CHECKING:
    from appliance.cache.arena.row_map import RowMap
    from appliance.engine.retention.block_map import BlockMap
    from appliance.fleet import Fleet
    from appliance.host_arena import HostArena
    from appliance.last_prompts import LastPrompt
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

    async def prefixes(self, limit: int) -> Prefixes:
        """Of the sessions that asked last, at most so many."""
        known = list(self._pipeline.last_prompts)
        # Hundreds of look-ups in the index, which any thread may ask.
        return await asyncio.to_thread(self._prefixes, known[:limit], len(known))

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

    def _prefixes(self, prompts: list[tuple[str, LastPrompt]], known: int) -> Prefixes:
        nodes = prefix_tree([prompt.hashes for _, prompt in prompts])
        block_tokens = self._pipeline.router.block_tokens
        depths = [self._pipeline.router.depths(prompt.hashes)[:, Tier.GPU] for _, prompt in prompts]
        workers = sorted(self._fleet.members)
        return Prefixes(
            [self._node_view(number, node, prompts, depths, workers) for number, node in enumerate(nodes)],
            block_tokens,
            len(prompts),
            known,
            sum(len(prompt.hashes) for _, prompt in prompts) * block_tokens,
            sum(node.end - node.start for node in nodes) * block_tokens,
        )

    def _node_view(
        self,
        number: int,
        node: PrefixNode,
        prompts: list[tuple[str, LastPrompt]],
        depths: list[NDArray[np.int64]],
        workers: list[int],
    ) -> PrefixView:
        tokens, first = self._pipeline.router.block_tokens, node.prompts[0]
        _, prompt = prompts[first]
        reached = {
            worker: min(max(int(depths[first][worker]) - node.start, 0), node.end - node.start) for worker in workers
        }
        regions = prompt.regions
        last_token = node.end * tokens - 1
        return PrefixView(
            number,
            node.parent,
            node.start * tokens,
            node.end * tokens,
            len(node.prompts),
            [prompts[place][0] for place in node.prompts[:MOST_NAMES]],
            None if regions is None or last_token >= regions.tokens else regions.at(last_token).region.value,
            {str(worker): blocks * tokens for worker, blocks in reached.items()},
        )


def _where(mask: NDArray[np.bool_], values: NDArray[Any]) -> list[Any]:
    return [value if is_known else None for is_known, value in zip(mask.tolist(), values.tolist(), strict=True)]
