from __future__ import annotations

import pytest

from appliance.engine.retention.eviction import Eviction
from appliance.eviction_log import Evicted
from appliance.lost_blocks import LostBlocks, answer_of


def evicted(block_hash: int | bytes | None, *, at: float = 9.0, priority: int = 35, age: float = 5.0) -> Evicted:
    one = Eviction(0, block_hash, 0, "s", "t", "r.0-0123abcd", priority, "p:1", age, False)
    return Evicted(at, 1, None, one)


def kept(duration: float | None = None, most: int = 10) -> LostBlocks:
    names = {10: 1, 20: 2, 30: 3}
    return LostBlocks(lambda _, engine_hash: names.get(engine_hash), lambda _: duration, most)


def test_a_block_is_found_by_the_name_that_the_router_has_for_it() -> None:
    lost = kept()
    lost.add([evicted(10)])
    found = lost.get(1)
    assert found is not None
    assert (found.worker, found.owner, found.is_expired) == (1, "s", False)
    assert (found.blame.session, found.blame.request, found.blame.at) == ("t", "r", 9.0)
    assert lost.get(10) is None


@pytest.mark.parametrize("name", [99, b"ten", None])
def test_a_block_that_the_router_has_no_name_for_is_counted(name: int | bytes | None) -> None:
    lost = kept()
    lost.add([evicted(name)])
    assert (len(lost), lost.unknown) == (0, 1)


def test_the_last_eviction_of_a_block_counts_and_the_oldest_is_forgotten() -> None:
    lost = kept(most=2)
    lost.add([evicted(10, at=1.0), evicted(20), evicted(10, at=2.0), evicted(30)])
    assert lost.get(2) is None
    found = lost.get(1)
    assert found is not None
    assert (found.blame.at, len(lost), lost.forgotten) == (2.0, 2, 1)


@pytest.mark.parametrize(
    ("duration", "priority", "age", "is_expired"),
    [(5.0, 35, 5.0, True), (5.0, 35, 4.9, False), (5.0, 36, 9.0, False), (None, 35, 9.0, False)],
)
def test_a_claim_has_expired_when_its_time_is_over_and_it_counts_no_more(
    duration: float | None, priority: int, age: float, is_expired: bool
) -> None:
    lost = kept(duration)
    lost.add([evicted(10, priority=priority, age=age)])
    found = lost.get(1)
    assert found is not None
    assert found.is_expired is is_expired


@pytest.mark.parametrize(
    ("engine_request", "answer"),
    [
        ("chatcmpl-12.0-0a1b2c3d", "chatcmpl-12"),
        ("1_chatcmpl-12.2-0a1b2c3d", "chatcmpl-12"),
        ("speculation-3-0a1b2c3d", "speculation-3"),
        ("msg.1.0-0a1b2c3d", "msg.1"),
        ("plain", "plain"),
        (None, None),
    ],
)
def test_an_answer_is_named_by_what_the_engine_calls_its_request(
    engine_request: str | None, answer: str | None
) -> None:
    assert answer_of(engine_request) == answer
