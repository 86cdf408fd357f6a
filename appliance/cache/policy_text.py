"""A policy as one TOML text, with all that it includes: what is remembered of it, and read again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from appliance.cache.policy import Policy
from appliance.cache.reachability import covering
from appliance.cache.rule import Condition, Rule
from appliance.cache.rule_text import condition_facts
from appliance.cache.tier import ALL_TIERS, tier_names
from appliance.units import format_duration


def policy_text(policy: Policy) -> str:
    """`policy_source.parse_policy` makes the same policy of it, but for the places of its rules: each stands in a
    comment."""
    head = ([f"description = {_value(policy.description)}"] if policy.description else []) + [
        f"order = {_value(policy.order.value)}"
    ]
    return "\n".join([*head, *(line for rule in policy.rules for line in _rule_lines(rule))]) + "\n"


@lru_cache(256)  # 7 ms for a shipped policy, and consoles ask twice a second
def editable_text(policy: Policy) -> str:
    """As `policy_text`, without rules that earlier ones leave nothing to: in one file `read_policy` refuses them."""
    before: list[Condition] = []
    kept: list[Rule] = []
    for rule in policy.rules:
        if covering(rule.condition, before) is None:
            kept.append(rule)
        before.append(rule.condition)
    return policy_text(replace(policy, rules=tuple(kept)))


def _rule_lines(rule: Rule) -> Iterator[str]:
    yield ""
    yield f"# {_value(rule.label)[1:-1]}"
    yield "[[rule]]"
    for key, value in condition_facts(rule.condition).items():
        yield f"{key} = {_value(value)}"
    yield f"priority = {rule.priority}"
    if rule.duration_seconds is not None:
        yield f"duration = {_value(format_duration(rule.duration_seconds))}"
    if rule.tiers != ALL_TIERS:
        yield f"tiers = {_value(tier_names(rule.tiers))}"
    if rule.caps_rest:
        yield "caps_rest = true"


def _value(value: Any) -> str:
    """As TOML has it: its texts, numbers and lists are JSON's but for one character."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(each)}" for key, each in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
