from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest

from appliance.block_desk import BlockDesk
from appliance.cache.arena.place import ArenaPlace
from appliance.cache.arena.tables import short_hashes
from appliance.cache.region import Region
from appliance.cache.region_map import REGIONS
from appliance.conversation import Identity
from appliance.disk_tier import DiskTier
from appliance.engine.retention.block_map import BlockMap
from appliance.errors import InvalidRequest, NotReady
from appliance.host_arena import HostArena
from appliance.keeper.wire import Mapped
from appliance.router.index import Tier
from appliance.router.shared_tier import SharedTier
from tests.unit.cache.arena.arenas import keys, opened, store
from tests.unit.router.test_mirror import apply, stored
from tests.unit.scripted_worker import BLOCK_TOKENS, ScriptedBox, ScriptedWorker, conversation, steps_of, until

HELLO = steps_of(["Hi"], cached_tokens=2)


def column(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array(values, np.int32)


MAP = BlockMap(
    300,
    100,
    ["a", "forgotten"],
    filled=column(90, 1, 0),
    held=column(3, 0, 0),
    awaited=column(0, 1, 0),
    owners=column(0, 1, -1),
    first_tokens=column(2, 0, 0),
    priorities=column(60, 35, 0),
    ages_ms=column(1500, 0, 0),
    hits=column(4, 0, 0),
)


async def ask(box: ScriptedBox, session: str, text: str) -> None:
    await box.ask(conversation(text, identity=Identity(session)))
    await until(lambda: box.pipeline.last_prompts.get(session) is not None)


async def test_cells_tell_owner_region_worth_age_and_reuse_and_nothing_where_nothing_is() -> None:
    worker = ScriptedWorker(0, HELLO)
    worker.map = MAP
    async with ScriptedBox(worker) as box:
        await ask(box, "a", "hello")
        found = await BlockDesk(box.pipeline, box.fleet).blocks(0, 3)
    assert (found.blocks, found.blocks_per_cell, found.block_tokens) == (300, 100, BLOCK_TOKENS)
    assert (found.filled, found.held, found.awaited) == ([90, 1, 0], [3, 0, 0], [0, 1, 0])
    assert (found.owners, found.owner) == (["a", "forgotten"], [0, 1, None])
    # Of a session that is not known any more nobody knows what the block is part of.
    assert found.region == [REGIONS.index(Region.USER), None, None]
    assert (found.priority, found.age_seconds, found.reuse) == ([60, 35, None], [1.5, 0.0, None], [4, 0, None])


async def test_what_follows_the_prompt_is_output() -> None:
    worker = ScriptedWorker(0, HELLO)
    worker.map = MAP._replace(first_tokens=column(6, 0, 0))
    async with ScriptedBox(worker) as box:
        await ask(box, "a", "hello")
        found = await BlockDesk(box.pipeline, box.fleet).blocks(0, 3)
    assert found.region[0] == REGIONS.index(Region.OUTPUT)


async def test_a_worker_that_is_not_there_is_dead_or_keeps_no_map_is_told() -> None:
    worker = ScriptedWorker(0)
    async with ScriptedBox(worker) as box:
        desk = BlockDesk(box.pipeline, box.fleet)
        with pytest.raises(InvalidRequest, match="there is no worker 7 among"):
            await desk.blocks(7, 3)
        with pytest.raises(InvalidRequest, match=r'cache\.policy = "off"'):
            await desk.blocks(0, 3)
        worker.alive = False
        with pytest.raises(NotReady, match="worker 0 is not alive"):
            await desk.blocks(0, 3)
        worker.alive = True


def arena_of(box: ScriptedBox, folder: Path) -> HostArena:
    mirrors = [member.mirror for member in box.fleet.members.values()]
    return HostArena(ArenaPlace(folder / "memory", folder / "locks"), SharedTier(box.index, Tier.HOST, mirrors))


async def test_the_host_tiers_rows_tell_owner_worth_age_and_the_region_of_what_is_in_a_last_prompt(
    tmp_path: Path,
) -> None:
    async with ScriptedBox(ScriptedWorker(0, HELLO)) as box:
        await ask(box, "a", "hello")
        arena, engine = arena_of(box, tmp_path), opened(tmp_path)
        tokens = box.pipeline.last_prompts.get("a")
        assert tokens is not None
        known = short_hashes(keys(1, 2)).tolist()
        apply(box.fleet.members[0].mirror, stored(known, tokens.tokens[: 2 * BLOCK_TOKENS].tolist()))
        rows = [*store(engine, 1, 2, 3, session="a", priority=60), *store(engine, 4, session="forgotten")]
        arena.open()
        arena.tell()
        found = await BlockDesk(box.pipeline, box.fleet, arena).host_blocks(64)
        await arena.stop()
        engine.close()
    assert (found.tier, found.worker, found.blocks, found.blocks_per_cell) == ("host", None, 8, 1)
    assert [cell for cell, filled in enumerate(found.filled) if filled] == sorted(rows)
    assert found.owners == ["a"]
    assert [found.owner[row] for row in rows] == [0, 0, 0, None]
    # The third is in no prompt that is known: what it is part of nobody knows.
    user = REGIONS.index(Region.USER)
    assert [found.region[row] for row in rows] == [user, user, None, None]
    assert [found.priority[row] for row in rows] == [60, 60, 60, 35]
    ages = [found.age_seconds[row] for row in rows]
    assert all(age is not None and 0 <= age < 60 for age in ages)
    assert found.reuse == [None] * 8
    assert {found.priority[row] for row in range(8) if row not in rows} == {None}


async def test_without_a_host_tier_or_before_it_is_made_that_is_told(tmp_path: Path) -> None:
    async with ScriptedBox(ScriptedWorker(0)) as box:
        with pytest.raises(InvalidRequest, match=r"cache\.host\.bytes is 0"):
            await BlockDesk(box.pipeline, box.fleet).host_blocks(3)
        with pytest.raises(NotReady, match="there is no arena"):
            await BlockDesk(box.pipeline, box.fleet, arena_of(box, tmp_path)).host_blocks(3)


async def test_the_disks_rows_are_found_in_last_prompts_and_tell_what_the_keeper_counts(tmp_path: Path) -> None:
    async with ScriptedBox(ScriptedWorker(0, HELLO, HELLO)) as box:
        await ask(box, "a", "hello you")
        await ask(box, "b", "hello")
        newest = box.pipeline.last_prompts.get("a")
        assert newest is not None
        mirror = box.fleet.members[0].mirror
        apply(mirror, stored([1, 2, 3, 4], newest.tokens[: 4 * BLOCK_TOKENS].tolist()))
        disk = AnsweringDisk(SharedTier(box.index, Tier.DISK, [mirror]))
        disk.tier.follow((one, True) for one in (1, 2, 3, 4))
        found = await BlockDesk(box.pipeline, box.fleet, None, cast("DiskTier", disk)).disk_blocks(64)
        disk.told = None
        with pytest.raises(NotReady, match="does not answer"):
            await BlockDesk(box.pipeline, box.fleet, None, cast("DiskTier", disk)).disk_blocks(64)
        disk.has_disk = False
        with pytest.raises(InvalidRequest, match=r"cache\.disk\.bytes is 0"):
            await BlockDesk(box.pipeline, box.fleet, None, cast("DiskTier", disk)).disk_blocks(64)
    assert (found.tier, found.worker, found.blocks, found.blocks_per_cell) == ("disk", None, 5, 1)
    # "b" asked last and has the first two, "a" the third and the fourth; nobody has 9, and the last is empty.
    assert [None if one is None else found.owners[one] for one in found.owner] == ["b", "a", None, "b", None]
    assert found.first_token == [0, 3 * BLOCK_TOKENS, None, BLOCK_TOKENS, None]
    user = REGIONS.index(Region.USER)
    assert found.region == [user, user, None, user, None]
    assert (found.filled, found.held, found.awaited) == ([1, 1, 1, 1, 0], [0, 1, 0, 0, 0], [0] * 5)
    assert (found.priority, found.age_seconds) == ([35, 60, 35, 35, None], [1.5, 0.0, 2.0, 3.0, None])
    assert found.reuse == [0, 1, 2, 3, None]


async def test_a_blocks_prompt_is_told_from_its_start_with_who_shares_it_and_where_it_is() -> None:
    async with ScriptedBox(ScriptedWorker(0, HELLO, HELLO)) as box:
        await ask(box, "a", "hello you")
        await ask(box, "b", "hello me")
        prompt = box.pipeline.last_prompts.get("a")
        assert prompt is not None
        box.index.store(0, prompt.hashes[:2])
        box.index.mark(0, prompt.hashes[:2], Tier.DISK)
        desk = BlockDesk(box.pipeline, box.fleet)
        found = await desk.chain("a", 7)
        with pytest.raises(InvalidRequest, match="no prompt of session 'z' is remembered"):
            await desk.chain("z", 0)
    assert (found.end_token, found.told_tokens) == (8, 8)
    # "hello " is three blocks of two, of which the worker has two.
    shown = [(part.start_token, part.end_token, sorted(part.names), part.tiers) for part in found.parts]
    assert shown == [
        (0, 4, ["a", "b"], {"0": "gpu"}),
        (4, 6, ["a", "b"], {"0": None}),
        (6, 8, ["a"], {"0": None}),
    ]
    assert {part.region for part in found.parts} == {"user"}


class AnsweringDisk:
    has_disk = True

    def __init__(self, tier: SharedTier) -> None:
        self.tier = tier
        self.told: Mapped | None = Mapped(
            0,
            5,
            1,
            column(1, 1, 1, 1, 0).tobytes(),
            column(0, 1, 0, 0, 0).tobytes(),
            np.array([1, 4, 9, 2, 3], np.uint64).tobytes(),
            np.array([35, 60, 35, 35, 0], np.uint8).tobytes(),
            np.array([1500, 0, 2000, 3000, 0], np.int64).tobytes(),
            np.array([0, 1, 2, 3, 7], np.uint32).tobytes(),
        )

    async def map(self, _cells: int) -> Mapped | None:
        return self.told


async def test_sessions_share_what_their_last_prompts_have_in_common() -> None:
    async with ScriptedBox(ScriptedWorker(0, HELLO, HELLO, HELLO)) as box:
        for session, text in (("a", "hello you"), ("b", "hello me"), ("c", "bye")):
            await ask(box, session, text)
        found = await BlockDesk(box.pipeline, box.fleet).prefixes(64)
        (newest,) = (await BlockDesk(box.pipeline, box.fleet).prefixes(1)).nodes
    shared = next(node for node in found.nodes if node.sessions == 2)
    # "hello " is three blocks of two; then they differ.
    assert (shared.start_token, shared.end_token, shared.parent) == (0, 6, None)
    assert (sorted(shared.names), shared.region) == (["a", "b"], "user")
    assert {node.names[0] for node in found.nodes if node.parent == shared.id} == {"a", "b"}
    assert shared.resident_tokens == {"0": 0}
    assert (found.sessions, found.known) == (3, 3)
    assert found.prompt_tokens == 8 + 8 + 2
    assert found.distinct_tokens == 6 + 2 + 2 + 2
    assert newest.names == ["c"]
