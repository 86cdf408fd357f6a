from __future__ import annotations

from typing import Any

import pytest

from appliance.api.completions import CompletionsCodec
from appliance.api.completions_prompt import MAX_PROMPTS
from appliance.conversation import Conversation, Hints, Identity, OutputFormat, OutputKind, RawPrompt, Sampling
from appliance.errors import InvalidRequest

BODY: dict[str, Any] = {"model": "m", "prompt": "Once"}
CODEC = CompletionsCodec()


async def decoded(**fields: Any) -> Conversation:
    return (await CODEC.decode(BODY | fields, {})).conversation


async def test_the_least_request() -> None:
    assert await decoded() == Conversation("m", (), sampling=Sampling(max_tokens=16), raw=RawPrompt("Once"))


async def test_everything_beside_the_prompt_is_read() -> None:
    found = await decoded(
        max_tokens=5,
        n=2,
        best_of=2,
        logprobs=3,
        stop="END",
        response_format={"type": "json_object"},
        user="ada",
        cache_salt="s",
        nvext={"agent_hints": {"priority": 2}, "session_id": "t"},
    )
    assert found == Conversation(
        "m",
        (),
        sampling=Sampling(max_tokens=5, n=2, logprobs=3, stop=("END",)),
        output_format=OutputFormat(OutputKind.JSON_OBJECT),
        cache_salt="s",
        identity=Identity("t", user="ada"),
        hints=Hints(2),
        raw=RawPrompt("Once"),
    )


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (["a"], RawPrompt("a")),
        (["a", "b", "c"], RawPrompt("a", more=(RawPrompt("b"), RawPrompt("c")))),
        ([1, 2], RawPrompt(token_ids=(1, 2))),
        ([[1, 2], [3]], RawPrompt(token_ids=(1, 2), more=(RawPrompt(token_ids=(3,)),))),
        ([1.0, 2], RawPrompt(token_ids=(1, 2))),
    ],
)
async def test_a_prompt_comes_in_four_forms(prompt: Any, expected: RawPrompt) -> None:
    assert (await decoded(prompt=prompt)).raw == expected


async def test_an_echo_is_what_every_choice_of_a_prompt_begins_with() -> None:
    call = await CODEC.decode(BODY | {"prompt": ["a", "b"], "echo": True, "n": 2}, {})
    assert call.openings == ["a", "a", "b", "b"]
    assert (await CODEC.decode(BODY | {"prompt": ["a", "b"], "n": 2}, {})).openings == [""] * 4


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"prompt": None}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": {}}, "prompt"),
        ({"prompt": ["a"] * (MAX_PROMPTS + 1)}, "prompt"),
        ({"prompt": ["a", ""]}, "prompt[1]"),
        ({"prompt": ["a", [1]]}, "prompt[1]"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [1, -1]}, "prompt"),
        ({"prompt": [True]}, "prompt[0]"),
        ({"prompt": [[1], []]}, "prompt[1]"),
        ({"prompt": [[1], [1.5]]}, "prompt[1]"),
        ({"prompt": [[1], [None]]}, "prompt[1]"),
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"logprobs": True}, "logprobs"),
        ({"logprobs": 21}, "logprobs"),
        ({"echo": 1}, "echo"),
        ({"echo": True, "logprobs": 0}, "echo"),
        ({"echo": True, "prompt": [1]}, "echo"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stream_options": {}}, "stream_options"),
    ],
)
async def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await decoded(**fields)
    assert caught.value.param == param
