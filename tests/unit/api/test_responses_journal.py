"""What a journal was told makes the same store again."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from appliance.api.responses_journal import Entry, entries_of, entry_body
from appliance.api.responses_memory import MemoryStore
from appliance.api.responses_store import StoredConversation, StoredItem, StoredResponse


class Rows:
    """A `Journal`: what a database would hold."""

    def __init__(self) -> None:
        self.items: dict[str, bytes] = {}
        self.entries: dict[str, bytes] = {}

    def item(self, item_id: str, body: bytes | None) -> None:
        if body is None:
            del self.items[item_id]
        else:
            self.items[item_id] = body

    def entry(self, entry_id: str, entry: Entry | None) -> None:
        self.entries.pop(entry_id, None)
        if entry is not None:
            self.entries[entry_id] = entry_body(entry)


def item(number: int) -> StoredItem:
    return StoredItem(f"msg_{number}", b"{}")


numbers = st.integers(0, 3)
bunches = st.lists(numbers, max_size=3, unique=True).map(lambda found: tuple(map(item, found)))
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["response", "conversation", "add"]), numbers, bunches),
        st.tuples(st.sampled_from(["delete_response", "delete_conversation", "remove"]), numbers, st.just(())),
    ),
    max_size=20,
)


async def play(store: MemoryStore, what: str, number: int, items: tuple[StoredItem, ...]) -> None:
    match what:
        case "response":
            await store.put_response(StoredResponse(f"resp_{number}", b"{}", items[:1], items[1:]))
        case "conversation":
            await store.put_conversation(StoredConversation(f"conv_{number}", 5, {"a": "b"}, items))
        case "add":
            await store.add_items(f"conv_{number}", items)
        case "delete_response":
            await store.delete_response(f"resp_{number}")
        case "delete_conversation":
            await store.delete_conversation(f"conv_{number}")
        case "remove":
            await store.remove_item("conv_0", f"msg_{number}")


@given(steps, st.integers(1, 4))
def test_a_store_made_of_the_rows_is_the_store(told: list[tuple[str, int, tuple[StoredItem, ...]]], room: int) -> None:
    rows, store = Rows(), MemoryStore(max_entries=room)
    store.keep_in(rows)

    async def all_of_them() -> None:
        for step in told:
            await play(store, *step)
        again = MemoryStore()
        again.restore(entries_of(rows.entries.items(), rows.items))
        again.check_integrity()
        assert len(again) == len(store) == len(rows.entries)
        for number in range(4):
            assert await again.response(f"resp_{number}") == await store.response(f"resp_{number}")
            assert await again.conversation(f"conv_{number}") == await store.conversation(f"conv_{number}")
            assert (
                again.holds_item(f"msg_{number}")
                == store.holds_item(f"msg_{number}")
                == (f"msg_{number}" in rows.items)
            )

    asyncio.run(all_of_them())


def test_what_is_not_whole_is_left_out() -> None:
    whole = entry_body(StoredResponse("resp_1", b"{}", (item(1),)))
    broken = entry_body(StoredResponse("resp_2", b"{}", (item(2),)))
    bodies = [("resp_1", whole), ("resp_2", broken), ("resp_3", b"{"), ("resp_4", b'{"type": "letter"}')]
    assert [entry.id for entry in entries_of(bodies, {"msg_1": b"{}"})] == ["resp_1"]
