"""What the box remembers, over HTTP."""

from __future__ import annotations

import httpx
import pytest

from appliance.api.app import create_app
from appliance.api.history_views import DEFAULT_LISTED, MAX_LISTED
from tests.unit.api.scripted import ScriptedBox, ScriptedInference


async def ask(route: str, box: ScriptedBox | None = None, client: str = "127.0.0.1") -> httpx.Response:
    app = create_app(ScriptedInference(), box or ScriptedBox(), max_body_bytes=10_000, max_requests=1)
    transport = httpx.ASGITransport(app, client=(client, 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://box") as http:
        return await http.get(f"/box/v1/{route}")


async def test_sessions_are_listed_as_asked_for() -> None:
    box = ScriptedBox()
    assert [one["session"] for one in (await ask("sessions", box)).json()["sessions"]] == ["s2", "s1"]
    assert box.history_desk.asked == [None, DEFAULT_LISTED]
    await ask("sessions?since=12.5&limit=1", box)
    assert box.history_desk.asked == [12.5, 1]


async def test_past_evictions_are_listed_as_asked_for() -> None:
    box = ScriptedBox()
    (one,) = (await ask("evictions/history?session=s1&since=1&until=2.5&limit=7", box)).json()["evictions"]
    assert box.history_desk.asked == ["s1", 1.0, 2.5, 7]
    assert (one["owner"], one["cause_session"], one["rule"]) == ("s1", "s2", "mine.toml:9")


async def test_decisions_are_listed_until_a_time() -> None:
    box = ScriptedBox()
    assert (await ask("routing/history?until=12.5&limit=7", box)).json() == {"decisions": []}
    assert box.history_desk.asked == [12.5, 7]


async def test_a_snapshot_is_of_the_second_that_is_asked_for() -> None:
    assert (await ask("snapshot?at=150.5")).json() == {"at": 150.0, "status": {"phase": "running"}}
    assert (await ask("snapshot")).json()["at"] == 200.0
    missing = await ask("snapshot?at=99")
    assert missing.status_code == 404
    assert "no second until 99" in missing.json()["error"]["message"]


async def test_what_was_seen_is_shown_with_its_second_or_is_not_remembered() -> None:
    box = ScriptedBox()
    assert (await ask("cache/sessions/history?at=150", box)).json() == {
        "at": 100.0,
        "sessions": {"sessions": [], "total": 0},
    }
    assert (await ask("prefixes/history?at=150", box)).json()["prefixes"]["block_tokens"] == 16
    for query, worker in (("", 0), ("worker=1&", 1), ("tier=host&", "host")):
        missing = await ask(f"blocks/history?{query}at=12.5", box)
        assert missing.status_code == 404
        assert box.history_desk.asked == [worker, 12.5]
    assert "no map of it until 12.5" in missing.json()["error"]["message"]
    assert (await ask("cache/sessions/history?at=99", box)).status_code == 404


@pytest.mark.parametrize(
    ("route", "name"),
    [
        ("sessions?limit=0", "limit"),
        (f"sessions?limit={MAX_LISTED + 1}", "limit"),
        ("sessions?since=yesterday", "since"),
        ("sessions?since=-1", "since"),
        ("evictions/history?until=nan", "until"),
        ("evictions/history?since=1e300", "since"),
        ("snapshot?at=٣", "at"),
        ("cache/sessions/history?at=soon", "at"),
        ("blocks/history?tier=host&worker=0", "worker"),
        ("blocks/history?tier=remote", "tier"),
        ("prefixes/history?at=-1", "at"),
        ("routing/history?until=soon", "until"),
        ("routing/history?limit=0", "limit"),
    ],
)
async def test_what_is_no_time_or_number_is_refused_by_name(route: str, name: str) -> None:
    response = await ask(route)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == name


@pytest.mark.parametrize(
    "route",
    [
        "sessions",
        "evictions/history",
        "snapshot",
        "routing/history",
        "blocks/history",
        "prefixes/history",
        "cache/sessions/history",
    ],
)
async def test_it_is_for_those_on_the_machine(route: str) -> None:
    assert (await ask(route, client="10.0.0.9")).status_code == 403
