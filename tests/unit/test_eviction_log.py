from __future__ import annotations

from appliance.cache.region import Region
from appliance.engine.retention.eviction import Eviction, EvictionBatch
from appliance.eviction_log import Cause, Evicted, EvictionLog, Kind, Remembered

RULE = "coding-agent.toml:9"


def evicted(
    owner: str | None = "a", cause: str | None = "b", *, block: int = 1, rule: str | None = RULE, awaited: bool = False
) -> Evicted:
    eviction = Eviction(block, None, 0, owner, cause, "r", 90, rule, 1.0, awaited)
    return Evicted(5.0, 0, Region.SYSTEM, eviction)


def test_evictions_are_counted_by_who_needed_the_room_by_rule_and_by_region() -> None:
    log = EvictionLog()
    for each in (evicted(), evicted(cause="a"), evicted(cause=None), evicted(), evicted(rule=None)):
        log.add(each)
    assert log.counts == {
        Kind(Cause.OTHER_SESSION, RULE, Region.SYSTEM): 2,
        Kind(Cause.SAME_SESSION, RULE, Region.SYSTEM): 1,
        Kind(Cause.UNNAMED, RULE, Region.SYSTEM): 1,
        Kind(Cause.OTHER_SESSION, None, Region.SYSTEM): 1,
    }


def test_blocks_that_somebody_waited_for_are_counted() -> None:
    log = EvictionLog()
    log.add(evicted(awaited=True))
    log.add(evicted())
    assert log.num_awaited == 1


def test_only_the_newest_are_remembered_and_all_are_counted() -> None:
    log = EvictionLog(most=2)
    for block in range(5):
        log.add(evicted(block=block))
    assert [each.eviction.block for each in log.recent] == [3, 4]
    assert log.counts.total() == 5


def test_the_newest_are_told_or_those_from_a_number_on() -> None:
    log = EvictionLog(most=4)
    assert log.remembered(None, 3) == log.remembered(0, 3) == Remembered(0, ())
    for block in range(10):
        log.add(evicted(block=block))
    assert blocks_of(log.remembered(None, 3)) == (7, [7, 8, 9])
    assert blocks_of(log.remembered(None, 100)) == (6, [6, 7, 8, 9])
    assert blocks_of(log.remembered(7, 2)) == (7, [7, 8])
    assert blocks_of(log.remembered(2, 2)) == (6, [6, 7])
    assert blocks_of(log.remembered(10, 2)) == blocks_of(log.remembered(99, 2)) == (10, [])


def blocks_of(remembered: Remembered) -> tuple[int, list[int]]:
    return remembered.first_number, [each.eviction.block for each in remembered.evictions]


def test_what_engines_dropped_adds_up_over_their_restarts() -> None:
    log = EvictionLog()
    for worker, dropped in ((0, 3), (1, 2), (0, 5), (0, 1), (1, 2)):
        log.told(worker, EvictionBatch((), 0, dropped))
    assert log.num_dropped == 5 + 1 + 2
