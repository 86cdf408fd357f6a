"""How much to think, in the words of OpenAI's chat protocol and of those who extended it."""

from __future__ import annotations

from typing import Final

from appliance.api.fields import Fields
from appliance.conversation import Reasoning

REASONING_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
THINKING_KINDS: Final = {"enabled": True, "disabled": False, "adaptive": None, "auto": None}


def decode_reasoning(body: Fields, thinking_tokens: int | None = None) -> Reasoning:
    """From `reasoning_effort`, `reasoning: {effort, enabled, max_tokens}`, `thinking: {type, budget_tokens}`,
    `thinking_token_budget`, and `enable_thinking` at the top or in `chat_template_kwargs`; the first that says
    something counts, and `thinking_tokens` before all.

    Raises `InvalidRequest`.
    """
    reasoning = body.object("reasoning") or Fields({})
    thinking = body.object("thinking") or Fields({})
    template = body.object("chat_template_kwargs") or Fields({})
    switches = (
        reasoning.flag("enabled"),
        THINKING_KINDS.get(thinking.choice("type", THINKING_KINDS) or "auto"),
        body.flag("enable_thinking"),
        _flag(template, "enable_thinking"),
    )
    budgets = (
        thinking_tokens,
        reasoning.integer("max_tokens", 0),
        thinking.integer("budget_tokens", 0),
        body.integer("thinking_token_budget", 0),
    )
    effort = body.choice("reasoning_effort", REASONING_EFFORTS)
    return Reasoning(
        enabled=next((switch for switch in switches if switch is not None), None),
        effort=effort or reasoning.choice("effort", REASONING_EFFORTS),
        budget_tokens=next((budget for budget in budgets if budget is not None), None),
    )


def _flag(template: Fields, name: str) -> bool | None:
    """What a template takes is its own business: another type is no error here."""
    value = template.raw(name)
    return value if isinstance(value, bool) else None
