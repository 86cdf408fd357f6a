"""What the router weighed, as it is remembered."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.api.responses_memory import MemoryStore
from appliance.chronicle import Chronicle
from appliance.decision_views import decision_record, decision_view, past_decision
from appliance.history_desk import HistoryDesk
from appliance.records import DecisionRecord
from appliance.router.history import History
from appliance.state.database import Database
from appliance.state.keeping import Keeping
from tests.unit.router.test_history import record
from tests.unit.scripted_worker import ScriptedBox, ScriptedWorker, conversation, steps_of

HELLO = steps_of(["Hel", "lo"], cached_tokens=4)


def settled() -> DecisionRecord:
    history = History()
    history.add(one := record())
    history.settle(one, cached_tokens=16, wait_seconds=2.0)
    return decision_record(one, boot=1.0, ahead_seconds=100.0)


def test_a_decision_comes_back_as_it_was_seen() -> None:
    one = record()
    one.number = 7
    found = past_decision(decision_record(one, boot=1.0, ahead_seconds=100.0), until=108.0)
    assert found is not None
    assert (found.boot, found.number, found.at) == (1.0, 7, 105.0)
    assert found.decision == decision_view(one, 3.0)


def test_an_outcome_is_known_only_when_the_first_token_had_come() -> None:
    for until, is_known in ((106.9, False), (107.0, True)):
        found = past_decision(settled(), until)
        assert found is not None
        assert (found.decision.outcome is not None) == is_known


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x93\x01\x02\x03", settled().body[:-1]])
def test_what_another_version_has_recorded_is_left_out(body: bytes) -> None:
    assert past_decision(replace(settled(), body=body), 107.0) is None


async def test_each_decision_is_recorded_once_with_what_came_of_it(tmp_path: Path) -> None:
    began = time.monotonic()

    def clock() -> float:
        return 5000.0 + time.monotonic() - began

    told = Chronicle(Database(tmp_path / "state.db", Keeping(1e12, 0)), clock=clock)
    await told.open(MemoryStore())
    async with ScriptedBox(ScriptedWorker(0, HELLO, HELLO, HELLO)) as box:
        told.keep_decisions(box.router.history, box.router.clock)
        for _ in range(3):
            await box.ask(conversation("hello"))
        live = box.router.history.newest(9)
    assert told.database.settle()
    desk = HistoryDesk(told.database, None, clock)
    seen = (await desk.decisions(1e6, 9)).decisions
    assert [(one.number, one.decision.request_id) for one in seen] == [(3, "r2"), (2, "r1"), (1, "r0")]
    for one, before in zip(seen, live, strict=True):
        assert one.decision == decision_view(before, one.decision.age_seconds)
        assert one.decision.outcome is not None
    assert [one.number for one in (await desk.decisions(1e6, 1)).decisions] == [3]
    assert (await desk.decisions(10.0, 9)).decisions == []
    await told.close()
