from __future__ import annotations

import httpx
import pytest

from appliance.api.app import create_app
from tests.unit.api.scripted import ScriptedBox, ScriptedInference


async def get(box: ScriptedBox, route: str, client: str = "127.0.0.1") -> httpx.Response:
    app = create_app(ScriptedInference(), box, max_body_bytes=10_000, max_requests=1)
    transport = httpx.ASGITransport(app, client=(client, 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://box") as http:
        return await http.get(f"/box/v1/{route}")


async def test_a_map_of_a_worker_is_shown_in_as_many_cells_as_asked_for() -> None:
    box = ScriptedBox()
    found = (await get(box, "blocks?tier=gpu&worker=1&cells=64")).json()
    assert (found["worker"], found["owner"], found["reuse"]) == (1, [0, None], [2, None])
    await get(box, "blocks")
    assert box.block_desk.asked == [(1, 64), (0, 1024)]


async def test_a_map_of_the_host_tier_is_of_no_worker() -> None:
    box = ScriptedBox()
    found = (await get(box, "blocks?tier=host&cells=64")).json()
    assert (found["tier"], found["worker"], found["reuse"]) == ("host", None, [None])
    assert box.block_desk.asked == [(None, 64)]
    refused = (await get(box, "blocks?tier=host&worker=0")).json()["error"]
    assert refused["param"] == "worker"
    assert "without a worker" in refused["message"]


async def test_a_map_of_the_disk_is_of_no_worker_and_the_remote_store_has_none() -> None:
    box = ScriptedBox()
    found = (await get(box, "blocks?tier=disk&cells=64")).json()
    assert (found["tier"], found["worker"], found["owner"], found["reuse"]) == ("disk", None, [None], [3])
    refused = (await get(box, "blocks?tier=disk&worker=0")).json()["error"]
    assert "the disk tier is all workers'" in refused["message"]
    remote = await get(box, "blocks?tier=remote")
    assert remote.status_code == 400
    assert remote.json()["error"]["param"] == "tier"
    assert "there is one of gpu, host, disk" in remote.json()["error"]["message"]


async def test_the_prompt_of_a_block_is_shown_and_whose_it_is_must_be_said() -> None:
    found = (await get(ScriptedBox(), "blocks/chain?session=s%20t&token=17")).json()
    assert (found["session"], found["end_token"], found["parts"][0]["tiers"]) == ("s t", 32, {"0": "gpu"})
    refused = (await get(ScriptedBox(), "blocks/chain?token=17")).json()["error"]
    assert (refused["param"], refused["message"]) == ("session", "say whose prompt: session=NAME")


async def test_prefixes_are_shown() -> None:
    found = (await get(ScriptedBox(), "prefixes?limit=5")).json()
    assert [(node["names"], node["end_token"]) for node in found["nodes"]] == [(["s", "t"], 64)]


@pytest.mark.parametrize("route", ["blocks?tier=tape", "blocks?cells=0", "blocks?worker=x", "prefixes?limit=9999"])
async def test_what_is_wrong_is_told(route: str) -> None:
    assert (await get(ScriptedBox(), route)).status_code == 400


@pytest.mark.parametrize("route", ["blocks", "blocks/chain?session=s", "prefixes"])
async def test_strangers_see_nothing(route: str) -> None:
    assert (await get(ScriptedBox(), route, client="10.0.0.9")).status_code == 403
