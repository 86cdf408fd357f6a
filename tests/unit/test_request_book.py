from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest

from appliance.cache.explain import unexplained_tokens
from appliance.cache.ledger import Emptied, Reason, Source, TokenRange
from appliance.cache.region import Region
from appliance.conversation import Conversation, Hints, Identity, Message, Role, Text
from appliance.engine.retention.eviction import Eviction
from appliance.eviction_log import Evicted
from appliance.explainer import Explainer
from appliance.lost_blocks import LostBlocks
from appliance.records import Outcome, Record, RequestRecord, SessionRecord
from appliance.request_book import PATIENCE_SECONDS, RequestBook
from appliance.request_entry import Entry
from appliance.router.hashing import Hashes
from appliance.router.router import RoutingPolicy
from tests.unit.scripted_worker import (
    BLOCK_TOKENS,
    DIE,
    Play,
    ScriptedBox,
    ScriptedStep,
    ScriptedWorker,
    conversation,
    steps_of,
    token_of,
    until,
)


class Recorded:
    def __init__(self) -> None:
        self.records: list[Record] = []

    def record(self, record: Record) -> None:
        self.records.append(record)

    def sessions(self) -> list[SessionRecord]:
        return [one for one in self.records if isinstance(one, SessionRecord)]


class Booked:
    """A scripted box whose book is seen."""

    def __init__(self, box: ScriptedBox, lost: LostBlocks, *, hears_evictions: bool = False) -> None:
        self.box, self.lost, self.recorded, self.now, self.passed = box, lost, Recorded(), 100.0, 0.0
        explainer = Explainer(BLOCK_TOKENS, None, lost)
        self.book = RequestBook(
            explainer,
            self.recorded,
            hears_evictions=hears_evictions,
            clock=lambda: self.now,
            monotonic=lambda: self.passed,
            most=3,
        )
        box.pipeline.book = self.book

    def hashes(self, text: str) -> Hashes:
        return self.box.router.route([token_of(character) for character in text]).hashes

    async def ask(self, text: str, session: str | None = None, **fields: Any) -> RequestRecord:
        await self.box.ask(conversation(text, identity=Identity(session_id=session, client="c"), **fields))
        await self.book.settle()
        self.book.check_integrity()
        return self.book.newest(1)[0]


def answer(text: str = "abc", cached_tokens: int = 0) -> list[ScriptedStep]:
    return steps_of(list(text), cached_tokens=cached_tokens)


@asynccontextmanager
async def booked(*scripts: Iterable[Play], workers: int = 1, **options: Any) -> AsyncIterator[Booked]:
    played = [ScriptedWorker(number, *cast("Any", scripts)) for number in range(workers)]
    async with ScriptedBox(*played, policy=RoutingPolicy.KV) as box:
        held = Booked(box, LostBlocks(lambda _, engine_hash: engine_hash, lambda _: 60.0), **options)
        try:
            yield held
        finally:
            await held.book.settle()
            held.book.close()


def told(record: RequestRecord) -> list[tuple[int, int, str]]:
    return [(one.start, one.end, one.reason or one.source) for one in record.ranges]


async def test_a_record_has_what_was_asked_what_came_and_every_token() -> None:
    async with booked(answer()) as held:
        record = await held.ask("hello", "s", hints=Hints(priority=3))
    assert (record.session, record.turn, record.client, record.worker) == ("s", 1, "c", 0)
    assert (record.prompt_tokens, record.cached_tokens, record.completion_tokens) == (5, 0, 3)
    assert (record.outcome, record.finish, record.hints, record.error) == (
        Outcome.FINISHED,
        "stop",
        {"priority": 3},
        None,
    )
    assert told(record) == [(0, 4, "first_request"), (4, 5, "below_block_boundary")]


async def test_the_next_turn_is_new_but_for_what_fills_no_block() -> None:
    async with booked(answer("abc"), answer(cached_tokens=6)) as held:
        await held.ask("hello", "s")
        record = await held.ask("helloabcdefg", "s")
    assert record.turn == 2
    assert told(record) == [
        (0, 6, "gpu"),
        (6, 7, "below_block_boundary"),
        (7, 10, "first_request"),
        (10, 12, "below_block_boundary"),
    ]


