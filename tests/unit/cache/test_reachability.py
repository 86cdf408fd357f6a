from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cache.reachability import _includes, covering
from appliance.cache.region import Region
from appliance.cache.rule import Bounds, Condition
from appliance.cache.session_context import SessionContext
from appliance.cache.session_state import SessionState
from tests.unit.cache.retention_strategies import conditions, contexts, unhurried

IDLE = frozenset({SessionState.IDLE})
BUSY = frozenset(SessionState) - IDLE
PATTERNS = ["", "*", "?", "a", "a*", "*a", "*a*", "a?", "?*", "*?", "**", "a*b", "ab*", "[ab]"]
TEXTS = ["".join(letters) for length in range(5) for letters in product("abc", repeat=length)]


def hint(low: int | None = None, high: int | None = None, name: str = "priority") -> Condition:
    return Condition(hints=((name, Bounds(low, high)),))


@unhurried
@given(st.lists(conditions(), min_size=1, max_size=5), st.sampled_from(Region), contexts())
def test_a_rule_said_to_be_unreachable_matches_only_what_its_takers_match(
    drawn: list[Condition], region: Region, context: SessionContext
) -> None:
    *earlier, condition = drawn
    takers = covering(condition, earlier)
    if takers is not None and condition.matches(region, context):
        assert any(earlier[taker].matches(region, context) for taker in takers)


@pytest.mark.parametrize(
    ("condition", "earlier", "takers"),
    [
        (Condition(), [], None),
        (Condition(), [Condition()], {0}),
        (Condition(), [Condition(states=IDLE)], None),
        (Condition(), [Condition(states=IDLE), Condition(states=BUSY)], {0, 1}),
        (Condition(states=IDLE), [Condition(states=BUSY), Condition()], {1}),
        (Condition(), [Condition(keeps_thinking=True), Condition(keeps_thinking=False)], None),
        (Condition(keeps_thinking=True), [Condition(keeps_thinking=True)], {0}),
        (Condition(), [Condition(shared=True), Condition(shared=False)], None),
        (Condition(shared=True), [Condition(shared=False), Condition(shared=True)], {1}),
        (Condition(model="qwen*"), [Condition(model="q*")], {0}),
        (Condition(model="q*"), [Condition(model="qwen*")], None),
        (Condition(model="QWEN"), [Condition(model="qwen")], {0}),
        (Condition(), [Condition(client="*")], {0}),
        (Condition(), [Condition(client="?*")], None),
        (hint(low=5), [hint(low=3)], {0}),
        (hint(low=3), [hint(low=5)], None),
        (hint(low=1, high=4), [hint(high=2), hint(low=3)], {0, 1}),
        (hint(low=1, high=4), [hint(high=2), hint(low=4)], None),
        (Condition(), [hint(high=0), hint(low=1)], {0, 1}),
        (Condition(), [hint(high=0, name="output_tokens"), hint(low=1, name="output_tokens")], None),
        (hint(name="output_tokens", low=0), [Condition()], {0}),
    ],
)
def test_a_rule_is_unreachable_exactly_when_nothing_is_left_to_it(
    condition: Condition, earlier: list[Condition], takers: set[int] | None
) -> None:
    assert covering(condition, earlier) == takers


@pytest.mark.parametrize(("wider", "narrower"), [*product(PATTERNS, PATTERNS)])
def test_a_pattern_includes_another_exactly_when_it_fits_all_its_texts(wider: str, narrower: str) -> None:
    fits_all = all(fnmatchcase(text, wider) for text in TEXTS if fnmatchcase(text, narrower))
    if "[" in wider + narrower:
        assert not _includes(wider, narrower) or fits_all
    else:
        assert _includes(wider, narrower) == fits_all
