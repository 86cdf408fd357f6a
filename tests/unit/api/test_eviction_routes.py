from __future__ import annotations

import httpx
import pytest

from appliance.api.app import create_app
from appliance.api.eviction_page import EvictedBlock
from appliance.api.eviction_routes import MAX_LIMIT
from tests.unit.api.scripted import ScriptedBox, ScriptedInference


def evicted(number: int) -> EvictedBlock:
    return EvictedBlock(
        number=number,
        at=5.0,
        worker=0,
        block_hash="01ff",
        first_token=32,
        region="system",
        owner="a",
        age_seconds=1.5,
        priority=90,
        rule="coding-agent.toml:9",
        awaited=False,
        cause="other_session",
        cause_session=None,
        cause_request="r",
    )


async def ask(query: str = "", client: str = "127.0.0.1") -> httpx.Response:
    box = ScriptedBox()
    box.evicted = [evicted(number) for number in range(300)]
    app = create_app(ScriptedInference(), box, max_body_bytes=10_000, max_requests=1)
    transport = httpx.ASGITransport(app, client=(client, 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://box") as http:
        return await http.get(f"/box/v1/evictions{query}")


async def test_evictions_are_shown_as_many_as_asked_for_and_a_hundred_otherwise() -> None:
    assert len((await ask()).json()["evictions"]) == 100
    shown = (await ask("?since=4&limit=2")).json()
    assert [one["number"] for one in shown["evictions"]] == [4, 5]
    assert shown["evictions"][0]["rule"] == "coding-agent.toml:9"
    assert shown["evictions"][0]["cause_session"] is None


@pytest.mark.parametrize("query", ["limit=0", f"limit={MAX_LIMIT + 1}", "limit=many", "since=-1", "since=1.5"])
async def test_what_is_no_number_in_range_is_refused_by_name(query: str) -> None:
    response = await ask(f"?{query}")
    assert response.status_code == 400
    error = response.json()["error"]
    name, _, value = query.partition("=")
    assert error["param"] == name
    assert value in error["message"]


async def test_only_who_is_on_this_machine_may_see_them() -> None:
    assert (await ask(client="192.0.2.7")).status_code == 403
    assert (await ask(client="::1")).status_code == 200
