from __future__ import annotations

from typing import Any

import pytest

from appliance.api.fields import Fields
from appliance.api.reasoning import decode_reasoning
from appliance.conversation import Reasoning
from appliance.errors import InvalidRequest


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, Reasoning()),
        ({"reasoning_effort": "high"}, Reasoning(effort="high")),
        ({"reasoning": {"effort": "low"}}, Reasoning(effort="low")),
        ({"reasoning_effort": "high", "reasoning": {"effort": "low"}}, Reasoning(effort="high")),
        ({"reasoning": {"enabled": True, "max_tokens": 64}}, Reasoning(enabled=True, budget_tokens=64)),
        ({"thinking": {"type": "disabled"}}, Reasoning(enabled=False)),
        ({"thinking": {"type": "enabled", "budget_tokens": 8}}, Reasoning(enabled=True, budget_tokens=8)),
        ({"thinking": {"type": "adaptive"}}, Reasoning()),
        ({"enable_thinking": False}, Reasoning(enabled=False)),
        ({"chat_template_kwargs": {"enable_thinking": True}}, Reasoning(enabled=True)),
        ({"chat_template_kwargs": {"enable_thinking": "yes"}}, Reasoning()),
        ({"thinking": {"type": "disabled"}, "enable_thinking": True}, Reasoning(enabled=False)),
        ({"thinking_token_budget": 0}, Reasoning(budget_tokens=0)),
    ],
)
def test_thinking_is_asked_for_in_many_words(body: dict[str, Any], expected: Reasoning) -> None:
    assert decode_reasoning(Fields(body)) == expected


def test_the_extensions_budget_comes_first() -> None:
    assert decode_reasoning(Fields({"thinking_token_budget": 9}), 5).budget_tokens == 5


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"reasoning_effort": "hihg"}, "reasoning_effort"),
        ({"reasoning": "high"}, "reasoning"),
        ({"reasoning": {"effort": 3}}, "reasoning.effort"),
        ({"thinking": {"type": "on"}}, "thinking.type"),
        ({"thinking_token_budget": -1}, "thinking_token_budget"),
    ],
)
def test_a_wrong_wish_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_reasoning(Fields(body))
    assert caught.value.param == param
