from __future__ import annotations

from array import array
from pathlib import Path

import pytest

from appliance.api.cache_views import Flushed, Resized, TierName, TierView, Verified
from appliance.cache.arena.place import ArenaPlace
from appliance.cache.policy_source import load_policy
from appliance.cache.region import Region
from appliance.cache.region_map import RegionMap, Span
from appliance.cache_desk import BUSY, CacheDesk
from appliance.conversation import Hints, Identity
from appliance.errors import InvalidRequest
from appliance.host_arena import HostArena
from appliance.retention import Retention, Subject
from appliance.router.events import Batch, BlockStored
from appliance.router.index import Tier
from appliance.router.shared_tier import SharedTier
from tests.unit.cache.arena.arenas import ROW_BYTES, opened, store
from tests.unit.scripted_worker import BLOCK_TOKENS, ScriptedBox, ScriptedWorker

REGIONS = RegionMap([Span(0, 100, Region.USER)])


class Desk:
    """Two workers, three sessions, and an arena of eight rows, four of which are used."""

    def __init__(self, folder: Path) -> None:
        self.workers = [ScriptedWorker(0), ScriptedWorker(1)]
        self.box = ScriptedBox(*self.workers)
        self.retention = Retention(load_policy("coding-agent"))
        for name, parent in (("a", None), ("b", "a"), ("c", None)):
            subject = Subject(Identity(name, parent_session_id=parent, client="pi/1"), "m", Hints(), REGIONS, ())
            self.retention.begin(subject)
            self.retention.end(subject, "stop")
        mirrors = [member.mirror for member in self.box.fleet.members.values()]
        tier = SharedTier(self.box.index, Tier.HOST, mirrors)
        self.arena = HostArena(ArenaPlace(folder / "memory", folder / "locks"), tier)
        self.engine = opened(folder, 8)
        store(self.engine, 1, 2, 3, session="a")
        store(self.engine, 4, session="c")
        self.arena.open()
        self.cache = CacheDesk(self.box.fleet, BLOCK_TOKENS, self.retention, self.arena)

    async def start(self) -> None:
        for worker in self.workers:
            await worker.start()


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    await desk.start()
    return desk


async def test_each_worker_has_a_tier_and_all_have_the_host(desk: Desk) -> None:
    tiers = desk.cache.tiers().tiers
    assert [(tier.tier, tier.worker) for tier in tiers] == [("gpu", 0), ("gpu", 1), ("host", None)]
    assert tiers[2] == TierView("host", None, blocks=8, used=4, held=0, bytes=8 * ROW_BYTES)


async def test_sessions_are_told_the_one_used_last_first_with_what_is_where(desk: Desk) -> None:
    desk.workers[0].owned = {"a": 5, "nobody knows": 1}
    desk.workers[1].owned = {"a": 2, "b": 3}
    told = await desk.cache.sessions(10)
    assert [(one.session, one.parent, one.prompt_tokens) for one in told.sessions] == [
        ("c", None, 100),
        ("b", "a", 100),
        ("a", None, 100),
    ]
    assert [one.gpu_tokens for one in told.sessions] == [
        {},
        {"1": 3 * BLOCK_TOKENS},
        {"0": 5 * BLOCK_TOKENS, "1": 2 * BLOCK_TOKENS},
    ]
    assert [one.host_tokens for one in told.sessions] == [BLOCK_TOKENS, 0, 3 * BLOCK_TOKENS]
    assert [one.session for one in (await desk.cache.sessions(2)).sessions] == ["c", "b"]
    assert told.total == 3


