from __future__ import annotations

from appliance.audit import Audit
from appliance.records import ActionRecord, Record


class Kept:
    def __init__(self) -> None:
        self.records: list[Record] = []

    def record(self, record: Record) -> None:
        self.records.append(record)


def test_the_newest_actions_are_remembered_and_all_are_handed_on() -> None:
    audit = Audit(most=2)
    audit.recorder = kept = Kept()
    actions = [ActionRecord(float(number), "me", "hint pin", "s", {}) for number in range(3)]
    for action in actions:
        audit.tell(action)
    assert audit.newest(9) == [actions[2], actions[1]]
    assert audit.newest(1) == [actions[2]]
    assert kept.records == actions
