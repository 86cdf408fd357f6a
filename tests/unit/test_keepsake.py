"""A session over a restart: what is remembered of it makes the same plans."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from appliance.cache.policy_source import load_policy
from appliance.cache.region import Region
from appliance.cache.region_map import RegionMap, Span
from appliance.cache.session_state import FINISH_AFTER_SECONDS, SessionState
from appliance.conversation import Hints, Identity, RetentionDirective
from appliance.keepsake import keepsake_of, subject_from
from appliance.records import SessionRecord
from appliance.retention import Retention, Subject
from appliance.session_forecast import SessionForecast
from tests.clock import Clock

REGIONS = RegionMap([Span(0, 64, Region.SYSTEM), Span(64, 200, Region.USER), Span(200, 230, Region.TOOL_RESULT)])
DIRECTIVE = RetentionDirective(0, 100, 80, 60.0)


def subject(name: str = "s1", parent: str | None = None, hints: Hints = Hints()) -> Subject:  # noqa: B008 – frozen
    return Subject(Identity(name, parent, "claude-code", "bo"), "demo", hints, REGIONS, ())


def record(told: Subject, state: SessionState = SessionState.IDLE) -> SessionRecord:
    plan = json.loads(json.dumps(keepsake_of(told)))
    identity = told.identity
    name = str(identity.session_id)
    return SessionRecord(name, identity.parent_session_id, identity.client, told.model, state, 1, 0.0, 0.0, 230, plan)


def retention(clock: Clock) -> Retention:
    forecast = SessionForecast(clock=clock)
    return Retention(load_policy("coding-agent"), forecast=forecast, prefill_seconds=lambda _: 1.0, clock=clock)


@given(st.integers(-5, 5), st.booleans(), st.lists(st.just(DIRECTIVE), max_size=1).map(tuple))
def test_a_session_is_planned_after_a_restart_as_before(
    priority: int, waits: bool, directives: tuple[RetentionDirective, ...]
) -> None:
    clock = Clock()
    before, told = retention(clock), subject(hints=Hints(priority=priority, retention=directives))
    before.begin(told)
    before.end(told, "tool_calls" if waits else "stop")
    clock.seconds += 100
    state = before.facts()[0].state
    after, found = retention(clock), subject_from(record(told, state))
    assert found is not None
    after.resume(found, state, 100.0)
    assert after.plan("s1") == before.plan("s1")
    assert after.facts() == before.facts()
    first, second = before.session("s1"), after.session("s1")
    assert first is not None
    assert second is not None
    assert first.finishes_at == second.finishes_at
    assert before.forecast is not None
    assert after.forecast is not None
    assert before.forecast.keeps() == after.forecast.keeps()
    after.check_integrity()


def test_a_session_goes_on_after_a_restart() -> None:
    clock = Clock()
    after, told = retention(clock), subject()
    after.resume(told, SessionState.IDLE, 10.0)
    after.resume(told, SessionState.IDLE, 99.0)
    after.begin(told)
    assert after.facts()[0].state is SessionState.RUNNING
    after.end(told, "stop")
    assert after.facts()[0].state is SessionState.IDLE
    after.check_integrity()


def test_one_that_is_over_does_not_come_back() -> None:
    after = retention(Clock())
    after.resume(subject("s1"), SessionState.FINISHED, 1.0)
    after.resume(subject("s2"), SessionState.IDLE, FINISH_AFTER_SECONDS)
    after.resume(subject("s3"), SessionState.IDLE, FINISH_AFTER_SECONDS - 1)
    assert after.sessions() == ["s3"]
    assert list(after.over()) == []


def test_a_plan_that_this_version_cannot_read_is_none() -> None:
    told = record(subject())
    assert subject_from(told) is not None
    for plan in (None, {}, {"regions": [["attic", 5]], "marked": [], "hints": {}}, {"regions": [["system", 0]]}):
        assert subject_from(replace(told, plan=plan)) is None
    backwards = {**(told.plan or {}), "regions": [["system", 9], ["user", 3]]}
    assert subject_from(replace(told, plan=backwards)) is None
