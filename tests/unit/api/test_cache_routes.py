from __future__ import annotations

from typing import Any

import httpx
import pytest

from appliance.api.app import create_app
from tests.unit.api.scripted import ScriptedBox, ScriptedInference

ROUTES = [("GET", ""), ("GET", "/sessions"), ("POST", "/verify"), ("POST", "/flush"), ("POST", "/resize")]


@pytest.fixture
def box() -> ScriptedBox:
    return ScriptedBox()


async def ask(box: ScriptedBox, method: str, path: str, body: Any = None, client: str = "127.0.0.1") -> httpx.Response:
    app = create_app(ScriptedInference(), box, max_body_bytes=10_000, max_requests=1)
    transport = httpx.ASGITransport(app, client=(client, 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://box") as http:
        return await http.request(method, f"/box/v1/cache{path}", json=body)


async def test_each_tier_is_shown(box: ScriptedBox) -> None:
    shown = (await ask(box, "GET", "")).json()
    assert [(tier["tier"], tier["worker"]) for tier in shown["tiers"]] == [("gpu", 0), ("host", None)]


async def test_as_many_sessions_are_shown_as_asked_for(box: ScriptedBox) -> None:
    assert len((await ask(box, "GET", "/sessions?limit=1")).json()["sessions"]) == 1
    assert len((await ask(box, "GET", "/sessions")).json()["sessions"]) == 2
    assert (await ask(box, "GET", "/sessions?limit=0")).status_code == 400


async def test_what_contradicts_itself_is_told(box: ScriptedBox) -> None:
    shown = (await ask(box, "POST", "/verify")).json()
    assert (shown["sound"], shown["checks"][0]["error"]) == (False, "two blocks are one")


async def test_a_tier_is_flushed_of_one_worker_or_of_all(box: ScriptedBox) -> None:
    await ask(box, "POST", "/flush", {"tier": "gpu", "worker": 1})
    await ask(box, "POST", "/flush", {"tier": "host"})
    assert box.cache_desk.flushed == [("gpu", 1), ("host", None)]


async def test_a_tier_is_resized_to_so_many_bytes(box: ScriptedBox) -> None:
    answer = (await ask(box, "POST", "/resize", {"tier": "host", "bytes": 2**30})).json()
    assert box.cache_desk.resized == [("host", 2**30)]
    assert answer == {"tier": "host", "blocks": 7, "bytes": 2**30, "error": None}


@pytest.mark.parametrize(
    ("body", "said"), [({"tier": "host"}, "bytes"), ({"bytes": 7}, "tier"), ({"tier": "host", "bytes": 0}, "bytes")]
)
async def test_a_size_that_is_none_is_refused(box: ScriptedBox, body: Any, said: str) -> None:
    response = await ask(box, "POST", "/resize", body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, said)
    assert box.cache_desk.resized == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "tier"),
        ({"tier": "hots"}, "did you mean host?"),
        ({"tier": 1}, "one of gpu, host, disk"),
        ({"tier": "gpu", "worker": -1}, "worker"),
        ({"tier": "gpu", "worker": "0"}, "worker"),
    ],
)
async def test_what_is_no_tier_or_worker_is_refused_by_name_and_changes_nothing(
    box: ScriptedBox, body: Any, said: str
) -> None:
    response = await ask(box, "POST", "/flush", body)
    assert response.status_code == 400
    assert said in response.json()["error"]["message"]
    assert box.cache_desk.flushed == []


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_only_who_is_on_this_machine_may_ask(box: ScriptedBox, method: str, path: str) -> None:
    assert (await ask(box, method, path, {"tier": "gpu"}, client="192.0.2.7")).status_code == 403
    assert box.cache_desk.flushed == []
