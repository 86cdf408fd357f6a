from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from appliance.api.app import create_app
from appliance.api.event_routes import MAX_READERS
from appliance.box_events import Dropped, PhaseChanged
from appliance.event_bus import EventBus
from tests.unit.api.scripted import Connection, ScriptedBox, ScriptedInference, new_app
from tests.unit.scripted_worker import until

ROUTE = "/box/v1/events"


def box_with(count: int = 3, *, most: int = 100) -> ScriptedBox:
    """Whose bus is open."""
    box = ScriptedBox()
    box.events = EventBus(7, most_remembered=most, clock=lambda: 5.0)
    for number in range(count):
        box.events.emit(Dropped("x", number))
    return box


async def ask(
    box: ScriptedBox, query: str = "?from=oldest&follow=false", last_id: str | None = None, client: str = "127.0.0.1"
) -> httpx.Response:
    app = create_app(ScriptedInference(), box, max_body_bytes=10_000, max_requests=1)
    headers = {} if last_id is None else {"last-event-id": last_id}
    transport = httpx.ASGITransport(app, client=(client, 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://box") as http:
        return await http.get(ROUTE + query, headers=headers)


def events_of(text: str) -> list[tuple[str, str, Any]]:
    """Id, type and content of each event; what only names an id is none."""
    found = []
    for part in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in part.splitlines() if not line.startswith(":"))
        if "data" in lines:
            found.append((lines["id"], lines["event"], json.loads(lines["data"])))
    return found


async def test_what_is_remembered_is_told_with_number_time_and_type() -> None:
    response = await ask(box_with(2))
    assert response.headers["content-type"].startswith("text/event-stream")
    first, second = events_of(response.text)
    assert first[:2] == ("7-1", "drops")
    assert second == ("7-2", "drops", {"number": 2, "at": 5.0, "event": {"type": "drops", "what": "x", "count": 1}})


async def test_a_reader_goes_on_behind_the_last_event_that_it_has() -> None:
    for query, last_id in (("?follow=false", "7-2"), ("?follow=false&last_event_id=7-2", None)):
        response = await ask(box_with(4), query, last_id)
        assert [event[0] for event in events_of(response.text)] == ["7-3", "7-4"]


async def test_without_a_place_it_begins_now() -> None:
    assert events_of((await ask(box_with(4), "?follow=false")).text) == []


async def test_a_reader_that_was_away_for_too_long_is_told_how_much_it_missed() -> None:
    response = await ask(box_with(10, most=4), last_id="7-2", query="?follow=false")
    missed, *rest = events_of(response.text)
    assert missed[:2] == ("7-6", "missed")
    assert missed[2]["event"] == {"type": "missed", "count": 4}
    assert [event[0] for event in rest] == ["7-7", "7-8", "7-9", "7-10"]


@pytest.mark.parametrize("last_id", ["6-2", "7-99"])
async def test_the_id_of_another_box_begins_anew_and_says_that_nobody_knows_how_much_was_missed(last_id: str) -> None:
    response = await ask(box_with(1), last_id=last_id, query="?follow=false")
    missed, first = events_of(response.text)
    assert missed[2]["event"] == {"type": "missed", "count": None}
    assert first[0] == "7-1"


async def test_only_events_of_the_types_asked_for_come() -> None:
    box = box_with(2)
    box.events.emit(PhaseChanged("draining"))
    response = await ask(box, "?from=oldest&follow=false&types=phase,policy")
    assert [event[1] for event in events_of(response.text)] == ["phase"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?types=drop", "did you mean drops?"),
        ("?from=yesterday", "from: 'yesterday' is not allowed; use one of now, oldest"),
        ("?follow=maybe", "follow"),
        ("?last_event_id=last", "Last-Event-ID: 'last' is not allowed"),
    ],
)
async def test_what_is_wrong_is_told(query: str, message: str) -> None:
    response = await ask(box_with(), query)
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]


async def test_strangers_see_nothing() -> None:
    assert (await ask(box_with(), client="10.0.0.9")).status_code == 403


async def test_a_reader_gets_what_happens_while_it_listens_until_the_box_ends() -> None:
    box = box_with(1)
    reader = Connection(new_app(ScriptedInference(), box), {}, path=ROUTE, method="GET")
    await reader.until_sent(b"id: 7-1")
    box.events.emit(PhaseChanged("draining"))
    await reader.until_sent(b"draining")
    box.events.close()
    await reader.task
    assert [event[0] for event in events_of(reader.body.decode())] == ["7-2"]
    assert reader.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_a_reader_that_leaves_leaves_nothing_behind() -> None:
    box = box_with(1)
    reader = Connection(new_app(ScriptedInference(), box), {}, path=ROUTE, method="GET")
    await until(lambda: bool(box.events._waiting))
    reader.leave()
    await reader.task
    assert not box.events._waiting


async def test_there_is_room_for_so_many_readers_and_no_more() -> None:
    box = box_with(1)
    app = new_app(ScriptedInference(), box)
    readers = [Connection(app, {}, path=ROUTE, method="GET") for _ in range(MAX_READERS)]
    await until(lambda: len(box.events._waiting) == MAX_READERS)
    one_more = Connection(app, {}, path=ROUTE, method="GET")
    await one_more.task
    assert one_more.status == 503
    box.events.close()
    await asyncio.gather(*(reader.task for reader in readers))
