from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from appliance.api.app import create_app
from appliance.api.policy_views import PolicyChange
from appliance.cache.policy_source import load_policy
from tests.unit.api.scripted import ScriptedBox, ScriptedInference

ROUTE = "/box/v1/policy"


async def ask(
    box: ScriptedBox, body: Any = None, *, client: tuple[str, int] = ("127.0.0.1", 5), at: float | None = None
) -> httpx.Response:
    """Change the policy, or show it when there is no body: the one that is active, or was at that time."""
    app = create_app(ScriptedInference(), box, max_body_bytes=10_000, max_requests=1)
    transport = httpx.ASGITransport(app, client=client)
    async with httpx.AsyncClient(transport=transport, base_url="http://box") as http:
        route = ROUTE if at is None else f"{ROUTE}?at={at}"
        return await (http.get(route) if body is None else http.put(ROUTE, json=body))


def message_of(response: httpx.Response) -> str:
    message: str = response.json()["error"]["message"]
    return message


async def test_the_active_policy_is_shown_with_its_rules() -> None:
    box = ScriptedBox()
    await box.policies().apply(PolicyChange("lru"))
    shown = (await ask(box)).json()
    assert (shown["name"], shown["order"], len(shown["rules"])) == ("lru", "lru", 1)
    assert shown["rules"][0]["priority"] == 35


async def test_a_shipped_policy_is_applied_and_answered() -> None:
    box = ScriptedBox()
    response = await ask(box, {"policy": "chat"})
    assert response.status_code == 200
    assert box.care.policy == load_policy("chat")
    assert response.json() == (await ask(box)).json()


async def test_a_policy_file_is_applied(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[[rule]]\npriority = 9")
    box = ScriptedBox()
    assert (await ask(box, {"policy": str(tmp_path / "mine.toml")})).status_code == 200
    assert [rule.priority for rule in box.care.policy.rules] == [9]


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
    before = box.care.policy
    response = await ask(box, body)
    assert response.status_code == 400
    assert message in message_of(response)
    assert box.care.policy is before


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


async def post(box: ScriptedBox, what: str, body: Any, client: tuple[str, int] = ("127.0.0.1", 5)) -> httpx.Response:
    app = create_app(ScriptedInference(), box, max_body_bytes=10_000, max_requests=1)
    transport = httpx.ASGITransport(app, client=client)
    async with httpx.AsyncClient(transport=transport, base_url="http://box") as http:
        return await http.post(f"{ROUTE}/{what}", json=body)


async def history(box: ScriptedBox, query: str = "") -> list[dict[str, Any]]:
    app = create_app(ScriptedInference(), box, max_body_bytes=10_000, max_requests=1)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://box") as http:
        versions: list[dict[str, Any]] = (await http.get(f"{ROUTE}/history{query}")).json()["versions"]
    return versions


async def test_a_text_is_checked_and_every_problem_has_its_line_and_key() -> None:
    text = '[[rule]]\nregion = "sytem"\npriority = 101\n[[rule]]\nhints.priority = { min = "a" }\npriority = 1\nfoo = 1'
    found = (await post(ScriptedBox(), "validate", {"text": text, "name": "mine"})).json()
    assert (found["valid"], found["rules"]) == (False, None)
    places = [(problem["file"], problem["line"], problem["key"]) for problem in found["problems"]]
    assert places == [
        ("mine.toml", 2, "region"),
        ("mine.toml", 3, "priority"),
        ("mine.toml", 7, "foo"),
        ("mine.toml", 5, "min"),
    ]
    broken = (await post(ScriptedBox(), "validate", {"text": "[[rule]"})).json()["problems"]
    assert [(problem["file"], problem["line"], problem["key"]) for problem in broken] == [("edited.toml", 1, None)]


async def test_a_policy_that_is_right_has_no_problem_and_stays_inactive() -> None:
    box = ScriptedBox()
    before = box.care.policy
    found = (await post(box, "validate", {"policy": "chat"})).json()
    assert found == {"valid": True, "problems": [], "rules": len(load_policy("chat").rules)}
    assert box.care.policy is before


async def test_a_diff_compares_with_the_active_policy() -> None:
    box = ScriptedBox()
    await box.policies().apply(PolicyChange("lru"))
    found = (await post(box, "diff", {"policy": "chat"})).json()
    assert (found["active"], found["name"]) == ("lru", "chat")
    assert found["text"].startswith("--- lru\n+++ chat")
    assert found["changes"]
    assert (await post(box, "diff", {"policy": "lru"})).json()["changes"] == []


async def test_the_policy_of_a_moment_is_the_one_that_was_active_then() -> None:
    box = ScriptedBox()
    await box.policies().apply(PolicyChange("lru"))
    assert (await ask(box, at=5.0)).json()["name"] == "lru"
    missing = await ask(box, at=4.5)
    assert missing.status_code == 404
    assert message_of(missing) == "no policy is remembered of 4.5"
    assert (await ask(box, at=5.0, client=("10.0.0.9", 5))).status_code == 403
    assert [one["version"] for one in await history(box, "?until=5")] == [2, 1]
    assert await history(box, "?until=4.5") == []


async def test_a_policy_is_applied_as_text_with_author_and_note_and_rolled_back() -> None:
    box = ScriptedBox()
    change = {"text": "[[rule]]\npriority = 9", "name": "mine", "author": "me", "note": "why not"}
    applied = (await ask(box, change)).json()
    assert (applied["name"], applied["version"]) == ("mine", 2)
    assert applied["toml"] == 'order = "forecast"\n\n# mine.toml:1\n[[rule]]\npriority = 9\n'
    newest, first = await history(box)
    assert (newest["author"], newest["note"], newest["active"], first["active"]) == ("me", "why not", True, False)
    assert (newest["hit_rate"], newest["predicted"]) == (None, None)
    back = (await post(box, "rollback", {"author": "you"})).json()
    assert (back["version"], back["rules"]) == (3, [])
    newest, *_ = await history(box, "?limit=1")
    assert (newest["rolls_back_to"], newest["note"], newest["author"]) == (1, "back to version 1", "you")
    again = (await post(box, "rollback", {"version": 2})).json()
    assert (again["name"], again["version"]) == ("mine", 4)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "there is no earlier policy to go back to"),
        ({"version": 7}, "there is no version 7 to go back to; remembered are 1 to 1"),
    ],
)
async def test_there_is_no_way_back_to_what_never_was(body: Any, message: str) -> None:
    response = await post(ScriptedBox(), "rollback", body)
    assert response.status_code == 404
    assert message in message_of(response)


async def test_a_policy_and_a_text_at_once_are_refused() -> None:
    response = await post(ScriptedBox(), "validate", {"policy": "chat", "text": "x"})
    assert (response.status_code, "exclude each other" in message_of(response)) == (400, True)


@pytest.mark.parametrize("what", ["validate", "diff", "rollback"])
async def test_strangers_read_and_change_no_policies(what: str) -> None:
    assert (await post(ScriptedBox(), what, {"policy": "chat"}, ("10.0.0.9", 5))).status_code == 403
