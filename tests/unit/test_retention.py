from __future__ import annotations

from typing import Any

import pytest

from appliance.cache.policy_source import load_policy, parse_policy
from appliance.cache.region import Region
from appliance.cache.region_map import Origin, RegionMap, Span
from appliance.cache.session_state import SessionState
from appliance.conversation import Conversation, Hints, Identity, Message, RetentionDirective, Role, Text
from appliance.generation import MarkedPrefix
from appliance.hint_book import HintBook, OperatorHint, Verb
from appliance.retention import Retention, Subject, subject_of
from appliance.session_forecast import SessionForecast
from tests.clock import Clock

OPENING = Message(Role.SYSTEM, (Text("Help."),))
CONVERSATION = Conversation("m", (OPENING, Message(Role.USER, (Text("Hi"),))), identity=Identity("lead"))
REGIONS = RegionMap([Span(0, 64, Region.SYSTEM), Span(64, 100, Region.USER)])
SUBJECT = subject_of(CONVERSATION, REGIONS, ())


def new_retention(policy: str = "coding-agent", **options: Any) -> Retention:
    return Retention(load_policy(policy), **options)


def priorities(payload: dict[str, Any] | None) -> list[int]:
    assert payload is not None
    return [directive["priority"] for directive in payload["directives"]]


def asked_by(session_id: str | None, hints: Hints | None = None) -> Subject:
    return SUBJECT._replace(identity=Identity(session_id), hints=hints or Hints())


def test_a_running_session_keeps_its_system_text_longest_and_its_output_shortest() -> None:
    retention = new_retention()
    retention.begin(asked_by("other"))
    payload = retention.begin(SUBJECT)
    assert payload["scope"] == "lead"
    system, user, output = priorities(payload)
    assert system > user > output


CLAIMS = """
[[rule]]
region = "system"
priority = 90
duration = "5min"

[[rule]]
region = "user"
priority = 60
duration = "10s"
"""


def test_the_next_claim_to_end_is_told_from_the_sessions_last_use_on() -> None:
    clock, left = Clock(), []
    retention = Retention(parse_policy("claims.toml", CLAIMS), clock=clock)
    retention.begin(SUBJECT)
    for seconds in (60, 0, 4, 6, 289, 1):
        clock.seconds += seconds
        if seconds == 0:
            retention.end(SUBJECT, "stop")
        (facts,) = retention.facts()
        left.append(facts.claim_seconds)
    assert left == [10.0, 10.0, 6.0, 290.0, 1.0, None]


def test_a_session_without_a_claim_that_ends_has_none_left() -> None:
    retention = new_retention("lru")
    retention.begin(SUBJECT)
    retention.end(SUBJECT, "stop")
    (facts,) = retention.facts()
    assert (facts.name, facts.claim_seconds) == ("lead", None)


def test_a_head_is_shared_as_long_as_two_sessions_that_are_known_have_it() -> None:
    retention = new_retention(max_sessions=2)
    head = [priorities(retention.begin(asked_by("one")))[0]]
    retention.end(asked_by("one"), "stop")
    head.append(priorities(retention.begin(asked_by(None)))[0])
    head.append(priorities(retention.begin(asked_by("two")))[0])
    head.append(priorities(retention.plan("one"))[0])
    retention.begin(asked_by("three")._replace(head=1))
    retention.check_integrity()
    assert retention.sessions() == ["two", "three"]
    head.append(priorities(retention.plan("two"))[0])
    assert head == [35, 90, 90, 90, 35]


def test_a_session_that_changes_its_system_text_shares_the_new_one() -> None:
    retention = new_retention()
    for subject in (asked_by("one"), asked_by("two"), asked_by("one")._replace(head=1), asked_by("two")):
        retention.begin(subject)
    assert priorities(retention.plan("two"))[0] == 35
    retention.begin(asked_by("two")._replace(head=1))
    assert priorities(retention.plan("one"))[0] == 90
    retention.check_integrity()


def test_a_session_whose_tool_is_said_to_be_quick_is_worth_more_than_an_idle_one() -> None:
    retention = new_retention()
    quick = asked_by("lead", Hints(tool_wait_seconds=3.0))
    retention.begin(quick)
    waiting = retention.end(quick, "tool_calls")
    assert waiting is not None
    conversation = waiting["directives"][0]
    assert (conversation["priority"], conversation["duration"]) == (60, 6.0)
    assert conversation["rule"].endswith("+hint")
    retention.begin(quick)
    assert priorities(retention.end(quick, "stop"))[0] == 35


