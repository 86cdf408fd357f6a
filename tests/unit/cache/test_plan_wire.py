from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from appliance.cache.errors import InvalidRange
from appliance.cache.plan import Directive, RetentionPlan
from appliance.cache.plan_wire import Lead, decode_lead, decode_plan, encode_plan
from appliance.cache.planner import make_plan
from appliance.cache.policy import Policy
from appliance.cache.region_map import RegionMap
from appliance.cache.session_context import SessionContext
from appliance.cache.tier import ALL_TIERS, Tier
from tests.unit.cache.retention_strategies import Mark, contexts, marks, policies, region_maps, unhurried


@unhurried
@given(region_maps(), policies, contexts(), marks)
def test_a_plan_comes_back_from_json_as_it_was(
    regions: RegionMap, policy: Policy, context: SessionContext, marked: list[Mark]
) -> None:
    plan = make_plan(regions, policy, context, marks=marked)
    assert decode_plan(json.loads(json.dumps(encode_plan(plan, "s")))) == plan


def test_the_payload_has_the_names_of_the_proposal_and_ours_where_they_say_something() -> None:
    plan = RetentionPlan(
        (Directive(0, 8, 60, 30.0, ALL_TIERS, "a.toml:1"), Directive(8, None, 10, None, Tier.GPU, "a.toml:4"))
    )
    assert encode_plan(plan, None) == {
        "scope": None,
        "directives": [
            {"start": 0, "end": 8, "priority": 60, "duration": 30.0, "rule": "a.toml:1"},
            {"covers_output": True, "priority": 10, "duration": None, "tiers": ["gpu"], "rule": "a.toml:4"},
        ],
    }


def test_without_a_word_about_the_output_it_gets_what_the_end_of_the_prompt_gets() -> None:
    plan = decode_plan({"directives": [{"start": 0, "end": 8, "priority": 60}]})
    assert plan.directives == (
        Directive(0, 8, 60, None, ALL_TIERS, "directive"),
        Directive(8, None, 60, None, ALL_TIERS, "directive"),
    )


def test_a_lead_comes_back_as_it_was() -> None:
    plan = RetentionPlan((Directive(0, None, 10, None, Tier.GPU, "a.toml:4"),))
    lead = Lead("its name", 0.25)
    payload = json.loads(json.dumps(encode_plan(plan, "s", lead)))
    assert (decode_lead(payload), decode_plan(payload)) == (lead, plan)


@pytest.mark.parametrize(
    "lead", [None, "name", {}, {"scope": "s"}, {"scope": 1, "patience": 1}, {"scope": "s", "patience": -1.0}]
)
def test_what_names_no_lead_is_none(lead: Any) -> None:
    assert decode_lead({"lead": lead}) is None


def one(**changes: Any) -> dict[str, Any]:
    return {"start": 0, "end": 8, "priority": 60, **changes}


@pytest.mark.parametrize(
    ("directives", "said"),
    [
        (None, "directives must be a list"),
        ("ab", "directives must be a list"),
        ([], "a plan must end with"),
        ([3], "directive 0 must be an object"),
        ([one(start="0")], "directive 0: start = '0' must be a whole number"),
        ([one(priority=True)], "directive 0: priority = True must be a whole number"),
        ([one(priority=None)], "directive 0: priority = None must be a whole number"),
        ([one(priority=101)], "the nearest is 100"),
        ([one(duration="5s")], "duration = '5s' must be seconds or null"),
        ([one(duration=-1)], "has a duration of -1 seconds"),
        ([one(tiers=["gpuu"])], "unknown tier 'gpuu'; there is gpu"),
        ([one(tiers=3)], "tiers = 3 must be a list"),
        ([one(start=8, end=0)], "reversed or empty"),
        ([one(), one(start=7, end=9)], "overlaps the one before it: it must start at 8"),
        ([one(), one(start=9, end=10)], "leaves a gap before it"),
        ([one(), one(start=8, end=9, priority=61)], "has priority 61, above what is before it"),
        ([{"covers_output": True, "priority": 1}, one()], "stands behind the one for what is generated"),
    ],
)
def test_a_payload_that_is_no_plan_is_refused(directives: object, said: str) -> None:
    with pytest.raises(InvalidRange, match=r"^kv\.retain: ") as refused:
        decode_plan({"scope": None, "directives": directives})
    assert said in refused.value.message
