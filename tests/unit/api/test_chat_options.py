from __future__ import annotations

from typing import Any

import pytest

from appliance.api.chat_options import (
    StreamOptions,
    decode_output_format,
    decode_plain_sampling,
    decode_sampling,
    decode_stream_options,
)
from appliance.api.fields import Fields
from appliance.conversation import OutputFormat, OutputKind, Sampling
from appliance.errors import InvalidRequest


def test_nothing_said_means_the_models_own_defaults() -> None:
    absent = Fields({"temperature": None, "stop": None, "n": None, "logprobs": None})
    assert decode_sampling(absent) == decode_sampling(Fields({})) == Sampling()


def test_every_sampling_field_is_read() -> None:
    body = {
        "max_tokens": 10,
        "min_tokens": 2,
        "temperature": 0,
        "top_p": 1,
        "top_k": -1,
        "min_p": 0.1,
        "frequency_penalty": -2,
        "presence_penalty": 2,
        "repetition_penalty": 1.1,
        "seed": -(2**63),
        "stop": ["a", "b"],
        "stop_token_ids": [7],
        "ignore_eos": True,
        "logprobs": True,
        "top_logprobs": 20,
        "logit_bias": {"50": -100},
        "n": 16,
    }
    assert decode_sampling(Fields(body)) == Sampling(
        10, 2, 0.0, 1.0, -1, 0.1, -2.0, 2.0, 1.1, -(2**63), ("a", "b"), (7,), True, 20, {"50": -100.0}, 16
    )


def test_the_newer_name_of_the_token_limit_wins() -> None:
    assert decode_sampling(Fields({"max_tokens": 5, "max_completion_tokens": 9})).max_tokens == 9


def test_logprobs_without_alternatives_are_of_the_token_alone() -> None:
    assert decode_sampling(Fields({"logprobs": True})).logprobs == 0
    assert decode_sampling(Fields({"logprobs": False})).logprobs is None


def test_plain_sampling_leaves_logprobs_to_its_protocol() -> None:
    assert decode_plain_sampling(Fields({"logprobs": 5, "seed": 1})) == Sampling(seed=1)


def each(name: str, *values: Any) -> list[tuple[dict[str, Any], str]]:
    return [({name: value}, name) for value in values]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        *each("temperature", -0.1, 2.1, "1", True, []),
        *each("top_p", 0, 1.1),
        *each("top_k", -2, 1.5, True),
        *each("min_p", -0.1, 1.1),
        *each("frequency_penalty", -2.1, 2.1),
        *each("presence_penalty", -2.1, 2.1),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"seed": 2**63}, "seed"),
        *each("stop", "", [""], ["a"] * 17, [1], {}),
        *each("stop_token_ids", [-1], ["a"], [True], 3),
        ({"ignore_eos": 1}, "ignore_eos"),
        ({"min_tokens": 6, "max_tokens": 5}, "min_tokens"),
        *each("max_tokens", 0, -1, "5", 2**63),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        *each("n", 0, 17),
        ({"logprobs": 5}, "logprobs"),
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": []}, "logit_bias"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"logit_bias": {"²": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
    ],
)
def test_a_value_out_of_bounds_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_sampling(Fields(body))
    assert caught.value.param == param
    assert "not allowed; use" in caught.value.message


def test_an_output_format_carries_its_schema() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": {"type": "object"}}}
    assert decode_output_format(Fields({"response_format": wanted})) == OutputFormat(
        OutputKind.JSON_SCHEMA, {"type": "object"}, "a", strict=True
    )
    assert decode_output_format(Fields({"response_format": {"type": "text"}})) == OutputFormat()


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        ({}, "response_format.type"),
        ({"type": "xml"}, "response_format.type"),
        ({"type": "json_schema"}, "response_format.json_schema"),
        ({"type": "json_schema", "json_schema": {"name": "a"}}, "response_format.json_schema.schema"),
        ("json_object", "response_format"),
    ],
)
def test_a_wrong_output_format_is_named(wanted: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_output_format(Fields({"response_format": wanted}))
    assert caught.value.param == param


def test_stream_options_go_with_a_stream_only() -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    assert decode_stream_options(Fields({"stream": True, "stream_options": options})) == StreamOptions(True, True, True)
    assert decode_stream_options(Fields({"stream": True})) == StreamOptions(True)
    assert decode_stream_options(Fields({"stream_options": None})) == StreamOptions(False)
    alone = {"stream": True, "stream_options": {"continuous_usage_stats": True}}
    assert decode_stream_options(Fields(alone)) == StreamOptions(True)
    with pytest.raises(InvalidRequest) as caught:
        decode_stream_options(Fields({"stream_options": options}))
    assert caught.value.param == "stream_options"