def test_a_session_that_said_it_is_final_is_worth_nothing_where_it_is_alone() -> None:
    retention = new_retention()
    final = asked_by("lead", Hints(session_final=True))
    retention.begin(final)
    payload = retention.end(final, "stop")
    session = retention.session("lead")
    assert session is not None
    assert session.state is SessionState.FINISHED
    assert priorities(payload)[-1] == 0


def test_a_request_of_nobody_is_planned_and_changes_nothing_when_it_ends() -> None:
    retention = new_retention()
    nobody = asked_by(None)
    assert retention.begin(nobody)["scope"] is None
    assert retention.end(nobody, "stop") is None


def test_a_mark_lifts_the_prefix_up_to_it() -> None:
    marked = SUBJECT._replace(marked=(MarkedPrefix(100, 300.0),))
    assert max(priorities(new_retention("lru").begin(SUBJECT))) == 35
    assert priorities(new_retention("lru").begin(marked))[0] > 35


def test_how_long_a_claim_lasts_is_told_by_its_rule_or_its_mark() -> None:
    retention = new_retention()
    marks = (MarkedPrefix(100, 300.0), MarkedPrefix(40, 3600.0))
    retention.begin(SUBJECT._replace(marked=marks))
    name = SUBJECT.identity.session_id
    assert retention.duration_seconds("mark", name, 20) == 300.0
    assert retention.duration_seconds("mark", name, 100) is None
    assert retention.duration_seconds("mark", "other", 20) is None
    kept = next(rule for rule in retention.policy.rules if rule.duration_seconds is not None)
    assert retention.duration_seconds(kept.label, None, 0) == kept.duration_seconds
    assert retention.duration_seconds("no such rule", None, 0) is None
    assert retention.duration_seconds(None, None, 0) is None
    retention.policy = load_policy("lru")
    assert retention.duration_seconds(kept.label, None, 0) is None


@pytest.mark.parametrize("wrong", [RetentionDirective(9, 3, 50), RetentionDirective(0, 9, 101)])
def test_a_directive_that_makes_no_sense_leaves_the_policy_to_decide(wrong: RetentionDirective) -> None:
    assert new_retention().begin(asked_by("lead", Hints(retention=(wrong,)))) == new_retention().begin(SUBJECT)


def test_the_sessions_asked_for_longest_ago_are_forgotten_but_none_that_runs() -> None:
    retention = new_retention(max_sessions=2)
    retention.begin(asked_by("runs"))
    for name in ("a", "b", "c"):
        retention.begin(asked_by(name))
        retention.end(asked_by(name), "stop")
    assert [retention.session(name) is not None for name in ("runs", "a", "b", "c")] == [True, False, False, True]
    assert retention.forgotten_sessions == 2
    retention.check_integrity()


def test_a_new_session_is_kept_though_all_others_run() -> None:
    retention = new_retention(max_sessions=1)
    for name in ("a", "b"):
        retention.begin(asked_by(name))
    for name in ("a", "b"):
        assert retention.end(asked_by(name), "stop") is not None
    retention.check_integrity()


def test_neighbours_of_one_region_are_kept_as_one() -> None:
    spans = [Span(0, 4, Region.SYSTEM, Origin(0, 0)), Span(4, 9, Region.SYSTEM, Origin(0, 1)), Span(9, 12, Region.USER)]
    merged = subject_of(CONVERSATION, RegionMap(spans), ()).regions
    assert merged.spans == (Span(0, 9, Region.SYSTEM), Span(9, 12, Region.USER))


def test_a_token_is_of_the_region_that_it_has_in_its_sessions_last_prompt() -> None:
    retention = new_retention()
    retention.begin(SUBJECT)
    tokens = (0, 63, 64, 99, 100, 5000)
    assert [retention.region("lead", token) for token in tokens] == [
        *[Region.SYSTEM] * 2,
        *[Region.USER] * 2,
        *[Region.OUTPUT] * 2,
    ]
    assert (retention.region("unknown", 0), retention.region(None, 0)) == (None, None)


def test_a_session_is_planned_anew_by_the_policy_and_the_state_of_that_moment() -> None:
    retention = new_retention()
    retention.begin(SUBJECT)
    waiting = retention.end(SUBJECT, "tool_calls")
    assert retention.plan("lead") == waiting
    retention.policy = load_policy("lru")
    assert set(priorities(retention.plan("lead"))) == {35}
    assert retention.plan("unknown") is None
    assert retention.sessions() == ["lead"]


