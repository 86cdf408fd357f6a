from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.extension import (
    MAX_DIRECTIVES,
    REPORTABLE,
    Extension,
    decode_anthropic_diagnostics,
    decode_extension,
    decode_openai_diagnostics,
    joined,
    with_mark,
)
from appliance.api.fields import Fields
from appliance.api.identity import SessionIds
from appliance.conversation import (
    CacheMark,
    Hints,
    Ignored,
    Message,
    Reporting,
    RetentionDirective,
    Role,
    Text,
    Thinking,
    ToolCall,
)
from appliance.errors import InvalidRequest

MARK = CacheMark(300.0)


def extension(nvext: Any, headers: dict[str, str] | None = None, **body: Any) -> Extension:
    return decode_extension(Fields({"nvext": nvext, **body}), headers or {})


def hints(**agent_hints: Any) -> Hints:
    return extension({"agent_hints": agent_hints}).hints


def told(nvext: Any, headers: dict[str, str] | None = None) -> dict[str, str]:
    return {entry.field: entry.reason for entry in extension(nvext, headers).reporting.ignored}


def test_nothing_said_is_an_empty_extension() -> None:
    assert extension(None) == extension({}) == Extension()


def test_every_field_is_read_and_nothing_is_ignored() -> None:
    said = extension(
        {
            "agent_hints": {
                "priority": 7,
                "strict_priority": 2,
                "osl": 512,
                "speculative_prefill": True,
                "latency_sensitivity": 1.5,
                "prefix_id": "agent-1",
                "total_requests": 10,
                "iat": 250,
                "session_id": "s",
                "parent_session_id": "p",
                "session_final": True,
                "tool_wait_ms": 1500,
            },
            "retention": [{"token_start": 0, "token_end": 17, "priority": 100, "duration_ms": 30_000}],
            "cache_control": {"type": "ephemeral", "ttl": "30m"},
            "cache_salt": "tenant",
            "backend_instance_id": 1,
            "max_thinking_tokens": 64,
            "extra_fields": list(REPORTABLE),
        }
    )
    assert said == Extension(
        Hints(7, 2, 512, True, "agent-1", 10, 0.25, True, 1, (RetentionDirective(0, 17, 100, 30.0),), 1.5),
        Reporting(frozenset(REPORTABLE)),
        CacheMark(1800.0),
        "tenant",
        SessionIds("s", "p"),
        64,
    )


def test_a_header_wins_over_the_body() -> None:
    said = {
        "agent_hints": {"priority": 1, "strict_priority": 1, "session_final": True},
        "backend_instance_id": 9,
        "cache_salt": "body",
    }
    headers = {
        "x-dynamo-request-priority": "-5",
        "x-dynamo-request-strict-priority": "3",
        "x-dynamo-session-final": "False",
        "x-dynamo-worker-instance-id": " 0 ",
        "x-tenant-id": "header",
    }
    found = extension(said, headers)
    assert found.hints == Hints(-5, 3, session_final=False, worker=0)
    assert found.cache_salt == "header"


def test_a_header_that_cannot_be_read_leaves_the_body_to_speak_and_is_told() -> None:
    headers = {"x-dynamo-request-priority": "high", "x-dynamo-session-final": "", "x-dynamo-worker-instance-id": "-1"}
    found = extension({"agent_hints": {"priority": 4}, "backend_instance_id": 2}, headers)
    assert (found.hints.priority, found.hints.worker, found.hints.session_final) == (4, 2, False)
    assert {entry.field for entry in found.reporting.ignored} == {
        "x-dynamo-request-priority",
        "x-dynamo-worker-instance-id",
    }


@pytest.mark.parametrize(
    ("said", "plain", "priority"),
    [
        ({"priority": 3, "latency_sensitivity": 9}, 8, 3),
        ({"latency_sensitivity": 2.1}, 8, 3),
        ({"priority": 0}, 8, 0),
        ({}, 8, -8),
        ({}, -8, 8),
        ({"priority": "3"}, None, 0),
        ({"priority": 2**31}, 1, -1),
    ],
)
def test_the_priority_is_the_first_that_is_said(said: dict[str, Any], plain: int | None, priority: int) -> None:
    assert extension({"agent_hints": said}, priority=plain).hints.priority == priority


@pytest.mark.parametrize(
    ("nvext", "field", "says"),
    [
        ("on", "nvext", "use an object"),
        ({"agent_hints": []}, "nvext.agent_hints", "use an object"),
        ({"agent_hints": {"osl": "MEDIUM"}}, "nvext.agent_hints.osl", "'MEDIUM' is not allowed; use an integer"),
        ({"agent_hints": {"speculative_prefil": True}}, "nvext.agent_hints.speculative_prefil", "did you mean"),
        ({"token_data": [1, 2]}, "nvext.token_data", "nothing here acts upon it"),
        ({"extra_fields": ["timing", "engine_data"]}, "nvext.extra_fields[1]", "'engine_data' is none of worker_id,"),
        ({"extra_fields": [["timing"]]}, "nvext.extra_fields[0]", "an array of 1 is none of"),
        ({"extra_fields": "timing"}, "nvext.extra_fields", "use an array"),
        ({"cache_control": {"type": "persistent"}}, "nvext.cache_control.type", '"ephemeral"'),
        ({"cache_control": {"ttl": "7d"}}, "nvext.cache_control.ttl", "from 1s to 24h"),
        ({"cache_control": {"ttl": "25h"}}, "nvext.cache_control.ttl", "from 1s to 24h"),
        ({"cache_control": "ephemeral"}, "nvext.cache_control", "use an object"),
        ({"retention": [3]}, "nvext.retention[0]", "not an object"),
        ({"retention": [{"token_end": 4}]}, "nvext.retention[0].token_start", "below token_end"),
        ({"retention": [{"token_start": 4, "token_end": 4}]}, "nvext.retention[0].token_start", "below token_end"),
        ({"retention": [{"token_start": 0, "priority": 101}]}, "nvext.retention[0].priority", "from 0 to 100"),
        ({"cache_salt": 1}, "nvext.cache_salt", "use a string"),
        ({"session_id": "x" * 257}, "nvext.session_id", "at most 256 characters"),
    ],
)
def test_what_is_wrong_is_left_out_and_told(nvext: Any, field: str, says: str) -> None:
    found = extension(nvext)
    assert [entry.field for entry in found.reporting.ignored] == [field]
    assert says in found.reporting.ignored[0].reason
    assert (found.hints, found.mark, found.cache_salt, found.session) == (Hints(), None, None, (None, None))


