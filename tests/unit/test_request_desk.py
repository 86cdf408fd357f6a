from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from appliance.api.chat import ChatCodec
from appliance.api.completions import CompletionsCodec
from appliance.api.messages import MessagesCodec
from appliance.api.request_views import ActiveRequestView
from appliance.api.responses import ResponsesCodec
from appliance.cache.ledger import Reason
from appliance.conversation import Identity
from appliance.records import RequestRecord
from appliance.request_desk import PROTOCOLS, RequestDesk, request_view
from appliance.state.database import Database
from appliance.state.keeping import Keeping
from tests.unit.records import blame, changed, computed, read, record
from tests.unit.scripted_worker import ScriptedBox, ScriptedWorker, conversation, steps_of, until

FULL = record(
    read(0, 16),
    computed(16, 32, Reason.EVICTED, blame=blame()),
    computed(32, 60, Reason.DIVERGED, divergence=changed(rule="dates")),
    computed(60, 64, Reason.ROUTED_ELSEWHERE, worker=1),
    hints={"priority": 3},
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "state.db", Keeping(1e12, 0))
    assert database.start() == []
    yield database
    database.stop()


@asynccontextmanager
async def opened(database: Database | None = None, *, requests: int = 1) -> AsyncIterator[RequestDesk]:
    scripts = [steps_of(["a", "b"]) for _ in range(requests)]
    async with ScriptedBox(ScriptedWorker(0, *scripts)) as box:
        for _ in range(requests):
            await box.ask(conversation("hello"))
        await box.pipeline.book.settle()
        yield RequestDesk(box.pipeline, {"clock"}, has_host_tier=False, database=database, clock=lambda: 110.0)
        box.pipeline.book.close()


def old(name: str, at: float, *, client: str = "c") -> RequestRecord:
    return record(*FULL.ranges, id=name, arrived_at=at, session="old", client=client)


def test_a_view_has_every_field_of_the_record() -> None:
    view = request_view(FULL)
    assert (view.id, view.outcome, view.hints, view.cached_tokens) == ("r1", "finished", {"priority": 3}, 16)
    assert [one.source for one in view.ranges] == ["gpu", *["recomputed"] * 3]
    gpu, evicted, diverged, elsewhere = view.ranges
    assert (gpu.reason, elsewhere.reason, elsewhere.worker) == (None, "routed_elsewhere", 1)
    assert evicted.blame is not None
    assert (evicted.blame.session, evicted.blame.at) == ("sub", 58.0)
    assert diverged.divergence is not None
    assert (diverged.divergence.place, diverged.divergence.rule) == ("system", "dates")


async def test_a_request_is_found_listed_and_explained() -> None:
    async with opened() as desk:
        assert [one.id for one in (await desk.newest(9, None, None)).requests] == ["r0"]
        found, why = await desk.find("last"), await desk.why("r0")
        assert found is not None
        assert why is not None
        assert (found.id, why.request) == ("r0", found)
        assert [(one.tokens, one.reason) for one in why.findings] == [(4, "first_request"), (1, "below_block_boundary")]
        assert all(one.seconds is not None and one.seconds > 0 for one in why.findings)
        assert await desk.find("r7") is None
        assert await desk.why("r7") is None


async def test_those_under_way_are_listed_with_how_far_they_are() -> None:
    now, go, rest = [0.0], asyncio.Event(), asyncio.Event()
    steps = steps_of(["a", "b"], cached_tokens=2)
    worker = ScriptedWorker(0, [go, steps[0], rest, steps[1]])
    asked = conversation("hello", identity=Identity("s"))
    async with ScriptedBox(worker, clock=lambda: now[0]) as box:
        desk = RequestDesk(box.pipeline, {"clock"}, has_host_tier=False)

        async def active(session: str | None = None) -> list[ActiveRequestView]:
            return (await desk.newest(9, session, None)).active

        asking = asyncio.create_task(box.ask(asked))
        await until(lambda: bool(worker.calls))
        now[0] = 3.0
        (one,) = await active("s")
        assert (one.id, one.session, one.turn, one.phase, one.worker) == ("r0", "s", 1, "prefill", 0)
        assert (one.prompt_tokens, one.cached_tokens, one.completion_tokens) == (5, None, 0)
        assert (one.total_seconds, one.protocol) == (3.0, None)
        go.set()
        await until(lambda: box.accounts.since_start().prompt_tokens > 0)
        (one,) = await active()
        assert (one.phase, one.cached_tokens, one.completion_tokens) == ("decode", 2, 1)
        assert one.first_token_seconds == 3.0
        assert await active("other") == []
        rest.set()
        await asking
        assert await active() == []
        await box.pipeline.book.settle()
        box.pipeline.book.close()


