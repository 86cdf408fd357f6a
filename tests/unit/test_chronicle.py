"""What happens goes into the database, and what was there comes back."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from appliance.api.responses_memory import MemoryStore
from appliance.api.responses_store import StoredConversation, StoredItem, StoredResponse
from appliance.cache.policy_source import load_policy
from appliance.chronicle import Chronicle, hints_of
from appliance.engine.retention.eviction import Eviction
from appliance.eviction_log import Evicted, EvictionLog
from appliance.hint_book import OperatorHint, Verb
from appliance.policy_book import PolicyBook
from appliance.records import ActionRecord
from appliance.state.database import Database
from appliance.state.keeping import Keeping
from tests.clock import Clock
from tests.unit.state.remembered import action, policy, session

FOR_EVER = Keeping(1e12, 0)


def chronicle(folder: Path, **parts: Any) -> Chronicle:
    return Chronicle(Database(folder / "state.db", FOR_EVER), **parts)


def item(number: int) -> StoredItem:
    return StoredItem(f"msg_{number}", b'{"id": "msg_%d"}' % number)


def response(number: int, *items: StoredItem, **told: Any) -> StoredResponse:
    return StoredResponse(f"resp_{number}", b'{"status": "completed"}', items, **told)


async def reopened(folder: Path, store: MemoryStore) -> Chronicle:
    opened = chronicle(folder)
    assert await opened.open(store) == []
    store.check_integrity()
    return opened


async def test_what_clients_have_stored_comes_back(tmp_path: Path) -> None:
    before, store = chronicle(tmp_path), MemoryStore()
    await before.open(store)
    first = response(1, item(1), output=(item(2),))
    told = StoredConversation("conv_1", 7, {"a": "b"}, (item(2), item(3)))
    await store.put_response(first)
    await store.put_response(response(2, item(4)))
    await store.put_conversation(told)
    await store.delete_response("resp_2")
    await before.close()

    again = MemoryStore()
    after = await reopened(tmp_path, again)
    assert await again.response("resp_1") == first
    assert await again.conversation("conv_1") == told
    assert await again.response("resp_2") is None
    assert await again.item("msg_4") is None
    assert after.database.facts().queued == 0
    await after.close()


async def test_a_response_that_was_being_made_has_failed(tmp_path: Path) -> None:
    before, store = chronicle(tmp_path), MemoryStore()
    await before.open(store)
    unfinished = StoredResponse("resp_1", b'{"status": "in_progress", "error": null}', (), is_finished=False)
    await store.put_response(unfinished)
    await before.close()
    again = MemoryStore()
    after = await reopened(tmp_path, again)
    found = await again.response("resp_1")
    assert found is not None
    assert found.is_finished
    body = json.loads(found.body)
    assert body["status"] == "failed"
    assert "started again" in body["error"]["message"]
    await after.close()


async def test_what_finds_no_room_in_a_smaller_store_goes_from_the_file_too(tmp_path: Path) -> None:
    before, store = chronicle(tmp_path), MemoryStore()
    await before.open(store)
    for number in range(4):
        await store.put_response(response(number, item(number)))
    await before.close()
    smaller = MemoryStore(max_entries=2)
    after = await reopened(tmp_path, smaller)
    assert [smaller.holds(f"resp_{number}") for number in range(4)] == [False, False, True, True]
    counts = await after.database.ask(lambda reader: reader.counts())
    assert (counts["stored_entries"], counts["stored_items"]) == (2, 2)
    await after.close()


async def test_each_second_and_each_eviction_is_recorded(tmp_path: Path) -> None:
    clock, woken = Clock(100.0), asyncio.Event()

    async def sleep(_seconds: float) -> None:
        clock.seconds += 1
        if clock.seconds > 102:
            await woken.wait()

    told, log = chronicle(tmp_path, clock=clock, sleep=sleep), EvictionLog()
    await told.open(MemoryStore())
    told.watch(lambda: {"now": clock.seconds}, log)
    for block_hashes in ((7, b"\x01\xff"), (None,), ()):
        ones = [
            Eviction(1, block_hash, 64, "s1", "s2", "r2", 35, None, 2.0, awaited=False) for block_hash in block_hashes
        ]
        log.add_all([Evicted(101.0, 0, None, one) for one in ones])
    await asyncio.sleep(0)
    found = await told.database.ask(lambda reader: reader.evictions())
    assert [(one.number, one.block_hash) for one in found] == [(2, None), (1, "01ff"), (0, "7")]
    assert found[0].boot == 100.0
    assert (found[0].owner, found[0].cause, found[0].cause_request) == ("s1", "s2", "r2")
    assert told.database.facts().written["evictions"] == 3
    snapshot = await told.database.ask(lambda reader: reader.snapshot(101.5))
    assert snapshot is not None
    assert snapshot.status == {"now": 101.0}
    await told.close()
    await told.close()


async def test_sessions_and_policies_are_there_at_the_next_start(tmp_path: Path) -> None:
    before = chronicle(tmp_path)
    await before.open(MemoryStore())
    for record in (policy("a"), policy("b"), session("s1", 10.0), session("s2", 20.0)):
        before.database.record(record)
    await before.close()
    after = await reopened(tmp_path, MemoryStore())
    assert [one.name for one in after.remembered.policies] == ["b", "a"]
    assert [one.name for one in after.remembered.sessions] == ["s2", "s1"]
    await after.close()


async def test_a_file_that_cannot_be_opened_keeps_nobody_from_being_served(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    told, store = chronicle(tmp_path), MemoryStore()
    (words,) = await told.open(store)
    assert "state.db" in words
    await store.put_response(response(1, item(1)))
    assert await store.response("resp_1") == response(1, item(1))
    assert told.database.facts().trouble is not None
    await told.close()


def pin(hint_id: str, expires_at: float) -> OperatorHint:
    return OperatorHint(hint_id, Verb.PIN, "s1", "me", 100.0, expires_at, 0, None, 100)


def test_hints_that_were_given_and_not_withdrawn_hold_again() -> None:
    first, second = pin("h1", 500.0), pin("h2", 600.0)
    told = [
        ActionRecord(1.0, "me", "hint pin", "s1", {"after": first.facts()}),
        ActionRecord(2.0, "me", "hint pin", "s1", {"after": second.facts()}),
        ActionRecord(3.0, "me", "hint withdraw", "s1", {"before": first.facts()}),
        ActionRecord(4.0, "me", "hint pin", "s1", {"after": {"verb": "paint"}}),
        ActionRecord(5.0, "me", "policy apply", "chat", {"version": 2}),
    ]
    assert hints_of(told[::-1]) == [second]


async def test_policies_that_were_active_and_actions_are_listed_again(tmp_path: Path) -> None:
    before = chronicle(tmp_path)
    await before.open(MemoryStore())
    for record in (policy("a", 1.0), policy("broken", 2.0, "[[rule"), policy("b", 3.0), action(4.0)):
        before.database.record(record)
    await before.close()
    after = await reopened(tmp_path, MemoryStore())
    assert [(one.number, one.policy.name, one.activated_at) for one in after.policies] == [(1, "a", 1.0), (2, "b", 3.0)]
    book = PolicyBook(after.policies[-1].policy, earlier=after.policies)
    assert [one.number for one in book.newest(9)] == [2, 1]
    other = PolicyBook(load_policy("chat"), earlier=after.policies)
    assert [(one.number, one.policy.name) for one in other.newest(9)] == [(3, "chat"), (2, "b"), (1, "a")]
    assert after.remembered.actions == [action(4.0)]
    await after.close()


async def test_what_cannot_be_read_is_said_and_keeps_no_box_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = chronicle(tmp_path)
    await before.open(MemoryStore())
    before.database.record(session("s1"))
    await before.close()
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("UPDATE sessions SET plan = '{'")
    connection.close()
    after, store = chronicle(tmp_path), MemoryStore()
    (words,) = await after.open(store)
    assert "could not be read and is left as it is" in words
    assert after.remembered.sessions == []
    await store.put_response(response(1, item(1)))
    assert (await after.database.ask(lambda reader: reader.counts()))["stored_entries"] == 1
    await after.close()
