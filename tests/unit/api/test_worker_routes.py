from __future__ import annotations

import httpx
import pytest

from appliance.api.app import create_app
from tests.unit.api.scripted import ScriptedBox, ScriptedInference


async def post(box: ScriptedBox, route: str, client: str = "127.0.0.1") -> httpx.Response:
    app = create_app(ScriptedInference(), box, max_body_bytes=10_000, max_requests=1)
    transport = httpx.ASGITransport(app, client=(client, 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://box") as http:
        return await http.post(f"/box/v1/workers/{route}", json={})


async def test_a_restart_is_passed_on_and_its_impact_and_effect_are_told() -> None:
    box = ScriptedBox()
    answer = (await post(box, "0/restart?by=ana")).json()
    assert answer == {
        "worker": 0,
        "dry_run": False,
        "impact": {"requests": 1, "tokens": 64, "sessions": 2, "prefill_seconds": 0.5, "text": "1 request goes on"},
        "effect": "restarted",
    }
    dry = (await post(box, "0/restart?dry_run=true")).json()
    assert (dry["dry_run"], dry["effect"]) == (True, None)
    assert box.worker_desk.asked == [(0, "ana", False), (0, "operator", True)]


@pytest.mark.parametrize(
    ("route", "status", "word"),
    [
        ("7/restart", 404, "no worker 7"),
        ("seven/restart", 404, "they are numbers"),
        ("-1/restart", 404, "they are numbers"),
        ("0/restart?dry_run=maybe", 400, "dry_run"),
    ],
)
async def test_what_cannot_be_restarted_is_refused_in_words(route: str, status: int, word: str) -> None:
    box = ScriptedBox()
    answer = await post(box, route)
    assert answer.status_code == status
    assert word in answer.json()["error"]["message"]
    assert not any(worker == 0 for worker, _, _ in box.worker_desk.asked)


async def test_strangers_restart_nothing() -> None:
    box = ScriptedBox()
    assert (await post(box, "0/restart", client="203.0.113.9")).status_code == 403
    assert box.worker_desk.asked == []