async def test_one_that_has_no_place_yet_waits_and_is_told_how_long() -> None:
    now, go = [0.0], asyncio.Event()
    worker = ScriptedWorker(0, [go, *steps_of(["a"])], steps_of(["b"]))
    worker.seats = 1
    async with ScriptedBox(worker, clock=lambda: now[0]) as box:
        desk = RequestDesk(box.pipeline, (), has_host_tier=False)
        asking = [asyncio.create_task(box.ask(conversation(text))) for text in ("hello", "world")]
        await until(lambda: len(box.pipeline.dispatcher.room) == 1)
        now[0] = 2.0
        last, first = (await desk.newest(9, None, None)).active
        assert (last.id, last.phase, last.worker, last.queued_seconds) == ("r1", "waiting", None, 2.0)
        assert (first.id, first.phase, first.queued_seconds) == ("r0", "prefill", 0.0)
        assert [one.id for one in (await desk.newest(1, None, None)).active] == ["r1"]
        go.set()
        await asyncio.gather(*asking)
        await box.pipeline.book.settle()
        box.pipeline.book.close()


def test_the_protocol_is_told_by_the_codecs_own_beginnings_of_ids() -> None:
    codecs: dict[str, Any] = {
        "chat": ChatCodec,
        "completions": CompletionsCodec,
        "messages": MessagesCodec,
        "responses": ResponsesCodec,
    }
    assert {codec.id_prefix: name for name, codec in codecs.items()} == PROTOCOLS


async def test_what_the_book_has_not_any_more_the_database_has(database: Database) -> None:
    for name, at in (("o1", 10.0), ("o2", 20.0)):
        database.record(old(name, at))
    async with opened(database) as desk:
        assert [one.id for one in (await desk.newest(9, None, None)).requests] == ["r0", "o2", "o1"]
        assert [one.id for one in (await desk.newest(2, None, None)).requests] == ["r0", "o2"]
        assert [one.id for one in (await desk.newest(9, "old", 15.0)).requests] == ["o2"]
        why = await desk.why("o1")
        assert why is not None
        assert "session old" in why.asked
        last = await desk.find("last")
        assert last is not None
        assert last.id == "r0"


async def test_after_a_restart_the_last_request_is_the_last_that_was_recorded(database: Database) -> None:
    for name, at in (("o2", 20.0), ("o1", 10.0)):
        database.record(old(name, at))
    async with opened(database, requests=0) as desk:
        last = await desk.find("last")
        assert last is not None
        assert last.id == "o2"


async def test_a_database_that_cannot_be_read_hides_nothing_of_the_book(tmp_path: Path) -> None:
    unopened = Database(tmp_path / "state.db", Keeping(1e12, 0))
    async with opened(unopened) as desk:
        assert [one.id for one in (await desk.newest(9, None, None)).requests] == ["r0"]


async def test_what_clients_change_is_told_of_the_time_that_is_asked_for(database: Database) -> None:
    for name, at in (("o1", 10.0), ("o2", 50.0), ("o3", 60.0)):
        database.record(old(name, at))
    async with opened(database, requests=0) as desk:
        told = await desk.lint(65.0)
    (found,) = told.busters
    assert (told.requests, found.requests, found.of, found.tokens) == (2, 2, 2, 2 * 28)
    assert (found.rule, found.is_on, found.client, found.last) == ("dates", False, "c", "o3")
    assert found.seconds > 0
