"""Lists of items, page by page, as OpenAI's protocols have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Raw, Struct

from appliance.api.fields import Fields, refusal
from appliance.api.responses_store import StoredItem

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100
ORDERS: Final = ("asc", "desc")


class ItemPage(Struct, frozen=True):
    data: list[Raw]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: str = "list"


def item_page(items: Sequence[StoredItem], query: Mapping[str, str]) -> ItemPage:
    """The page that `query` (`after`, `limit`, `order`) asks for; the latest item comes first unless it says otherwise.

    Raises `InvalidRequest`.
    """
    order = Fields(query).choice("order", ORDERS) or "desc"
    limit = number_in(query, "limit", 1, MAX_LIMIT) or DEFAULT_LIMIT
    ordered = items if order == "asc" else items[::-1]
    begin = _position_after(ordered, query.get("after"))
    page = ordered[begin : begin + limit]
    return item_list(page, has_more=begin + limit < len(ordered))


def item_list(items: Sequence[StoredItem], *, has_more: bool = False) -> ItemPage:
    first_id, last_id = (items[0].id, items[-1].id) if items else (None, None)
    return ItemPage([Raw(item.body) for item in items], first_id, last_id, has_more)


def number_in(query: Mapping[str, str], name: str, low: int, high: int) -> int | None:
    """A number in a URL's query. Raises `InvalidRequest`."""
    text = query.get(name)
    if text is None:
        return None
    if text.isascii() and text.isdecimal() and len(text) < 19 and low <= int(text) <= high:
        return int(text)
    raise refusal(name, text, f"an integer from {low} to {high}")


def _position_after(items: Sequence[StoredItem], after: str | None) -> int:
    if after is None:
        return 0
    for position, item in enumerate(items):
        if item.id == after:
            return position + 1
    raise refusal("after", after, "the id of an item of this list")
