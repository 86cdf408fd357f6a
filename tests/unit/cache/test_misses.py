from __future__ import annotations

import pytest

from appliance.cache.ledger import Blame, Emptied, Reason, Source, TokenRange
from appliance.cache.misses import THRASH_SECONDS, Misses

AT = 1_000.0


def computed(tokens: int, reason: Reason, rule: str | None = "rule:1") -> TokenRange:
    blame = Blame("t", "request", rule, 35, AT, 2.0)
    return TokenRange(0, tokens, Source.RECOMPUTED, reason, blame)


def test_tokens_are_counted_by_reason_and_those_read_are_not() -> None:
    misses = Misses()
    misses.add([TokenRange(0, 7, Source.GPU), TokenRange(7, 10, Source.RECOMPUTED, Reason.FIRST_REQUEST)], AT)
    misses.add([computed(5, Reason.EVICTED), computed(2, Reason.FIRST_REQUEST)], AT)
    assert misses.tokens == {Reason.FIRST_REQUEST: 5, Reason.EVICTED: 5}


@pytest.mark.parametrize(
    ("one", "seconds", "thrashed"),
    [
        (computed(8, Reason.EVICTED), THRASH_SECONDS - 0.1, 8),
        (computed(8, Reason.EXPIRED, None), 0.0, 8),
        (computed(8, Reason.EVICTED), THRASH_SECONDS, 0),
        (computed(8, Reason.EVICTED, Emptied.FLUSHED), 1.0, 0),
        (computed(8, Reason.ROUTED_ELSEWHERE), 1.0, 0),
        (TokenRange(0, 8, Source.RECOMPUTED, Reason.EVICTED), 1.0, 0),
    ],
)
def test_what_made_room_within_a_minute_of_being_asked_for_thrashed(
    one: TokenRange, seconds: float, thrashed: int
) -> None:
    misses = Misses()
    misses.add([one], AT + seconds)
    assert misses.thrashed == thrashed
