from __future__ import annotations

import httpx
import pytest

from appliance.api.app import create_app
from tests.unit.api.scripted import ScriptedBox, ScriptedInference


async def ask(box: ScriptedBox, path: str, client: str = "127.0.0.1", method: str = "GET") -> httpx.Response:
    app = create_app(ScriptedInference(), box, max_body_bytes=10_000, max_requests=1)
    transport = httpx.ASGITransport(app, client=(client, 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://box") as http:
        return await http.request(method, f"/box/v1/requests{path}")


async def test_the_newest_are_listed_of_all_sessions_or_of_one_from_and_until_a_time() -> None:
    box = ScriptedBox()
    told = (await ask(box, "")).json()
    ((listed,), (active,)) = told["requests"], told["active"]
    assert (active["id"], active["phase"], active["cached_tokens"]) == ("msg_t2", "decode", 48)
    assert (listed["id"], listed["ranges"][1]["blame"]["session"]) == ("chatcmpl-t1", "sub")
    await ask(box, "?limit=3&session=a%20b&since=1.5&until=9")
    assert box.request_desk.asked == [(50, None, None, None), (3, "a b", 1.5, 9.0)]


@pytest.mark.parametrize("name", ["chatcmpl-t1", "last"])
async def test_one_is_found_by_the_id_of_its_answer(name: str) -> None:
    box = ScriptedBox()
    assert (await ask(box, f"/{name}")).json()["id"] == "chatcmpl-t1"
    told = (await ask(box, f"/{name}/why")).json()
    assert (told["asked"], told["findings"][0]["advice"]) == ("session s asked", "more memory")


@pytest.mark.parametrize("path", ["/other", "/other/why"])
async def test_one_that_is_not_known_is_told_with_what_to_ask_for(path: str) -> None:
    answer = await ask(ScriptedBox(), path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_request")
    assert "the id of an answer, or last" in answer.text


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "since=x", "since=-1", "since=nan", "since=1e12", "until=-1"]
)
async def test_a_query_that_means_nothing_is_refused_by_name(query: str) -> None:
    answer = await ask(ScriptedBox(), f"?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, query.partition("=")[0])


async def test_one_under_way_is_cancelled_by_name_or_only_weighed() -> None:
    box = ScriptedBox()
    weighed = (await ask(box, "/msg_t2/cancel?dry_run=true", method="POST")).json()
    assert (weighed["dry_run"], weighed["impact"], weighed["effect"]) == (True, "ends an answer", None)
    done = (await ask(box, "/msg_t2/cancel?by=ann", method="POST")).json()
    assert (done["effect"], done["request"]["id"], done["kept_tokens"]) == ("cancelled by ann", "msg_t2", 1248)
    assert (await ask(box, "/msg_t2/cancel", method="POST")).json()["effect"] == "cancelled by operator"
    assert (await ask(box, "/other/cancel", method="POST")).status_code == 404
    assert (await ask(box, "/msg_t2/cancel?dry_run=maybe", method="POST")).status_code == 400
    assert (await ask(box, "/msg_t2/cancel", client="10.0.0.9", method="POST")).status_code == 403


@pytest.mark.parametrize("path", ["", "/last", "/last/why"])
async def test_strangers_are_told_nothing(path: str) -> None:
    assert (await ask(ScriptedBox(), path, client="10.0.0.9")).status_code == 403


async def test_what_clients_change_is_told_for_a_time() -> None:
    async def linted(query: str) -> httpx.Response:
        app = create_app(ScriptedInference(), ScriptedBox(), max_body_bytes=10_000, max_requests=1)
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 5))
        async with httpx.AsyncClient(transport=transport, base_url="http://box") as http:
            return await http.get(f"/box/v1/lint{query}")

    assert (await linted("")).json()["seconds"] == 3600
    told = (await linted("?last=60")).json()
    assert (told["seconds"], told["busters"][0]["rule"]) == (60, "attribution")
    assert (await linted("?last=0")).status_code == 400
