from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cache.contender import FORECAST, LRU, read_contender
from appliance.cache.errors import CacheError
from appliance.cache.plan_book import PlanPage
from appliance.cache.planner import make_plan
from appliance.cache.policy_source import load_policy
from appliance.cache.region import Region
from appliance.cache.region_map import RegionMap, Span
from appliance.cache.session_context import SessionContext
from appliance.cache.session_state import SessionState
from appliance.cache.trace import REGIONS, UNKNOWN_REGION
from appliance.conversation import Hints

POLICIES = {name: load_policy(name) for name in ("coding-agent", "chat")}


@given(
    codes=st.lists(st.integers(0, UNKNOWN_REGION), min_size=1, max_size=30),
    context=st.builds(
        SessionContext,
        st.sampled_from(SessionState),
        shared=st.booleans(),
        hints=st.builds(Hints, tool_wait_seconds=st.sampled_from([None, 4.0, 40.0])),
    ),
    name=st.sampled_from(sorted(POLICIES)),
)
def test_what_is_looked_up_is_what_the_planner_gives(codes: list[int], context: SessionContext, name: str) -> None:
    regions = [Region.USER if code == UNKNOWN_REGION else REGIONS[code] for code in codes]
    whole = RegionMap(Span(16 * place, 16 * place + 16, region) for place, region in enumerate(regions))
    planned = make_plan(whole, POLICIES[name], context).for_blocks(16)
    claims = PlanPage(POLICIES[name], context).claims(np.array(codes, dtype=np.uint8))
    lengths = np.diff(claims.ends, prepend=0)
    assert np.repeat(claims.priorities, lengths).tolist() == planned.priority.tolist()
    assert np.repeat(claims.durations_ms, lengths).tolist() == planned.duration_ms.tolist()


def test_states_that_give_everything_the_same_do_not_differ() -> None:
    contexts = map(SessionContext, (SessionState.IDLE, SessionState.IDLE, SessionState.RUNNING, SessionState.FINISHED))
    idle, again, running, finished = (PlanPage(POLICIES["coding-agent"], context).rules for context in contexts)
    assert idle == again
    assert running != finished


def test_the_bare_orders_have_no_policy() -> None:
    assert (read_contender(LRU).policy, read_contender(LRU).is_forecast) == (None, False)
    assert (read_contender(FORECAST).policy, read_contender(FORECAST).is_forecast) == (None, True)


def test_a_policy_is_played_in_forecast_order() -> None:
    contender = read_contender("chat", uses_hints=False)
    assert (contender.name, contender.is_forecast, contender.uses_hints) == ("chat", True, False)


def test_a_policy_that_is_not_there_is_named() -> None:
    with pytest.raises(CacheError, match="coding-agnt"):
        read_contender("coding-agnt")