async def test_a_session_is_told_with_its_turns_its_client_and_what_the_lacking_takes(desk: Desk) -> None:
    desk.workers[0].owned = {"a": 2, "b": 1000}
    paces: dict[int, float] = {}
    turns = {"a": 7}
    cache = CacheDesk(
        desk.box.fleet,
        BLOCK_TOKENS,
        desk.retention,
        desk.arena,
        turns=turns.get,
        prefill_seconds=lambda tokens: paces.setdefault(tokens, tokens / 8),
    )
    (c, b, a) = (await cache.sessions(3)).sessions
    assert [one.turns for one in (a, b, c)] == [7, None, None]
    assert [one.client for one in (a, b, c)] == ["pi/1", "pi/1", "pi/1"]
    lacking = [100 - 3 * BLOCK_TOKENS, 0, 100 - BLOCK_TOKENS]
    assert [one.lacking_tokens for one in (a, b, c)] == lacking
    assert [one.prefill_seconds for one in (a, b, c)] == [tokens / 8 for tokens in lacking]
    assert 0 not in paces
    assert (await desk.cache.sessions(1)).sessions[0].prefill_seconds is None


async def test_a_worker_that_is_dead_holds_nothing_and_cannot_be_checked(desk: Desk) -> None:
    desk.workers[0].owned, desk.workers[1].owned = {"a": 1}, {"a": 1}
    desk.workers[0].kill()
    (_, _, told) = (await desk.cache.sessions(3)).sessions
    assert told.gpu_tokens == {"1": BLOCK_TOKENS}
    checks = (await desk.cache.verify()).checks
    assert checks[0].error is not None
    assert [check.error for check in checks[1:]] == [None, None]


async def test_what_contradicts_itself_is_told_by_tier(desk: Desk) -> None:
    assert (await desk.cache.verify()).sound
    desk.workers[1].fault = "block 3 is free and held"
    told = await desk.cache.verify()
    assert not told.sound
    assert told.checks[1] == Verified("gpu", 1, "block 3 is free and held")
    desk.workers[1].fault = None
    desk.engine._tables.keys[desk.engine.rows_of(desk.engine.stored_keys()[0])[0]] += 1
    assert [check.error is None for check in (await desk.cache.verify()).checks] == [True, True, False]


async def test_a_tier_is_flushed_but_for_workers_where_requests_run(desk: Desk) -> None:
    flushed: list[int] = []
    desk.cache.on_flush = flushed.append
    desk.workers[0].is_busy = True
    assert (await desk.cache.flush("gpu", None)).flushed == [Flushed("gpu", 0, 0, BUSY), Flushed("gpu", 1, 0)]
    stored = BlockStored(array("Q", [7]), None, array("I", [1] * BLOCK_TOKENS), BLOCK_TOKENS)
    for member in desk.box.fleet.members.values():
        member.mirror.apply(Batch(0.0, (stored,)))
    assert (await desk.cache.flush("gpu", 1)).flushed == [Flushed("gpu", 1, 1)]
    assert [tier.used for tier in desk.cache.tiers().tiers[:2]] == [1, 0]
    assert flushed == [1, 1]
    assert (await desk.cache.flush("host", None)).flushed == [Flushed("host", None, 4)]
    assert desk.cache.tiers().tiers[2].used == 0


async def test_a_tier_or_worker_that_is_not_there_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidRequest, match="there is no worker 7 among"):
        await desk.cache.flush("gpu", 7)
    for tier in ("host", "disk"):
        with pytest.raises(InvalidRequest, match=f"no {tier} tier: cache.{tier}.bytes is 0"):
            await CacheDesk(desk.box.fleet, BLOCK_TOKENS).flush(tier, None)


async def test_without_retention_no_session_is_known(desk: Desk) -> None:
    assert (await CacheDesk(desk.box.fleet, BLOCK_TOKENS).sessions(5)).total == 0


async def test_the_host_is_resized_and_told_as_it_is_now(desk: Desk) -> None:
    assert await desk.cache.resize("host", 5 * ROW_BYTES) == Resized("host", 5, 5 * ROW_BYTES)
    larger = await desk.cache.resize("host", 9 * ROW_BYTES)
    assert (larger.blocks, larger.error is None) == (8, False)


@pytest.mark.parametrize(("tier", "help_text"), [("gpu", "cache.gpu.bytes"), ("disk", "cache.disk.bytes")])
async def test_a_tier_that_cannot_be_resized_is_refused_with_what_would_help(
    desk: Desk, tier: TierName, help_text: str
) -> None:
    with pytest.raises(InvalidRequest, match=help_text):
        await desk.cache.resize(tier, 2**30)
