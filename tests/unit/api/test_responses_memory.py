from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from appliance.api.responses_memory import MemoryStore
from appliance.api.responses_store import StoredConversation, StoredItem, StoredResponse


def item(number: int, size: int = 10) -> StoredItem:
    return StoredItem(f"msg_{number}", b"x" * size)


def response(number: int, *items: StoredItem, output: tuple[StoredItem, ...] = ()) -> StoredResponse:
    return StoredResponse(f"resp_{number}", b"{}", items, output)


async def test_what_is_put_is_found_until_it_is_deleted() -> None:
    store = MemoryStore()
    kept = response(1, item(1), output=(item(2),))
    await store.put_response(kept)
    assert await store.response("resp_1") == kept
    assert await store.item("msg_2") == item(2)
    assert await store.delete_response("resp_1")
    assert not await store.delete_response("resp_1")
    assert await store.response("resp_1") is None
    assert await store.item("msg_2") is None
    store.check_integrity()
    assert store.num_bytes == 0


async def test_an_item_lives_as_long_as_something_holds_it() -> None:
    store = MemoryStore()
    await store.put_response(response(1, item(1)))
    await store.put_response(response(2, item(1), item(2)))
    await store.put_conversation(StoredConversation("conv_1", 0, items=(item(2),)))
    await store.delete_response("resp_1")
    assert await store.item("msg_1") is not None
    await store.delete_response("resp_2")
    assert await store.item("msg_1") is None
    assert await store.item("msg_2") is not None
    await store.remove_item("conv_1", "msg_2")
    assert await store.item("msg_2") is None
    store.check_integrity()


async def test_what_was_used_longest_ago_is_dropped_first() -> None:
    store = MemoryStore(max_entries=2)
    await store.put_response(response(1))
    await store.put_response(response(2))
    await store.response("resp_1")
    await store.put_response(response(3))
    assert await store.response("resp_2") is None
    assert await store.response("resp_1") is not None
    assert store.dropped == 1


async def test_one_that_is_too_large_by_itself_is_not_kept() -> None:
    store = MemoryStore(max_bytes=2000)
    await store.put_response(response(1, item(1, 5000)))
    assert len(store) == store.num_bytes == 0
    assert store.dropped == 1


async def test_a_response_is_no_conversation() -> None:
    store = MemoryStore()
    await store.put_response(response(1))
    assert await store.conversation("resp_1") is None
    assert not await store.delete_conversation("resp_1")
    assert not await store.add_items("resp_1", (item(1),))
    assert await store.set_metadata("resp_1", {}) is None
    assert await store.remove_item("resp_1", "msg_1") is None


numbers = st.integers(0, 4)
bunches = st.lists(numbers, max_size=3).map(lambda found: tuple(item(number) for number in found))
steps = st.one_of(
    st.tuples(st.just("put"), numbers, bunches),
    st.tuples(st.just("delete"), numbers, bunches),
    st.tuples(st.just("talk"), numbers, bunches),
    st.tuples(st.just("forget"), numbers, bunches),
    st.tuples(st.just("add"), numbers, bunches),
)


@given(st.lists(steps, max_size=30), st.integers(1, 6), st.sampled_from([1500, 4000, 10**6]))
async def test_the_store_is_a_bounded_version_of_a_plain_dictionary(
    script: list[tuple[str, int, Any]], max_entries: int, max_bytes: int
) -> None:
    store, twin = MemoryStore(max_entries, max_bytes), dict[str, Any]()
    for step, number, items in script:
        talk_id = f"conv_{number}"
        if step == "put":
            twin[f"resp_{number}"] = response(number, *items)
            await store.put_response(twin[f"resp_{number}"])
        elif step == "delete":
            await store.delete_response(f"resp_{number}")
            twin.pop(f"resp_{number}", None)
        elif step == "talk":
            twin[talk_id] = StoredConversation(talk_id, 0, items=items)
            await store.put_conversation(twin[talk_id])
        elif step == "forget":
            await store.delete_conversation(talk_id)
            twin.pop(talk_id, None)
        elif await store.add_items(talk_id, items):
            twin[talk_id] = StoredConversation(talk_id, 0, items=(*twin[talk_id].items, *items))
        store.check_integrity()
    for number in range(5):
        assert await store.response(f"resp_{number}") in (None, twin.get(f"resp_{number}"))
        assert await store.conversation(f"conv_{number}") in (None, twin.get(f"conv_{number}"))
    if not store.dropped:
        assert len(store) == len(twin)