def test_directives_beyond_the_most_are_told() -> None:
    found = extension({"retention": [{"token_start": 0}] * (MAX_DIRECTIVES + 2)})
    assert found.hints.retention == (RetentionDirective(0, None, 35),) * MAX_DIRECTIVES
    assert [entry.field for entry in found.reporting.ignored] == ["nvext.retention[64]", "nvext.retention[65]"]


def test_an_unknown_field_of_a_directive_does_not_cost_the_directive() -> None:
    found = extension({"retention": [{"token_start": 1, "tier": "host"}]})
    assert found.hints.retention == (RetentionDirective(1, None, 35),)
    assert [entry.field for entry in found.reporting.ignored] == ["nvext.retention[0].tier"]


def test_session_ids_may_stand_beside_the_hints_too() -> None:
    found = extension({"session_id": "s", "parent_session_id": "p", "session_final": True})
    assert (found.session, found.hints.session_final) == (("s", "p"), True)


@pytest.mark.parametrize(("ttl", "seconds"), [(None, 300), ("90s", 90), ("5m", 300), ("1h", 3600), ("24h", 86400)])
def test_a_mark_lives_as_long_as_its_ttl_says(ttl: str | None, seconds: float) -> None:
    assert extension({"cache_control": {"type": "ephemeral", "ttl": ttl}}).mark == CacheMark(seconds)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)
names = st.sampled_from(
    ["agent_hints", "retention", "cache_control", "extra_fields", "cache_salt", "priority", "osl", "token_start", "ttl"]
)
shaped = st.dictionaries(names, st.one_of(json_values, st.dictionaries(names, json_values), st.lists(json_values)))


@given(st.one_of(json_values, shaped), st.dictionaries(st.sampled_from(["x-dynamo-request-priority"]), st.text()))
def test_nothing_in_an_extension_fails_a_request(nvext: Any, headers: dict[str, str]) -> None:
    decode_extension(Fields({"nvext": nvext}), headers)


def test_a_mark_goes_on_the_last_block_that_can_be_marked() -> None:
    messages = (
        Message(Role.USER, (Text("a"), Text("b"))),
        Message(Role.ASSISTANT, (Thinking("hm"), Text(""))),
        Message(Role.ASSISTANT, ()),
    )
    assert with_mark(messages, MARK) == (Message(Role.USER, (Text("a"), Text("b", MARK))), *messages[1:])
    call = Message(Role.ASSISTANT, (ToolCall("c", "f", "{}"),))
    assert with_mark((call,), MARK) == (Message(Role.ASSISTANT, (ToolCall("c", "f", "{}", MARK),)),)


def test_of_two_marks_on_one_block_the_longer_stays() -> None:
    long = (Message(Role.USER, (Text("a", CacheMark(3600.0)),)),)
    assert with_mark(long, MARK) == long
    assert with_mark((Message(Role.USER, (Text("a", MARK),)),), CacheMark(3600.0)) == long


def test_nothing_is_marked_without_a_mark_or_without_a_place_for_it() -> None:
    messages = (Message(Role.ASSISTANT, (Thinking("hm"),)),)
    assert with_mark(messages, None) is messages
    assert with_mark(messages, MARK) is messages
    assert with_mark((), MARK) == ()


def test_anthropics_diagnostics_are_asked_for_on_the_first_turn_too() -> None:
    assert decode_anthropic_diagnostics(Fields({})) == Reporting()
    first = Fields({"diagnostics": {"previous_message_id": None}})
    assert decode_anthropic_diagnostics(first) == Reporting(diagnose=True)
    later = Fields({"diagnostics": {"previous_message_id": "msg_1"}})
    assert decode_anthropic_diagnostics(later) == Reporting(diagnose=True, compare_with="msg_1")
    with pytest.raises(InvalidRequest) as caught:
        decode_anthropic_diagnostics(Fields({"diagnostics": {"previous_message_id": 1}}))
    assert caught.value.param == "diagnostics.previous_message_id"


def test_openais_diagnostics_need_something_to_compare_with() -> None:
    assert decode_openai_diagnostics(Fields({"prompt_cache_options": {"ttl": "30m"}})) == Reporting()
    asked = Fields({"prompt_cache_options": {"comparison_response_id": "resp_1"}})
    assert decode_openai_diagnostics(asked) == Reporting(diagnose=True, compare_with="resp_1")


def test_what_several_reportings_ask_for_is_asked_for_once() -> None:
    first = Reporting(frozenset({"timing"}), ignored=(Ignored("a", "b"),))
    second = Reporting(frozenset({"cache"}), diagnose=True, compare_with="x", ignored=(Ignored("c", "d"),))
    assert joined() == Reporting()
    assert joined(first, second) == Reporting(
        frozenset({"timing", "cache"}), True, "x", (Ignored("a", "b"), Ignored("c", "d"))
    )