def test_a_session_is_over_once_after_an_hour_of_silence_and_nothing_is_expected_of_it() -> None:
    now = [1000.0]
    forecast = SessionForecast(clock=lambda: now[0])
    retention = new_retention(forecast=forecast, clock=lambda: now[0])
    retention.begin(SUBJECT)
    now[0] += 3600
    assert list(retention.over()) == []
    retention.end(SUBJECT, "stop")
    assert "lead" in forecast
    now[0] += 3600
    assert list(retention.over()) == ["lead"]
    assert list(retention.over()) == []
    assert "lead" not in forecast
    retention.check_integrity()


def test_the_forecast_forgets_with_the_sessions() -> None:
    forecast = SessionForecast()
    retention = new_retention(forecast=forecast, max_sessions=1)
    for name in ("a", "b"):
        retention.begin(asked_by(name))
        retention.end(asked_by(name), "stop")
    assert ("a" in forecast, "b" in forecast) == (False, True)
    retention.begin(asked_by(None))
    assert len(forecast) == 1


def started_by(lead: str) -> Subject:
    return SUBJECT._replace(identity=Identity("sub", parent_session_id=lead))


def test_a_subagent_is_told_of_its_lead_and_what_computing_that_takes() -> None:
    retention = new_retention(prefill_seconds=lambda tokens: tokens / 50)
    retention.begin(SUBJECT)
    retention.end(SUBJECT, "tool_calls")
    assert retention.begin(started_by("lead"))["lead"] == {"scope": "lead", "patience": 2.0}


@pytest.mark.parametrize(("policy", "lead"), [("coding-agent", "unknown"), ("coding-agent", "over"), ("lru", "lead")])
def test_a_subagent_has_no_lead_that_will_not_be_back_and_none_under_a_policy_that_goes_by_last_use(
    policy: str, lead: str
) -> None:
    retention = new_retention(policy, prefill_seconds=float)
    retention.begin(SUBJECT)
    over = asked_by("over", Hints(session_final=True))
    retention.begin(over)
    retention.end(over, "stop")
    assert "lead" not in retention.begin(started_by(lead))


def hinted(verb: Verb, **said: Any) -> HintBook:
    book = HintBook(Clock(1000.0))
    book.add(OperatorHint("h", verb, "lead", "me", 1000.0, 1060.0, **said))
    return book


def test_an_operators_pin_goes_before_what_the_client_says_of_its_own_session() -> None:
    released = Hints(retention=(RetentionDirective(0, None, 0),))
    retention = new_retention(hints=hinted(Verb.PIN, token_end=64, priority=100))
    pinned, rest = retention.begin(asked_by("lead", released))["directives"][:2]
    assert (pinned["priority"], pinned["duration"], pinned["rule"], pinned["end"]) == (100, 60.0, "pin", 64)
    assert rest["priority"] == 0
    assert priorities(retention.begin(asked_by("other", released)))[0] == 0


def test_an_operators_release_takes_what_a_client_marked() -> None:
    retention = new_retention(hints=hinted(Verb.RELEASE, token_start=64, priority=0))
    payload = retention.begin(SUBJECT._replace(marked=[MarkedPrefix(100, 300.0)]))
    assert priorities(payload) == [80, 0, 0]


def test_a_ttl_is_a_mark_and_a_priority_a_hint() -> None:
    marked = new_retention(hints=hinted(Verb.TTL, ttl_seconds=300.0)).begin(SUBJECT)["directives"][0]
    assert (marked["priority"], marked["duration"], marked["rule"]) == (80, 300.0, "mark")
    lifted = new_retention(hints=hinted(Verb.PRIORITY, priority=9)).begin(SUBJECT)["directives"][0]
    assert (lifted["priority"], lifted["rule"].endswith("+hint")) == (44, True)


def test_a_session_that_an_operator_has_finished_is_worth_nothing_until_it_asks_again() -> None:
    forecast = SessionForecast()
    retention = new_retention(forecast=forecast)
    retention.begin(SUBJECT)
    retention.end(SUBJECT, "stop")
    assert retention.finish("lead")
    assert not retention.finish("nobody")
    assert set(priorities(retention.plan("lead"))) == {0}
    assert forecast.keeps() == {"lead": 0.0}
    assert priorities(retention.begin(SUBJECT))[0] > 0
