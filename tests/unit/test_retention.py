from __future__ import annotations

from typing import Any

import pytest

from appliance.cache.policy_source import load_policy
from appliance.cache.region import Region
from appliance.cache.region_map import RegionMap, Span
from appliance.cache.session_state import SessionState
from appliance.conversation import Conversation, Hints, Identity, Message, RetentionDirective, Role, Text
from appliance.generation import MarkedPrefix
from appliance.retention import Retention, Subject, subject_of

CONVERSATION = Conversation("m", (Message(Role.USER, (Text("Hi"),)),), identity=Identity("lead"))
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
    payload = new_retention().begin(SUBJECT)
    assert payload["scope"] == "lead"
    system, user, output = priorities(payload)
    assert system > user > output


def test_a_session_that_waits_for_a_tool_is_worth_more_than_an_idle_one() -> None:
    retention = new_retention()
    retention.begin(SUBJECT)
    waiting = priorities(retention.end(SUBJECT, "tool_calls"))
    retention.begin(SUBJECT)
    idle = priorities(retention.end(SUBJECT, "stop"))
    assert waiting[1] > idle[1] == 35


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
