from __future__ import annotations

import msgspec
import pytest

from appliance.api.item_pages import ItemPage, item_list, item_page
from appliance.api.responses_store import StoredItem
from appliance.errors import InvalidRequest

ITEMS = [StoredItem(f"msg_{number}", b'{"n":%d}' % number) for number in range(5)]


def ids_of(page: ItemPage) -> list[str]:
    return [f"msg_{entry['n']}" for entry in msgspec.json.decode(msgspec.json.encode(page))["data"]]


def test_the_latest_comes_first_unless_told_otherwise() -> None:
    assert ids_of(item_page(ITEMS, {})) == ["msg_4", "msg_3", "msg_2", "msg_1", "msg_0"]
    assert ids_of(item_page(ITEMS, {"order": "asc"})) == ["msg_0", "msg_1", "msg_2", "msg_3", "msg_4"]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 5, 100])
def test_pages_one_after_another_are_the_whole_list(order: str, limit: int) -> None:
    query = {"order": order, "limit": str(limit)}
    page = item_page(ITEMS, query)
    seen = ids_of(page)
    while page.has_more:
        page = item_page(ITEMS, {**query, "after": page.last_id or ""})
        assert (page.first_id, page.last_id) == (ids_of(page)[0], ids_of(page)[-1])
        seen += ids_of(page)
    assert seen == ids_of(item_page(ITEMS, {"order": order}))


def test_an_empty_list_has_no_ends() -> None:
    assert item_list([]) == ItemPage([], None, None, has_more=False)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "²"}, "limit"),
        ({"limit": "9" * 99}, "limit"),
        ({"order": "up"}, "order"),
        ({"after": "msg_9"}, "after"),
    ],
)
def test_a_wrong_query_is_refused(query: dict[str, str], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        item_page(ITEMS, query)
    assert refused.value.param == param
