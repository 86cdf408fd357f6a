from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.model_list import ModelPage, model_body, model_page
from appliance.errors import InvalidRequest
from appliance.generation import ModelCard
from tests.unit.api.scripted import ScriptedInference, client_of, new_app

CARDS = tuple(ModelCard(f"m{number}", 4096, 1_700_000_000) for number in range(7))
ANTHROPIC = {"anthropic-version": "2023-06-01"}


def ids(page: ModelPage) -> list[str]:
    return [model.id for model in page.data]


@given(st.integers(1, 9))
def test_following_the_last_id_visits_every_model_once(limit: int) -> None:
    query = {"limit": str(limit)}
    visited: list[str] = []
    while True:
        page = model_page(CARDS, query)
        visited += ids(page)
        if not page.has_more:
            break
        query["after_id"] = page.last_id or ""
    assert visited == [card.id for card in CARDS]


@given(st.integers(1, 9))
def test_following_the_first_id_visits_every_earlier_model_once(limit: int) -> None:
    query = {"limit": str(limit), "before_id": "m5"}
    visited: list[str] = []
    while True:
        page = model_page(CARDS, query)
        visited = ids(page) + visited
        if not page.has_more:
            break
        query["before_id"] = page.first_id or ""
    assert visited == ["m0", "m1", "m2", "m3", "m4"]


def test_an_empty_page_has_no_ids() -> None:
    assert model_page(CARDS, {"after_id": "m6"}) == ModelPage([], has_more=False, first_id=None, last_id=None)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"limit": "9" * 5000}, "limit"),
        ({"after_id": "m55"}, "after_id"),
        ({"before_id": ""}, "before_id"),
        ({"after_id": "m1", "before_id": "m3"}, "after_id"),
    ],
)
def test_a_wrong_page_is_refused_and_named(query: dict[str, str], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        model_page(CARDS, query)
    assert caught.value.param == param


def test_when_a_model_was_made_is_told_in_utc() -> None:
    assert model_body(CARDS[0]).created_at == "2023-11-14T22:13:20Z"


async def get(path: str, headers: dict[str, str]) -> Any:
    async with client_of(new_app(ScriptedInference())) as client:
        return await client.get(path, headers=headers)


async def test_the_shape_is_that_of_the_protocol_whose_version_the_client_names() -> None:
    page = (await get("/v1/models?limit=1", ANTHROPIC)).json()
    (model,) = page["data"]
    assert page == {"data": [model], "has_more": False, "first_id": "org/small", "last_id": "org/small"}
    assert (model["type"], model["display_name"], model["max_input_tokens"]) == ("model", "org/small", 8192)
    assert (await get("/v1/models/org/small", ANTHROPIC)).json() == model
    assert "object" in (await get("/v1/models/org/small", {})).json()


async def test_errors_of_the_list_have_the_protocols_envelope() -> None:
    response = await get("/v1/models?limit=x", ANTHROPIC)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
    missing = await get("/v1/models/org/smal", ANTHROPIC)
    assert missing.status_code == 404
    assert missing.json()["error"]["type"] == "not_found_error"
    assert "org/small" in missing.json()["error"]["message"]


async def test_agents_find_the_box_with_a_head_request() -> None:
    async with client_of(new_app(ScriptedInference())) as client:
        response = await client.head("/")
    assert (response.status_code, response.content) == (200, b"")
