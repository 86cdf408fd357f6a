"""All rules, in the order in which they act: sections before the lines that they may hold, the clock last."""

from __future__ import annotations

from collections.abc import Collection

from appliance.stabiliser.attribution import ATTRIBUTION
from appliance.stabiliser.countdown import TOKEN_COUNTDOWN
from appliance.stabiliser.environment import ENVIRONMENT, GIT_STATUS, SESSION_IDS
from appliance.stabiliser.moments import CLOCK, DATES
from appliance.stabiliser.rule import Rule
from appliance.stabiliser.tool_order import TOOL_ORDER

RULES: tuple[Rule, ...] = (
    ATTRIBUTION,
    TOKEN_COUNTDOWN,
    TOOL_ORDER,
    ENVIRONMENT,
    GIT_STATUS,
    SESSION_IDS,
    DATES,
    CLOCK,
)


def select_rules(names: Collection[str]) -> tuple[Rule, ...]:
    """The rules of these names, in the order in which they act."""
    return tuple(rule for rule in RULES if rule.name in names)