async def test_a_changed_word_diverges_where_it_stands() -> None:
    async with booked(answer(), answer(cached_tokens=2)) as held:
        first = await held.ask("hello world", "s")
        record = await held.ask("help  world, again", "s")
    assert told(record)[:3] == [(0, 2, "gpu"), (2, 3, "below_block_boundary"), (3, 13, "diverged")]
    (divergence,) = [one.divergence for one in record.ranges if one.divergence is not None]
    assert (divergence.token, divergence.place, divergence.against) == (3, "user", first.id)
    assert (divergence.before, divergence.now) == (None, None)


async def test_what_was_asked_before_and_is_gone_is_evicted_by_whoever_needed_the_room() -> None:
    async with booked(answer(), answer()) as held:
        await held.ask("hello world", "s")
        hashes = held.hashes("hello world")
        lost = Eviction(1, int(hashes[1]), 2, "s", "t", "r9.0-0123abcd", 35, "p:1", 5.0, False)
        held.lost.add([Evicted(90.0, 0, Region.USER, lost)])
        record = await held.ask("hello world", "s")
    assert [one.reason for one in record.ranges] == [Reason.EVICTED, Reason.EVICTED, Reason.BELOW_BLOCK_BOUNDARY]
    unknown, known, _ = record.ranges
    assert (unknown.tokens, unknown.blame) == (2, None)
    assert known.blame is not None
    assert (known.blame.session, known.blame.request, known.blame.age_seconds) == ("t", "r9", 5.0)
    assert held.book.misses.unexplained == unexplained_tokens(record.ranges) == 2
    assert held.book.misses.tokens[Reason.EVICTED] == 10


async def test_a_request_waits_until_its_worker_has_told_of_evictions() -> None:
    async with booked(answer(), hears_evictions=True) as held:
        await held.box.ask(conversation("hello"))
        held.book.heard(0, 99.0)
        held.book.heard(1, 200.0)
        assert held.book.num_pending == 1
        finding = asyncio.create_task(held.book.find("r0"))
        last = asyncio.create_task(held.book.find("last"))
        await asyncio.sleep(0)
        held.book.heard(0, 100.0)
        found = await finding
        assert found is not None
        assert found == await last == await held.book.find("r0") == await held.book.find("last")
        assert held.book.num_pending == 0
        assert await held.book.find("r7") is None


async def test_a_request_waits_no_longer_than_that() -> None:
    async with booked(answer(), answer(), hears_evictions=True) as held:
        await held.box.ask(conversation("hello"))
        held.now -= 3600
        held.passed += PATIENCE_SECONDS
        held.book.heard(0, 0.0)
        await until(lambda: held.book.num_pending == 0)
        assert len(held.book) == 1


@pytest.mark.parametrize("limit", ["MOST_PENDING", "MOST_PENDING_TOKENS"])
async def test_of_too_many_that_wait_none_waits_longer(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"appliance.request_book.{limit}", {"MOST_PENDING": 2, "MOST_PENDING_TOKENS": 14}[limit])
    async with booked(*[answer() for _ in range(3)], hears_evictions=True) as held:
        for _ in range(2):
            await held.box.ask(conversation("hello"))
        assert held.book.num_pending == 2
        await held.box.ask(conversation("hello"))
        await until(lambda: held.book.num_pending < 3)
        assert len(held.book) > 0


async def test_the_newest_are_kept_and_found_by_session_and_time() -> None:
    async with booked(*[answer() for _ in range(5)]) as held:
        for number in range(5):
            held.now += 1
            await held.ask("hello", "ab"[number % 2])
        assert [record.arrived_at for record in held.book.newest(9)] == [105.0, 104.0, 103.0]
        assert [record.session for record in held.book.newest(9, "b")] == ["b"]
        assert len(held.book.newest(9, since=104.0)) == 2
        assert [record.arrived_at for record in held.book.newest(9, since=104.0, until=104.5)] == [104.0]
        assert len(held.book.newest(1)) == 1


