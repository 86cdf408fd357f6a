"""Responses and conversations in memory: bounded, and gone with the process but for what a journal is told."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

import msgspec

from appliance.api.responses_journal import Entry, Journal, NoJournal
from appliance.api.responses_store import StoredConversation, StoredItem, StoredResponse

MAX_ENTRIES: Final = 4096
MAX_BYTES: Final = 256 * 2**20
ENTRY_BYTES: Final = 512
POINTER_BYTES: Final = 8


class MemoryStore:
    """A `ResponseStore` of at most `max_entries` responses and conversations and `max_bytes` of JSON.

    An item counts once however many hold it. The entry that was used longest ago is dropped first, also one that is too
    large by itself; `dropped` counts them. Every operation is O(items of the entry), and told to the `journal`.
    """

    def __init__(self, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._items: dict[str, StoredItem] = {}
        self._holds: Counter[str] = Counter()
        self._journal: Journal = NoJournal()
        self.num_bytes = 0
        self.dropped = 0

    def restore(self, entries: Iterable[Entry]) -> None:
        """The one that was changed last comes last. What is there already goes for what comes."""
        for entry in entries:
            self._put(entry)

    def keep_in(self, journal: Journal) -> None:
        """It is told of every change from now on."""
        self._journal = journal

    def holds(self, entry_id: str) -> bool:
        return entry_id in self._entries

    def holds_item(self, item_id: str) -> bool:
        return item_id in self._items

    def __len__(self) -> int:
        return len(self._entries)

    async def put_response(self, response: StoredResponse) -> None:
        self._put(response)

    async def response(self, response_id: str) -> StoredResponse | None:
        found = self._use(response_id)
        return found if isinstance(found, StoredResponse) else None

    async def delete_response(self, response_id: str) -> bool:
        return await self.response(response_id) is not None and self._remove(response_id)

    async def item(self, item_id: str) -> StoredItem | None:
        return self._items.get(item_id)

    async def put_conversation(self, conversation: StoredConversation) -> None:
        self._put(conversation)

    async def conversation(self, conversation_id: str) -> StoredConversation | None:
        found = self._use(conversation_id)
        return found if isinstance(found, StoredConversation) else None

    async def delete_conversation(self, conversation_id: str) -> bool:
        return await self.conversation(conversation_id) is not None and self._remove(conversation_id)

    async def add_items(self, conversation_id: str, items: tuple[StoredItem, ...]) -> bool:
        found = await self.conversation(conversation_id)
        if found is not None:
            self._put(replace(found, items=(*found.items, *items)))
        return found is not None

    async def set_metadata(self, conversation_id: str, metadata: Mapping[str, str]) -> StoredConversation | None:
        found = await self.conversation(conversation_id)
        if found is None:
            return None
        changed = replace(found, metadata=metadata)
        self._put(changed)
        return changed

    async def remove_item(self, conversation_id: str, item_id: str) -> StoredConversation | None:
        found = await self.conversation(conversation_id)
        if found is None or not any(item.id == item_id for item in found.items):
            return None
        shorter = replace(found, items=tuple(item for item in found.items if item.id != item_id))
        self._put(shorter)
        return shorter

    def check_integrity(self) -> None:
        holds = Counter(item.id for entry in self._entries.values() for item in _items_of(entry))
        if holds != self._holds or holds.keys() != self._items.keys():
            raise AssertionError("items are kept that nothing holds, or held that are not kept")
        counted = sum(len(item.body) for item in self._items.values()) + sum(map(_own_bytes, self._entries.values()))
        if counted != self.num_bytes:
            raise AssertionError(f"{counted} bytes are held, {self.num_bytes} counted")
        if len(self) > self._max_entries or counted > self._max_bytes:
            raise AssertionError(f"{len(self)} entries with {counted} bytes are more than allowed")

    def _use(self, entry_id: str) -> Entry | None:
        found = self._entries.get(entry_id)
        if found is not None:
            self._entries.move_to_end(entry_id)
        return found

    def _put(self, entry: Entry) -> None:
        """The new entry is held before the old one is let go, so that what both hold stays."""
        self._hold(_items_of(entry))
        self._let_go(entry.id)
        self._entries[entry.id] = entry
        self.num_bytes += _own_bytes(entry)
        self._journal.entry(entry.id, entry)
        while len(self) > self._max_entries or self.num_bytes > self._max_bytes:
            self._remove(next(iter(self._entries)))
            self.dropped += 1

    def _remove(self, entry_id: str) -> bool:
        is_there = self._let_go(entry_id)
        if is_there:
            self._journal.entry(entry_id, None)
        return is_there

    def _let_go(self, entry_id: str) -> bool:
        entry = self._entries.pop(entry_id, None)
        if entry is None:
            return False
        self.num_bytes -= _own_bytes(entry)
        self._release(_items_of(entry))
        return True

    def _hold(self, items: Iterable[StoredItem]) -> None:
        for item in items:
            if item.id not in self._items:
                self._items[item.id] = item
                self.num_bytes += len(item.body)
                self._journal.item(item.id, item.body)
            self._holds[item.id] += 1

    def _release(self, items: Iterable[StoredItem]) -> None:
        for item in items:
            self._holds[item.id] -= 1
            if not self._holds[item.id]:
                del self._holds[item.id]
                self.num_bytes -= len(self._items.pop(item.id).body)
                self._journal.item(item.id, None)


def _items_of(entry: Entry) -> Iterable[StoredItem]:
    return (*entry.context, *entry.output) if isinstance(entry, StoredResponse) else entry.items


def _own_bytes(entry: Entry) -> int:
    """What the entry needs beside its items."""
    text = entry.body if isinstance(entry, StoredResponse) else msgspec.json.encode(entry.metadata)
    return ENTRY_BYTES + len(text) + POINTER_BYTES * sum(1 for _ in _items_of(entry))
