from __future__ import annotations

import pytest

from tests.unit.api.scripted import ScriptedBox
from tests.unit.api.test_block_routes import get


async def test_prefixes_are_shown_with_as_much_text_as_asked_for() -> None:
    box = ScriptedBox()
    found = (await get(box, "prefixes?limit=5&text=80")).json()
    assert [(node["names"], node["end_token"]) for node in found["nodes"]] == [(["s", "t"], 64)]
    assert found["search"] is None
    await get(box, "prefixes")
    assert box.prefix_desk.asked == [(5, 80), (64, 0)]


async def test_words_are_searched() -> None:
    box = ScriptedBox()
    found = (await get(box, "prefixes?search=the%20heron&text=9")).json()
    assert found["search"] == {"words": "the heron", "matches": [], "read_tokens": 64, "cut": "time"}
    assert box.prefix_desk.asked == [(64, 9, "the heron")]


async def test_a_fork_is_of_the_sessions_asked_for() -> None:
    found = (await get(ScriptedBox(), "prefixes/fork?session=a%2F1&session=b")).json()
    assert (found["token"], [side["session"] for side in found["sides"]]) == (70, ["a/1", "b"])


@pytest.mark.parametrize(
    ("route", "param"),
    [
        ("prefixes?limit=9999", "limit"),
        ("prefixes?text=9999", "text"),
        ("prefixes?search=", "search"),
        ("prefixes?search=%20", "search"),
        (f"prefixes?search={'x' * 201}", "search"),
        ("prefixes/fork?session=a", "session"),
        ("prefixes/fork?" + "&".join(["session=a"] * 9), "session"),
    ],
)
async def test_what_is_wrong_is_told(route: str, param: str) -> None:
    answer = await get(ScriptedBox(), route)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("route", ["prefixes", "prefixes?search=x", "prefixes/fork?session=a&session=b"])
async def test_strangers_see_nothing(route: str) -> None:
    assert (await get(ScriptedBox(), route, client="10.0.0.9")).status_code == 403