async def test_one_that_fails_before_an_engine_has_read_it_has_no_ranges_but_a_reason() -> None:
    async with booked([DIE], [DIE], [DIE]) as held:
        with pytest.raises(Exception, match=r"Two engines|No worker"):
            await held.box.ask(conversation("hello"))
        await held.book.settle()
        (record,) = held.book.newest(9)
    assert (record.outcome, record.ranges, record.cached_tokens) == (Outcome.FAILED, (), 0)
    assert record.error


async def test_one_that_its_client_leaves_is_explained_all_the_same() -> None:
    waiting = asyncio.Event()
    async with booked([*answer()[:1], waiting]) as held:
        prepared = await held.box.pipeline.prepare(conversation("hello"), "r0")
        events = prepared.events()
        await anext(events)
        await events.aclose()
        await held.book.settle()
        (record,) = held.book.newest(9)
    assert (record.outcome, sum(one.tokens for one in record.ranges)) == (Outcome.ABORTED, 5)


async def test_sessions_are_recorded_with_their_turns_and_state() -> None:
    async with booked(answer(), answer()) as held:
        await held.ask("hello", "s")
        held.now += 5
        await held.ask("hello there", "s")
    last = held.recorded.sessions()[-1]
    assert (last.name, last.turns, last.state) == ("s", 2, "idle")
    assert (last.first_seen_at, last.last_used_at, last.prompt_tokens) == (100.0, 105.0, 11)


async def test_a_session_goes_on_after_a_restart_and_what_it_had_is_gone() -> None:
    async with booked(answer(), answer()) as held:
        held.book.resume([SessionRecord("s", None, None, "m", "idle", 6, 50.0, 90.0, 8)])
        record = await held.ask("hello world", "s")
        assert (record.turn, held.recorded.sessions()[-1].first_seen_at) == (7, 50.0)
        assert (held.book.sessions.turns("s"), held.book.sessions.turns("other")) == (7, None)
        assert told(record) == [(0, 8, "evicted"), (8, 10, "first_request"), (10, 11, "below_block_boundary")]
        blame = record.ranges[0].blame
        assert blame is not None
        assert (blame.rule, blame.at, held.book.misses.unexplained) == ("box ended", 100.0, 0)


async def test_what_a_worker_had_before_it_ended_is_gone_with_it() -> None:
    async with booked(answer(), answer(), answer()) as held:
        await held.ask("hello world", "s")
        held.now += 1
        held.book.emptied(0, Emptied.WORKER_ENDED)
        held.now += 1
        lost = (await held.ask("hello world", "s")).ranges[0]
        assert lost.blame is not None
        assert (lost.tokens, lost.blame.rule, lost.blame.at, lost.worker) == (10, "worker ended", 101.0, 0)
        again = (await held.ask("hello world", "s")).ranges[0]
        assert (again.reason, again.blame) == (Reason.EVICTED, None)


def _fails(entry: Entry) -> tuple[TokenRange, ...]:
    raise ZeroDivisionError(entry.name)


async def test_a_mistake_in_explaining_costs_no_record() -> None:
    async with booked(answer(), answer()) as held:
        held.book.explainer.explain = _fails  # type: ignore[method-assign]
        record = await held.ask("hello")
        assert (record.ranges, held.book.num_failed) == ((), 1)


async def test_another_conversation_with_the_same_system_text_is_new_behind_it() -> None:
    def opening(system: str, text: str) -> Conversation:
        return conversation(messages=(Message(Role.SYSTEM, (Text(system),)), Message(Role.USER, (Text(text),))))

    async with booked(answer(), answer()) as held:
        await held.box.ask(opening("be good", "hello"))
        await held.box.ask(opening("be good", "bye"))
        await held.book.settle()
        record = held.book.newest(1)[0]
    assert Reason.DIVERGED not in {one.reason for one in record.ranges}
    assert {one.source for one in record.ranges} == {Source.RECOMPUTED}


async def test_a_request_is_recorded_when_it_ends_and_again_when_it_is_explained() -> None:
    async with booked(answer()) as it:
        record = await it.ask("x" * 3 * BLOCK_TOKENS, "s")
        first, second = (one for one in it.recorded.records if isinstance(one, RequestRecord))
        assert second == record
        assert second.ranges
        assert first == replace(record, ranges=())
