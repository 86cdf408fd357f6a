"""Prompts, policies and wishes, for tests of retention."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from appliance.cache.policy import Policy
from appliance.cache.region import Region
from appliance.cache.region_map import RegionMap, Span
from appliance.cache.rule import Bounds, Condition, Rule
from appliance.cache.session_context import SessionContext
from appliance.cache.session_state import SessionRole, SessionState
from appliance.cache.tier import Tier
from appliance.conversation import Hints, RetentionDirective
from tests.examples import examples

# Prompts, policies and wishes take long to draw on a busy machine.
unhurried = settings(max_examples=examples(50), suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True, slots=True)
class Mark:
    tokens: int
    ttl_seconds: float


priorities = st.one_of(st.sampled_from([0, 35, 36, 80, 100]), st.integers(0, 100))
durations = st.sampled_from([None, 0.0, 0.0004, 30.0, 300.0, 3600.0])
tiers = st.integers(0, 15).map(Tier)
patterns = st.sampled_from([None, None, "*", "a*", "*b", "a?", "ab", "[ab]*"])
texts = st.sampled_from([None, "", "a", "b", "ab", "Ab", "aab", "a*", "bb"])


def subsets(kind: type[Region] | type[SessionState] | type[SessionRole]) -> st.SearchStrategy[frozenset[object]]:
    return st.one_of(st.just(frozenset(kind)), st.frozensets(st.sampled_from(list(kind)), min_size=1))


@st.composite
def bounds(draw: st.DrawFn) -> Bounds:
    low, high = sorted(draw(st.tuples(st.integers(-2, 3), st.integers(-2, 3))))
    return draw(st.sampled_from([Bounds(low, high), Bounds(low, None), Bounds(None, high)]))


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    names = draw(st.lists(st.sampled_from(["priority", "strict_priority", "tool_wait_ms"]), unique=True, max_size=2))
    return Condition(
        draw(subsets(Region)),  # type: ignore[arg-type] # one strategy for three enumerations
        draw(subsets(SessionState)),  # type: ignore[arg-type] # as above
        draw(subsets(SessionRole)),  # type: ignore[arg-type] # as above
        draw(st.sampled_from([None, None, True, False])),
        draw(st.sampled_from([None, None, True, False])),
        draw(patterns),
        draw(patterns),
        tuple((name, draw(bounds())) for name in names),
    )


rules = st.builds(Rule, conditions(), priorities, durations, tiers, st.booleans())
policies = st.builds(Policy, st.just("drawn"), st.lists(rules, max_size=4).map(tuple))


@st.composite
def region_maps(draw: st.DrawFn, max_tokens: int = 40) -> RegionMap:
    cuts = sorted({0, *draw(st.sets(st.integers(1, max_tokens), max_size=8))})
    return RegionMap(Span(*ends, draw(st.sampled_from(Region))) for ends in pairwise(cuts))


@st.composite
def directives(draw: st.DrawFn) -> RetentionDirective:
    start = draw(st.integers(0, 50))
    end = draw(st.one_of(st.none(), st.integers(start + 1, 60)))
    return RetentionDirective(start, end, draw(priorities), draw(durations))


marks = st.lists(st.builds(Mark, st.integers(0, 50), st.sampled_from([60.0, 300.0, 3600.0])), max_size=4)


@st.composite
def contexts(draw: st.DrawFn) -> SessionContext:
    return SessionContext(
        draw(st.sampled_from(SessionState)),
        draw(st.sampled_from(SessionRole)),
        draw(texts),
        draw(texts),
        draw(st.sampled_from([None, True, False])),
        draw(st.sampled_from([None, True, False])),
        Hints(
            priority=draw(st.one_of(st.just(0), st.integers(-120, 120))),
            strict_priority=draw(st.sampled_from([None, -3, 0, 1, 2, 3, 4])),
            tool_wait_seconds=draw(st.sampled_from([None, None, 0.0, 0.002, 15.0, 15.1, 150.0, 4000.0])),
            retention=tuple(draw(st.lists(directives(), max_size=3))),
        ),
    )
