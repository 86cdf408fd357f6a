"""A policy as TOML: one file with all that it includes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from appliance.cache.policy import Policy
from appliance.cache.reachability import covering
from appliance.cache.rule import Condition, Rule
from appliance.cache.rule_text import condition_facts
from appliance.cache.tier import ALL_TIERS, tier_names
from appliance.units import format_duration


def policy_toml(policy: Policy) -> str:
    """Read again, it gives every request the same. Rules that earlier ones leave nothing to are left out: in one file
    they would be refused."""
    parts = ["\n".join(_head(policy))]
    before: list[Condition] = []
    for rule in policy.rules:
        if covering(rule.condition, before) is None:
            parts.append("\n".join(["[[rule]]", *_rule(rule)]))
        before.append(rule.condition)
    return "\n\n".join(parts) + "\n"


def _head(policy: Policy) -> Iterator[str]:
    if policy.description:
        yield f"description = {_value(policy.description)}"
    yield f"order = {_value(policy.order.value)}"


def _rule(rule: Rule) -> Iterator[str]:
    for key, value in condition_facts(rule.condition).items():
        if key == "hints":
            yield from (f"hints.{name} = {_table(bounds)}" for name, bounds in value.items())
        else:
            yield f"{key} = {_value(value)}"
    yield f"priority = {rule.priority}"
    if rule.duration_seconds is not None:
        yield f"duration = {_value(format_duration(rule.duration_seconds))}"
    if rule.tiers != ALL_TIERS:
        yield f"tiers = {_value(tier_names(rule.tiers))}"
    if rule.caps_rest:
        yield "caps_rest = true"


def _table(bounds: dict[str, int]) -> str:
    return "{ " + ", ".join(f"{name} = {value}" for name, value in bounds.items()) + " }"


def _value(value: Any) -> str:
    """TOML's strings, lists and flags are JSON's, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
