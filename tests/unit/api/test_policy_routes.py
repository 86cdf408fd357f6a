from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from appliance.api.app import create_app
from appliance.cache.policy_source import load_policy
from tests.unit.api.scripted import ScriptedBox, ScriptedInference

ROUTE = "/box/v1/policy"


async def ask(box: ScriptedBox, body: Any = None, *, client: tuple[str, int] = ("127.0.0.1", 5)) -> httpx.Response:
    """Change the policy, or show it when there is no body."""
    app = create_app(ScriptedInference(), box, max_body_bytes=10_000, max_requests=1)
    transport = httpx.ASGITransport(app, client=client)
    async with httpx.AsyncClient(transport=transport, base_url="http://box") as http:
        return await (http.get(ROUTE) if body is None else http.put(ROUTE, json=body))


def message_of(response: httpx.Response) -> str:
    message: str = response.json()["error"]["message"]
    return message


async def test_the_active_policy_is_shown_with_its_rules() -> None:
    box = ScriptedBox()
    box.active_policy = load_policy("lru")
    shown = (await ask(box)).json()
    assert (shown["name"], shown["order"], len(shown["rules"])) == ("lru", "lru", 1)
    assert shown["rules"][0]["priority"] == 35


async def test_a_shipped_policy_is_applied_and_answered() -> None:
    box = ScriptedBox()
    response = await ask(box, {"policy": "chat"})
    assert response.status_code == 200
    assert box.active_policy == load_policy("chat")
    assert response.json() == (await ask(box)).json()


async def test_a_policy_file_is_applied(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[[rule]]\npriority = 9")
    box = ScriptedBox()
    assert (await ask(box, {"policy": str(tmp_path / "mine.toml")})).status_code == 200
    assert [rule.priority for rule in box.active_policy.rules] == [9]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"policy": "chatt"}, "chatt: no policy of this name; did you mean chat?"),
        ({"policy": "mine.toml"}, "policy = 'mine.toml': the path of a policy file must be absolute"),
        ({"policy": 5}, "5 is not allowed"),
        ({}, "policy"),
        ([], "object"),
    ],
)
async def test_what_is_wrong_is_told_and_the_active_policy_stays(body: Any, message: str) -> None:
    box = ScriptedBox()
    before = box.active_policy
    response = await ask(box, body)
    assert response.status_code == 400
    assert message in message_of(response)
    assert box.active_policy is before


async def test_a_wrong_file_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[[rule]]\nregion = "sytem"\npriority = 101')
    response = await ask(ScriptedBox(), {"policy": str(path)})
    assert response.status_code == 400
    assert f'{path}:2: region = "sytem": unknown region; did you mean system?' in message_of(response)
    assert f"{path}:3: priority = 101" in message_of(response)


async def test_only_who_is_on_this_machine_may_change_it() -> None:
    box = ScriptedBox()
    assert (await ask(box, {"policy": "chat"}, client=("192.0.2.7", 5))).status_code == 403
    assert (await ask(box, {"policy": "chat"}, client=("::1", 5))).status_code == 200
    assert (await ask(box, client=("192.0.2.7", 5))).status_code == 200
