from __future__ import annotations

import numpy as np

from appliance.engine.retention.block_kernels import VICTIM_ROWS
from appliance.engine.retention.reports import EvictionReports
from appliance.engine.retention.rules import RuleNumbers
from appliance.engine.retention.sessions import SessionSlots


def test_an_eviction_is_told_of_whose_the_block_was_when_it_went_though_another_has_the_slot_now() -> None:
    sessions = SessionSlots(2, lambda _: None)
    reports = EvictionReports(sessions, RuleNumbers())
    slot = sessions.begin_request("first")
    victims = np.zeros((VICTIM_ROWS, 1), np.int64)
    victims[1], victims[2] = 1, slot
    reports.add(victims, [None])
    sessions.end_request(slot)
    assert sessions.begin_request("second") == slot
    assert [eviction.owner for eviction in reports.drain(9)] == ["first"]
