from __future__ import annotations

from typing import Any

import pytest

from appliance.api.fields import Fields
from appliance.api.messages_options import hides_thinking, is_prewarming
from appliance.conversation import CacheMark, Ignored, OutputFormat, OutputKind, Reasoning, Reporting, Sampling
from appliance.errors import InvalidRequest
from tests.unit.api.messages_requests import decode, messages_body

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def test_sampling() -> None:
    assert decode(temperature=0.5, top_p=0.9, top_k=20, stop_sequences=["END", "\n\n"]).sampling == Sampling(
        max_tokens=2048, temperature=0.5, top_p=0.9, top_k=20, stop=("END", "\n\n")
    )


def test_a_request_that_only_warms_the_cache_makes_one_token() -> None:
    assert decode(max_tokens=0).sampling.max_tokens == 1
    assert is_prewarming(Fields(messages_body(max_tokens=0)))
    assert not is_prewarming(Fields(messages_body()))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Reasoning()),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, Reasoning(enabled=True, budget_tokens=1024)),
        ({"thinking": {"type": "adaptive"}}, Reasoning(enabled=True)),
        ({"thinking": {"type": "disabled"}}, Reasoning(enabled=False)),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}},
            Reasoning(enabled=True, effort="xhigh"),
        ),
        ({"output_config": {"effort": None}}, Reasoning()),
        ({"nvext": {"max_thinking_tokens": 9}}, Reasoning(budget_tokens=9)),
    ],
)
def test_thinking_and_effort(fields: dict[str, Any], expected: Reasoning) -> None:
    assert decode(**fields).reasoning == expected


def test_thoughts_may_be_wanted_closed() -> None:
    assert hides_thinking(Fields({"thinking": {"type": "adaptive", "display": "omitted"}}))
    assert not hides_thinking(Fields({"thinking": {"type": "adaptive", "display": "summarized"}}))
    assert not hides_thinking(Fields({}))


@pytest.mark.parametrize(
    "fields",
    [
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {"output_format": {"type": "json_schema", "schema": SCHEMA}},
    ],
)
def test_structured_output_has_two_names(fields: dict[str, Any]) -> None:
    assert decode(**fields).output_format == OutputFormat(OutputKind.JSON_SCHEMA, schema=SCHEMA)


def test_what_nothing_acts_upon_is_told() -> None:
    conversation = decode(
        service_tier="auto", container="c", mcp_servers=[{"url": "x"}], invented=1, speed=None, inference_geo="eu"
    )
    assert conversation.reporting.ignored == (
        Ignored("container", "no code runs in containers here"),
        Ignored("mcp_servers", "this box connects to no MCP servers"),
        Ignored("invented", "nothing here acts upon it"),
        Ignored("inference_geo", "this box is where it is"),
    )


def test_the_extension_is_read() -> None:
    conversation = decode(
        nvext={
            "agent_hints": {"priority": 3},
            "cache_salt": "s",
            "cache_control": {"ttl": "1h"},
            "extra_fields": ["cache"],
        }
    )
    assert conversation.hints.priority == 3
    assert conversation.cache_salt == "s"
    assert conversation.messages[0].blocks[0].mark == CacheMark(3600.0)
    assert conversation.reporting.fields == {"cache"}


def test_diagnostics_are_asked_for_on_the_first_turn_with_null() -> None:
    assert decode(diagnostics={"previous_message_id": None}).reporting == Reporting(diagnose=True)
    assert decode(diagnostics={"previous_message_id": "msg_1"}).reporting.compare_with == "msg_1"
    assert decode().reporting == Reporting()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 5}, "model"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"temperature": 1.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"stop_sequences": "END"}, "stop_sequences"),
        ({"stop_sequences": [""]}, "stop_sequences"),
        ({"stop_sequences": [1]}, "stop_sequences"),
        ({"stop_sequences": ["x"] * 65}, "stop_sequences"),
        ({"service_tier": "gold"}, "service_tier"),
        ({"thinking": True}, "thinking"),
        ({"thinking": {}}, "thinking.type"),
        ({"thinking": {"type": "deep"}}, "thinking.type"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1023}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, "thinking.budget_tokens"),
        ({"output_config": 5}, "output_config"),
        ({"output_config": {"effort": "hihg"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "text"}}}, "output_config.format.type"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"output_format": {"type": "json_schema", "schema": []}}, "output_format.schema"),
        ({"diagnostics": "on"}, "diagnostics"),
        ({"diagnostics": {"previous_message_id": 5}}, "diagnostics.previous_message_id"),
        ({"chat_template_kwargs": []}, "chat_template_kwargs"),
        ({"compaction": {}}, "compaction"),
        ({"thread": {"type": "continue", "previous_message_id": "msg_1"}}, "thread"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(**fields)
    assert caught.value.param == param
