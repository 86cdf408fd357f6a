from __future__ import annotations

from typing import Any

import pytest

from appliance.api.fields import Fields
from appliance.api.prompt_cache import PromptCache, decode_breakpoint, decode_prompt_cache
from appliance.conversation import CacheMark
from appliance.errors import InvalidRequest


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, PromptCache(None, 1800)),
        ({"prompt_cache_retention": "in_memory"}, PromptCache(CacheMark(600), 1800)),
        ({"prompt_cache_retention": "24h"}, PromptCache(CacheMark(86400), 1800)),
        ({"prompt_cache_options": {"ttl": "12h"}}, PromptCache(CacheMark(43200), 43200)),
        ({"prompt_cache_options": {"mode": "implicit", "ttl": "30m"}}, PromptCache(CacheMark(1800), 1800)),
        ({"prompt_cache_options": {"mode": "explicit", "ttl": "12h"}}, PromptCache(None, 43200)),
        ({"prompt_cache_options": {"comparison_response_id": "r"}}, PromptCache(None, 1800)),
        (
            {"prompt_cache_retention": "24h", "prompt_cache_options": {"ttl": "30m"}},
            PromptCache(CacheMark(86400), 1800),
        ),
    ],
)
def test_the_longer_of_what_is_asked_for_counts(body: dict[str, Any], expected: PromptCache) -> None:
    assert decode_prompt_cache(Fields(body)) == expected


def test_a_breakpoint_lives_as_long_as_it_or_the_request_says() -> None:
    assert decode_breakpoint(Fields({}), 9) is None
    assert decode_breakpoint(Fields({"prompt_cache_breakpoint": {"mode": "explicit"}}), 9) == CacheMark(9)
    timed = {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}}
    assert decode_breakpoint(Fields(timed), 9) == CacheMark(43200)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt_cache_retention": "48h"}, "prompt_cache_retention"),
        ({"prompt_cache_options": "24h"}, "prompt_cache_options"),
        ({"prompt_cache_options": {"mode": "auto"}}, "prompt_cache_options.mode"),
        ({"prompt_cache_options": {"ttl": "30"}}, "prompt_cache_options.ttl"),
    ],
)
def test_a_wrong_wish_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_prompt_cache(Fields(body))
    assert caught.value.param == param


def test_a_breakpoint_has_one_mode() -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_breakpoint(Fields({"prompt_cache_breakpoint": {}}), 9)
    assert caught.value.param == "prompt_cache_breakpoint.mode"
