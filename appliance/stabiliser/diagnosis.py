"""Which rule would have kept two prompts alike that differ."""

from __future__ import annotations

from typing import Final

from appliance.stabiliser.countdown import TOKEN_COUNTDOWN, find_countdowns
from appliance.stabiliser.finding import Finder
from appliance.stabiliser.rules import RULES
from appliance.stabiliser.text_rule import TextRule
from appliance.stabiliser.tool_order import TOOL_ORDER

_FINDERS: Final[tuple[tuple[str, Finder], ...]] = (
    *((rule.name, rule.find) for rule in RULES if isinstance(rule, TextRule)),
    (TOKEN_COUNTDOWN.name, find_countdowns),
)


def rule_of_change(before: str, now: str) -> str | None:
    """The rule that takes the first difference of two texts out of the way. They begin alike, with the beginning of a
    line or in the middle of one that no rule knows by its end."""
    pairs = enumerate(zip(before, now, strict=False))
    same = next((place for place, (one, other) in pairs if one != other), min(len(before), len(now)))
    for name, find in _FINDERS:
        if any(span.start <= same < span.end for text in (before, now) for span in find(text)):
            return name
    return None


def rule_of_tools(before: tuple[str, ...], now: tuple[str, ...]) -> str | None:
    """The rule for tools that are the same in another order, by their names."""
    return TOOL_ORDER.name if before != now and sorted(before) == sorted(now) else None
