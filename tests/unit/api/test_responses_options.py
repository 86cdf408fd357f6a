from __future__ import annotations

from typing import Any

import pytest

from appliance.api.responses_options import Delivery
from appliance.conversation import CacheMark, OutputFormat, OutputKind, Sampling
from appliance.errors import InvalidRequest
from tests.unit.api.responses_requests import body_of, decoded, new_codec

SCHEMA = {"type": "json_schema", "name": "a", "schema": {"type": "object"}, "strict": True}


async def test_sampling() -> None:
    fields = {"max_output_tokens": 5, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "seed": 7, "top_logprobs": 2}
    conversation = await decoded(body_of(**fields))
    assert conversation.sampling == Sampling(max_tokens=5, temperature=0.5, top_p=0.9, top_k=3, seed=7, logprobs=2)


async def test_logprobs_of_the_tokens_alone_are_asked_for_by_name() -> None:
    assert (await decoded(body_of(include=["message.output_text.logprobs"]))).sampling.logprobs == 0
    assert (await decoded(body_of(include=["reasoning.encrypted_content"]))).sampling.logprobs is None


async def test_what_the_answer_must_look_like() -> None:
    output = (await decoded(body_of(text={"format": SCHEMA}))).output_format
    assert output == OutputFormat(OutputKind.JSON_SCHEMA, {"type": "object"}, "a", strict=True)
    assert (
        await decoded(body_of(text={"format": {"type": "json_object"}}))
    ).output_format.kind is OutputKind.JSON_OBJECT


async def test_delivery() -> None:
    async def delivery_of(**fields: Any) -> Delivery:
        return (await new_codec().decode(body_of(**fields), {})).delivery

    assert await delivery_of() == Delivery()
    assert await delivery_of(stream=True, store=False) == Delivery(streams=True, stores=False)
    wanted = {"include": ["reasoning.encrypted_content"], "reasoning": {"summary": "auto"}, "truncation": "auto"}
    assert await delivery_of(**wanted) == Delivery(seals=True, summarises=True, truncates=True)


async def test_who_asks() -> None:
    body = body_of(prompt_cache_key="key", user="u", safety_identifier="s")
    identity = (await decoded(body)).identity
    assert (identity.session_id, identity.user) == ("key", "s")
    assert (await decoded(body, headers={"thread-id": "t"})).identity.session_id == "t"


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"prompt_cache_retention": "24h"}, 86400.0),
        ({"prompt_cache_options": {"ttl": "30m"}}, 1800.0),
        ({"nvext": {"cache_control": {"type": "ephemeral", "ttl": "1h"}}}, 3600.0),
    ],
)
async def test_a_whole_request_can_be_kept(fields: dict[str, Any], seconds: float) -> None:
    (message,) = (await decoded(body_of(**fields))).messages
    assert message.blocks[-1].mark == CacheMark(seconds)


async def test_what_has_no_effect_here_is_told() -> None:
    fields = {
        "max_tool_calls": 3,
        "client_metadata": {"a": "b"},
        "text": {"verbosity": "low"},
        "stream": True,
        "stream_options": {"include_obfuscation": True},
    }
    call = await new_codec().decode(body_of(**fields), {})
    told = {entry.field for entry in call.conversation.reporting.ignored}
    assert told == {"max_tool_calls", "client_metadata", "text.verbosity", "stream_options.include_obfuscation"}


async def test_prewarming_makes_one_token_and_shows_none() -> None:
    call = await new_codec().decode(body_of(prompt_cache_options={"prewarm": True}, max_output_tokens=99), {})
    assert call.conversation.sampling.max_tokens == 1
    assert call.style.prewarms
    assert call.echo.max_output_tokens == 99


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "model"),
    ({"model": 5}, "model"),
    ({"input": None}, "input"),
    ({"input": 5}, "input"),
    ({"input": []}, "input"),
    ({"input": {}}, "input"),
    ({"input": [5]}, "input[0]"),
    ({"instructions": 5}, "instructions"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"max_output_tokens": "5"}, "max_output_tokens"),
    ({"max_tool_calls": 0}, "max_tool_calls"),
    ({"temperature": 3}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"top_logprobs": 21}, "top_logprobs"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {}}, "stream_options"),
    ({"stream": True, "stream_options": []}, "stream_options"),
    ({"store": 1}, "store"),
    ({"background": "no"}, "background"),
    ({"background": True, "store": False}, "background"),
    ({"include": "x"}, "include"),
    ({"include": [5]}, "include"),
    ({"truncation": "some"}, "truncation"),
    ({"text": "x"}, "text"),
    ({"text": {"verbosity": "loud"}}, "text.verbosity"),
    ({"text": {"format": {}}}, "text.format.type"),
    ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
    ({"text": {"format": {**SCHEMA, "name": None}}}, "text.format.name"),
    ({"text": {"format": {**SCHEMA, "schema": None}}}, "text.format.schema"),
    ({"reasoning": "high"}, "reasoning"),
    ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
    ({"reasoning": {"summary": "long"}}, "reasoning.summary"),
    ({"metadata": []}, "metadata"),
    ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
    ({"metadata": {"k" * 65: ""}}, "metadata"),
    ({"metadata": {"k": "v" * 513}}, "metadata.k"),
    ({"metadata": {"k": 5}}, "metadata.k"),
    ({"previous_response_id": 5}, "previous_response_id"),
    ({"conversation": 5}, "conversation"),
    ({"conversation": {}}, "conversation.id"),
    ({"prompt_cache_key": 5}, "prompt_cache_key"),
    ({"prompt_cache_retention": "1y"}, "prompt_cache_retention"),
    ({"prompt_cache_options": {"mode": "x"}}, "prompt_cache_options.mode"),
    ({"prompt_cache_options": {"prewarm": 1}}, "prompt_cache_options.prewarm"),
    ({"safety_identifier": 5}, "safety_identifier"),
    ({"user": 5}, "user"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt"),
]


@pytest.mark.parametrize(("fields", "path"), WRONG)
async def test_a_wrong_field_is_refused_by_its_path(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await new_codec().decode(body_of() | fields, {})
    assert refused.value.param == path
